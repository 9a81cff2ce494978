"""The axis of time: which buckets are named below a chart, so that names never overlap, and where a moment lies."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..buckets import Bucket
from .parts import percent

# Two widths of a plot in pixels, each the least of its kind: from 641 px of window on, and on a phone.
WIDE, NARROW = 560, 300
# The widest a character of an axis gets, and the least space between two names.
CHARACTER, SPACE = 6.5, 12


@dataclass(frozen=True)
class Label:
    """A name below a chart. `css` is `lr-minor` where there is room for it only on a wide page."""

    text: str
    x: str
    anchor: str
    css: str = ""


# Each is one of its own, also where two read alike.
@dataclass(frozen=True, eq=False)
class _Placed:
    text: str
    share: float
    anchor: str

    def extent(self, width: float) -> tuple[float, float]:
        """Return from where to where the text reaches on a plot of this width, in pixels."""
        length = len(self.text) * CHARACTER
        left = self.share * width - length * {"start": 0, "middle": 0.5, "end": 1}[self.anchor]
        return left, left + length


def labels(texts: Sequence[str]) -> list[Label]:
    """Place a name below the middle of each of equally wide columns; an empty one is none.

    The last one is always named, the others as far as they fit, from there to the left.
    """
    slot = 1 / len(texts) if texts else 1
    placed = [_place(text, (index + 0.5) * slot) for index, text in enumerate(texts) if text]
    wide = _fitting(placed, WIDE)
    narrow = _fitting(wide, NARROW)
    return [
        Label(each.text, percent(each.share), each.anchor, "" if each in narrow else "lr-minor")
        for each in placed
        if each in wide
    ]


def head(buckets: Sequence[Bucket]) -> list[Label]:
    """Return the names above or below columns, one a bucket: only those that are round in their unit."""
    return labels(round_names(buckets))


def round_names(buckets: Sequence[Bucket]) -> list[str]:
    """Return each bucket's name where it is round: Mondays, every sixth hour, Januaries; and the last one's."""
    is_round = _ROUND[buckets[0].unit] if buckets else None
    # Few are all named; so are those whose unit has no round ones.
    all_fit = sum(len(bucket.label) * CHARACTER + SPACE for bucket in buckets) <= WIDE
    last = len(buckets) - 1
    return [
        bucket.label if all_fit or index == last or is_round(bucket.start) else ""
        for index, bucket in enumerate(buckets)
    ]


def place(moment: datetime, buckets: Sequence[Bucket]) -> float:
    """Return how far to the right a moment lies, 0 to 1, on an axis of equally wide buckets.

    The first and last sixth of a bucket stay free: what belongs to one never stands on the border of two.
    """
    index = max(bisect_right(buckets, moment, key=lambda bucket: bucket.start) - 1, 0)
    bucket = buckets[index]
    within = min(max((moment - bucket.start) / max(bucket.end - bucket.start, timedelta(microseconds=1)), 0.0), 1.0)
    return (index + (1 + 4 * within) / 6) / len(buckets)


def _place(text: str, share: float) -> _Placed:
    """Put a name below its middle, or towards the inside where it would leave the plot."""
    half = len(text) * CHARACTER / 2 / NARROW
    if share + half > 1:
        return _Placed(text, 1.0, "end")
    if share - half < 0:
        return _Placed(text, 0.0, "start")
    return _Placed(text, share, "middle")


def _fitting(placed: Iterable[_Placed], width: float) -> list[_Placed]:
    return list(reversed(list(_from_the_right(list(placed), width))))


def _from_the_right(placed: list[_Placed], width: float) -> Iterator[_Placed]:
    free = float("inf")
    for each in reversed(placed):
        left, right = each.extent(width)
        if right <= free:
            yield each
            free = left - SPACE


_ROUND: dict[str, Callable[[datetime], bool]] = {
    "hour": lambda start: start.hour % 3 == 0,
    "day": lambda start: start.weekday() == 0,
    "week": lambda start: start.day <= 7,
    "month": lambda start: start.month in (1, 4, 7, 10),
    "year": lambda start: True,
}
