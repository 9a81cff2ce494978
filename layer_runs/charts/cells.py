"""The outcome grid: a cell a bucket, its worst status wins, and trouble is also bigger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .parts import PATTERNED, TONES, percent

# From so many on glyphs would overlap, and a cell becomes a thin column: a month of days is the most.
DENSE_FROM = 32
HEIGHT = 20
_HEIGHTS = {"success": 8, "dry": 4, "other": 4, "none": 1}


@dataclass(frozen=True)
class Cell:
    """What ran in one bucket. `tone` is the worst of TONES, or nothing where nothing ran; `text` its counts in words.

    `missing` says that something was due and did not run.
    """

    name: str
    tone: str = ""
    text: str = ""
    url: str = ""
    missing: bool = False


@dataclass(frozen=True)
class DrawnCell:
    """A cell as drawn: `middle` of the glyph, `x` of what can be hit; `kind` is the tone, `none` or `missed`."""

    title: str
    url: str
    kind: str
    x: str
    middle: str

    @property
    def pattern(self) -> bool:
        return self.kind in PATTERNED

    @property
    def y(self) -> int:
        return (HEIGHT - self.height) // 2

    @property
    def height(self) -> int:
        """How high a thin column is, in pixels: trouble is also bigger there."""
        return _HEIGHTS.get(self.kind, 16)


@dataclass(frozen=True)
class Cells:
    """A row of cells, for `_chart_cells.html`: glyphs, or thin columns where there are many."""

    name: str
    label: str
    width: str
    bar_width: str
    dense: bool
    cells: Sequence[DrawnCell]


def worst(counts: Mapping[str, int]) -> str:
    """Return the worst tone among these that has any runs, or an empty text."""
    return next((tone for tone in TONES if counts.get(tone)), "")


def cells(row: Iterable[Cell], *, label: str, name: str = "cells") -> Cells:
    """Return a row of cells, equally wide. `label` says whose they are."""
    row = list(row)
    slot = 1 / len(row) if row else 1
    dense = len(row) >= DENSE_FROM
    return Cells(
        name=name,
        label=label,
        width=percent(slot),
        bar_width=percent(slot * 0.75),
        dense=dense,
        cells=[
            DrawnCell(
                title=f"{cell.name}: {cell.text}" if cell.text else cell.name,
                url=cell.url,
                kind=cell.tone or ("missed" if cell.missing else "none"),
                x=percent(index * slot),
                middle=percent((index + 0.5) * slot),
            )
            for index, cell in enumerate(row)
        ],
    )
