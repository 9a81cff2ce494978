"""What all charts are made of: tones, the entries of a legend, the table behind a chart, how a length is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# From the baseline up, and from bad to good: trouble stands on the baseline, where days can be compared.
TONES = ("failed", "crashed", "partial", "other", "running", "dry", "success")
# For series that are no statuses, such as models; what is beyond them is added up as the last.
SERIES = ("s1", "s2", "s3", "s4", "s5", "s6", "rest")
# Not by colour alone: these are filled with a pattern of the page's sprite, the others by their own rule of the CSS.
PATTERNED = frozenset({"partial", "crashed"})


@dataclass(frozen=True)
class Series:
    """An entry of the legend, and a column of the table.

    `tone` is one of TONES or SERIES; `url` toggles it in the selection and `taken` says that it is chosen;
    `title` says what its name does not.
    """

    tone: str
    name: str
    url: str = ""
    taken: bool = False
    title: str = ""

    @property
    def pattern(self) -> bool:
        return self.tone in PATTERNED


@dataclass(frozen=True)
class Row:
    """A row of a table: what it is about, where that leads, and its texts."""

    name: str
    texts: Sequence[str]
    url: str = ""


@dataclass(frozen=True)
class Table:
    """The numbers of a chart, for those who prefer to read them. `foot` are sums, or nothing; `zero` is how 0 reads."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Row]
    foot: Sequence[str] = ()
    zero: str = ""


def named(names: Iterable[str], rest: str) -> dict[str, Series]:
    """Give each name a series of its own, the first six; all others share the last one, which is called `rest`."""
    kept = dict(zip(names := list(names), SERIES[:-1], strict=False))
    return {name: Series(kept[name], name) if name in kept else Series(SERIES[-1], rest) for name in names}


def percent(share: float) -> str:
    """Return a share of the width: `33.33%`."""
    return f"{share * 100:.2f}%"


def pixels(length: float) -> str:
    """Return a length to a tenth of a pixel: `12.5`."""
    return f"{length:.1f}"
