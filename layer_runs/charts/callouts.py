"""Texts above columns: which fit, and where they cover nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .labels import CHARACTER, NARROW, WIDE
from .parts import SERIES, TONES, percent, pixels

# Between a text and what is below it, and between two texts beside each other.
ABOVE_COLUMN, APART = 5, 7
# What a plot is usually as wide as on a wide page: what a text covers there counts, as it has a seam on a narrower one.
USUAL = 900


@dataclass(frozen=True)
class Callout:
    """A text above a column. `css` is `lr-minor` on wide pages only, `lr-narrow` on narrow ones only."""

    text: str
    tone: str
    x: str
    y: str
    anchor: str
    css: str = ""


def callouts(texts: Mapping[int, tuple[str, str]], tops: Sequence[float], bar: float) -> Iterator[Callout]:
    """Yield a text and its tone for each of some columns, as low as it goes without covering another column.

    `tops` is where each column ends, in pixels; `bar` how wide each is, 0 to 1. Of two texts that would hit each
    other the worse one stays, then that of the higher column. A text is as long on a phone, but reaches over more
    columns there: where that makes a difference it is placed twice.
    """
    wide, narrow = _placed(texts, tops, bar, WIDE, USUAL), _placed(texts, tops, bar, NARROW, NARROW)
    for index, callout in wide.items():
        yield callout if narrow.get(index) == callout else replace(callout, css="lr-minor")
    for index, callout in narrow.items():
        if wide.get(index) != callout:
            yield replace(callout, css="lr-narrow")


def _placed(
    texts: Mapping[int, tuple[str, str]], tops: Sequence[float], bar: float, width: float, usual: float
) -> dict[int, Callout]:
    """Place the texts so that none hits another on a plot of this width, nor a column on one of the usual width."""
    order = (*TONES, *SERIES)
    worst_first = sorted(texts, key=lambda index: (order.index(texts[index][1]), tops[index], index))
    taken: list[tuple[float, float]] = []
    found = {}
    for index in worst_first:
        text, tone = texts[index]
        # Around the middle of its column, or along it to the left or to the right: where it comes to lie lowest.
        middle = (index + 0.5) / len(tops)
        ways = []
        for anchor, at in (("middle", middle), ("end", middle + bar / 2), ("start", middle - bar / 2)):
            length = len(text) * CHARACTER
            extent = _extent(anchor, at, length / width)
            if _is_free(extent, taken, APART / width):
                covered = _extent(anchor, at, length / usual)
                ways.append((_top(tops, *covered), extent, at, anchor))
        if ways:
            top, extent, at, anchor = max(ways, key=lambda way: way[0])
            taken.append(extent)
            found[index] = Callout(text, tone, percent(at), pixels(top - ABOVE_COLUMN), anchor)
    return found


def _extent(anchor: str, at: float, length: float) -> tuple[float, float]:
    """Return from where to where a text reaches, in shares of the width."""
    left = at - length * {"middle": 0.5, "end": 1, "start": 0}[anchor]
    return left, left + length


def _is_free(extent: tuple[float, float], taken: Sequence[tuple[float, float]], apart: float) -> bool:
    """Tell whether a text lies within the plot and hits none of the others."""
    left, right = extent
    inside = left >= 0 and right <= 1
    return inside and not any(left < end + apart and start < right + apart for start, end in taken)


def _top(tops: Sequence[float], left: float, right: float) -> float:
    """Return the top of the highest column between two places."""
    return min(tops[max(int(left * len(tops)), 0) : int(right * len(tops)) + 1])
