"""A point a run over time, with the median of each version and a mark where it began."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .axis import MILLISECONDS, Number, Unit, axis
from .bars import BELOW, Line
from .labels import CHARACTER, NARROW, WIDE, Label
from .parts import TONES, Row, Table, percent, pixels

# Room above: for half a line of the axis, or for the names of the versions.
ABOVE, ABOVE_WITH_MARKS = 8, 20
BELOW_WITHOUT_LABELS = 8


@dataclass(frozen=True)
class Dot:
    """A run, or a bucket of runs. `at` is its place from 0 to 1 (see `place`), `value` None where there is none.

    `text` goes after its value in the title; `tone` is one of TONES or SERIES.
    """

    at: float
    value: Number | None
    name: str
    tone: str = "success"
    url: str = ""
    text: str = ""


@dataclass(frozen=True)
class Mark:
    """Where a version began: the place of its first run, and what it is called."""

    at: float
    text: str
    title: str = ""


@dataclass(frozen=True)
class Level:
    """A value that holds for a stretch, such as the median of a version."""

    start: float
    end: float
    value: Number
    title: str = ""


@dataclass(frozen=True)
class DrawnDot:
    """A point as drawn."""

    title: str
    url: str
    tone: str
    x: str
    y: str

    @property
    def shape(self) -> str:
        """What it is drawn as: trouble has a shape of its own."""
        return self.tone if self.tone in TONES else "success"


@dataclass(frozen=True)
class DrawnMark:
    """A dashed line, drawn a little left of `x`. Its text is left out where it would hit the one before."""

    text: str
    title: str
    x: str
    anchor: str
    css: str = ""


@dataclass(frozen=True)
class DrawnLevel:
    title: str
    start: str
    end: str
    y: str


@dataclass(frozen=True)
class Dots:
    """A chart of points, for `_chart_dots.html`. Heights and y are pixels, x percent."""

    name: str
    label: str
    height: str
    top: str
    base: str
    gutter: int
    lines: Sequence[Line]
    labels: Sequence[Label]
    dots: Sequence[DrawnDot]
    marks: Sequence[DrawnMark]
    levels: Sequence[DrawnLevel]
    table: Table


def dots(
    points: Iterable[Dot],
    *,
    label: str,
    heads: Sequence[str],
    marks: Iterable[Mark] = (),
    levels: Iterable[Level] = (),
    labels: Sequence[Label] = (),
    name: str = "dots",
    height: int = 72,
    unit: Unit = MILLISECONDS,
) -> Dots:
    """Return points by their place and value; those without a value are in the table only.

    `heads` are those of the table: what a point is, its value, and what its `text` says. `labels` are the names of
    the shared axis of time (see `head`), given to the lowest of charts that stand above each other.
    """
    points, marks, levels = list(points), list(marks), list(levels)
    known = [point.value for point in points if point.value is not None]
    scale = axis(max([*known, *(level.value for level in levels)], default=0), unit)
    above = ABOVE_WITH_MARKS if any(mark.text for mark in marks) else ABOVE
    base = above + height

    def y(value: Number) -> str:
        return pixels(base - scale.share(value) * height)

    return Dots(
        name=name,
        label=label,
        height=pixels(base + (BELOW if labels else BELOW_WITHOUT_LABELS)),
        top=pixels(above - ABOVE),
        base=pixels(base),
        gutter=max(len(tick.text) for tick in scale.ticks),
        lines=[Line(y(tick.value), tick.text) for tick in scale.ticks],
        labels=labels,
        dots=[
            DrawnDot(_title(point, unit), point.url, point.tone, percent(point.at), y(point.value))
            for point in points
            if point.value is not None
        ],
        marks=[_mark(mark, marks) for mark in marks],
        levels=[DrawnLevel(each.title, percent(each.start), percent(each.end), y(each.value)) for each in levels],
        table=Table(
            caption=label,
            heads=heads,
            rows=[
                Row(point.name, [unit.text(point.value), point.text][: len(heads) - 1], point.url) for point in points
            ],
        ),
    )


def _title(point: Dot, unit: Unit) -> str:
    return f"{point.name}: {', '.join(filter(None, [unit.text(point.value), point.text]))}"


def _mark(mark: Mark, marks: Sequence[Mark]) -> DrawnMark:
    """Write the name to the right of its line, or to the left of it at the right end; both may be too narrow."""
    length = len(mark.text) * CHARACTER + 8
    after = min((other.at for other in marks if other.at > mark.at), default=1.0)
    before = max((other.at for other in marks if other.at < mark.at), default=0.0)
    room = {"start": after - mark.at, "end": mark.at - before}
    anchor = "start"
    if after == 1.0 and room["start"] * NARROW < length <= room["end"] * NARROW / 2:
        anchor = "end"
    fits = {width for width in (WIDE, NARROW) if room[anchor] * width >= length}
    text = mark.text if WIDE in fits else ""
    return DrawnMark(text, mark.title or mark.text, percent(mark.at), anchor, "" if NARROW in fits else "lr-minor")
