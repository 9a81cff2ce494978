"""Stacked columns, one a bucket: trouble at the baseline, gaps drawn as gaps, each column a link."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from django.utils.translation import gettext as _

from .axis import COUNT, Axis, Number, Unit, axis
from .callouts import Callout, callouts
from .labels import Label, labels
from .parts import PATTERNED, SERIES, TONES, Row, Series, Table, percent, pixels

# Room above the columns: for half a line of the axis, or for a note.
ABOVE, ABOVE_WITH_NOTES = 6, 17
# Room below the baseline for the names of the columns.
BELOW = 20
# What is there is seen: a part that would be thinner takes the rest from the thickest of its column.
THINNEST = 1.5
# Of a column's width; but a few columns do not become slabs.
COLUMN_WIDTH, WIDEST = 0.68, 0.06


class Part(NamedTuple):
    """One part of a column. `tone` is one of TONES or SERIES; `text` says it in a sentence: `11 failed`."""

    tone: str
    value: Number
    text: str


@dataclass(frozen=True)
class Column:
    """A column. `name` is its own (`Sat 7 Nov 2026`), `label` the axis's (`7 Nov`, or nothing), `total` says `18 runs`.

    Without parts it is a gap: nothing ran. With parts that are all 0 something ran, and came to nothing.
    `note` stands above it, in the ink of `note_tone`; `missing` says that something was due and did not run.
    """

    name: str
    label: str
    parts: Sequence[Part | tuple[str, Number, str]] = ()
    url: str = ""
    total: str = ""
    note: str = ""
    note_tone: str = "failed"
    missing: bool = False


@dataclass(frozen=True)
class Line:
    """A grid line and its number; the lowest is the baseline."""

    y: str
    text: str


@dataclass(frozen=True)
class Shape:
    """A part of a column, as drawn."""

    tone: str
    y: str
    height: str

    @property
    def pattern(self) -> bool:
        return self.tone in PATTERNED


@dataclass(frozen=True)
class Drawn:
    """A column as drawn: `x`, `end` and `width` of what can be hit, `bar_x` and `bar_width` of what is seen."""

    title: str
    url: str
    x: str
    end: str
    width: str
    bar_x: str
    bar_width: str
    shapes: Sequence[Shape]
    gap: bool
    missing: bool


@dataclass(frozen=True)
class Bars:
    """A chart of stacked columns, for `_chart_bars.html`. Heights and y are pixels, x and widths percent.

    `gutter` is how many characters the numbers of the axis take.
    """

    name: str
    label: str
    height: str
    base: str
    gutter: int
    lines: Sequence[Line]
    labels: Sequence[Label]
    columns: Sequence[Drawn]
    notes: Sequence[Callout]
    legend: Sequence[Series]
    table: Table


def bars(
    columns: Iterable[Column],
    series: Iterable[Series] = (),
    *,
    label: str,
    first: str,
    name: str = "bars",
    height: int = 86,
    unit: Unit = COUNT,
) -> Bars:
    """Return stacked columns; the parts of each stand in the order of TONES and SERIES from the baseline up.

    `series` is the legend, in its order, and names the columns of the table; `label` says what is shown, `first`
    what a column is (`Day`); `name` is the chart's own on its page; `height` is that of the axis in pixels.
    """
    columns, legend = list(columns), list(series)
    stacks = [[Part(*part) for part in sorted(column.parts, key=_rank)] for column in columns]
    scale = axis(max((sum(part.value for part in stack) for stack in stacks), default=0), unit)
    above = ABOVE_WITH_NOTES if any(column.note for column in columns) else ABOVE
    base = above + height
    slot = 1 / len(columns) if columns else 1
    bar = min(slot * COLUMN_WIDTH, WIDEST)
    heights = [shown_heights([part.value for part in stack], scale, height) for stack in stacks]
    return Bars(
        name=name,
        label=label,
        height=pixels(base + BELOW),
        base=pixels(base),
        gutter=max(len(tick.text) for tick in scale.ticks),
        lines=[Line(pixels(base - scale.share(tick.value) * height), tick.text) for tick in scale.ticks],
        labels=labels([column.label for column in columns]),
        columns=[
            Drawn(
                title=_title(column, stack),
                url=column.url,
                x=percent(index * slot),
                end=percent((index + 1) * slot),
                width=percent(slot),
                bar_x=percent((index + 0.5) * slot - bar / 2),
                bar_width=percent(bar),
                shapes=list(_shapes(stack, shown, base)),
                gap=not column.parts,
                missing=column.missing,
            )
            for index, (column, stack, shown) in enumerate(zip(columns, stacks, heights, strict=True))
        ],
        notes=list(
            callouts(
                {index: (column.note, column.note_tone) for index, column in enumerate(columns) if column.note},
                [base - sum(shown) for shown in heights],
                bar,
            )
        ),
        legend=legend,
        table=_table(columns, stacks, legend, label, first, unit),
    )


def shown_heights(values: Sequence[Number], scale: Axis, height: float) -> list[float]:
    """Return the height of each part in pixels; together they are as high as their sum on the axis.

    A part too thin to be seen is drawn at the thinnest, at the cost of the thickest part beside it. Only where
    that one has nothing to spare is the column higher than its sum, by a pixel or so.
    """
    exact = [scale.share(value) * height for value in values]
    shown = [max(each, THINNEST) if value else 0.0 for each, value in zip(exact, values, strict=True)]
    if shown:
        thickest = shown.index(max(shown))
        shown[thickest] = max(shown[thickest] - (sum(shown) - sum(exact)), min(shown[thickest], THINNEST))
    return shown


def _rank(part: Part | tuple[str, Number, str]) -> int:
    order = (*TONES, *SERIES)
    return order.index(part[0])


def _title(column: Column, stack: Sequence[Part]) -> str:
    said = [column.total, *(part.text for part in stack if part.value)]
    return f"{column.name}: {', '.join(filter(None, said))}" if any(said) else column.name


def _shapes(stack: Sequence[Part], heights: Sequence[float], base: float) -> Iterator[Shape]:
    """Yield the parts from the baseline up; edges are rounded, not heights, so that neighbours touch."""
    edges = [round(base - reached, 1) for reached in accumulate(heights, initial=0.0)]
    for part, lower, upper in zip(stack, edges, edges[1:], strict=False):
        if part.value:
            yield Shape(part.tone, pixels(upper), pixels(lower - upper))


def _table(
    columns: Sequence[Column],
    stacks: Sequence[Sequence[Part]],
    legend: Sequence[Series],
    label: str,
    first: str,
    unit: Unit,
) -> Table:
    """Return the same numbers, newest last; only the series that have any, and the sums over all columns."""
    values = [{part.tone: part.value for part in stack} for stack in stacks]
    shown = [entry for entry in legend if any(row.get(entry.tone) for row in values)]

    def texts(row: dict[str, Number]) -> list[str]:
        return [*(unit.text(row.get(entry.tone, 0)) for entry in shown), unit.text(sum(row.values()))]

    sums = {entry.tone: sum(row.get(entry.tone, 0) for row in values) for entry in shown}
    return Table(
        caption=label,
        heads=[first, *(entry.name for entry in shown), _("All")],
        rows=[Row(column.name, texts(row), column.url) for column, row in zip(columns, values, strict=True)],
        foot=[_("All"), *texts(sums)],
        zero=unit.text(0),
    )
