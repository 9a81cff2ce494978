"""Which stretch of time a query string means, in the site's time zone. Pure Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

# Nothing outside these bounds can be stored, so nothing outside them needs to be asked for.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)

PERIODS = {"24h": "24 h", "7d": "7 d", "30d": "30 d", "90d": "90 d", "all": "All"}
DEFAULT_PERIOD = "7d"


@dataclass(frozen=True)
class Window:
    """A half-open stretch of time: `since` is inside, `until` is not; None is no edge."""

    since: datetime | None = None
    until: datetime | None = None

    def __bool__(self) -> bool:
        return self.since is not None or self.until is not None

    def __and__(self, other: Window) -> Window:
        """Return what lies in both."""
        since = [edge for edge in (self.since, other.since) if edge is not None]
        until = [edge for edge in (self.until, other.until) if edge is not None]
        return Window(max(since, default=None), min(until, default=None))


EVER = Window()


def of_period(period: str, now: datetime, zone: tzinfo) -> Window:
    """Return the window of a named period.

    `24h` slides. `Nd` is today and the N-1 days before, cut at midnight in `zone`, so that a
    number does not change between two looks on one day.
    """
    if period == "all":
        return EVER
    if period == "24h":
        return Window(since=now - timedelta(hours=24))
    days = int(period.removesuffix("d"))
    first = now.astimezone(zone).date() - timedelta(days=days - 1)
    return Window(since=midnight(first, zone, min))


def before(window: Window, now: datetime, zone: tzinfo) -> Window | None:
    """Return the window of the same length just before this one, or None where there is none.

    Whole days go back by as many days, and stay whole where a clock change made one of them longer; a
    window without an end reaches to the end of today. None before all of time, before a window that lies
    ahead, and where nothing could be stored.
    """
    if window.since is None:
        return None
    first = window.since.astimezone(zone)
    until = window.until or midnight(now.astimezone(zone).date() + timedelta(days=1), zone, max)
    last = until.astimezone(zone)
    try:
        if first.time() == time.min and last.time() == time.min:
            since = midnight(first.date() - (last.date() - first.date()), zone, min)
        else:
            since = window.since - ((window.until or now) - window.since)
    except OverflowError:
        return None
    return Window(since, window.since) if EARLIEST <= since < window.since else None


def parse_since(text: str, zone: tzinfo) -> datetime:
    """Return the first instant of an ISO date or time. Raises ValueError."""
    return _parse(text, zone, min, timedelta(0))


def parse_until(text: str, zone: tzinfo) -> datetime:
    """Return the first instant after an ISO date (that whole day), or an ISO time itself. Raises ValueError."""
    return _parse(text, zone, max, timedelta(days=1))


Choose = Callable[[datetime, datetime], datetime]


def _parse(text: str, zone: tzinfo, choose: Choose, whole_day: timedelta) -> datetime:
    text = text.strip()
    try:
        if len(text) <= 10:
            return _clamp(midnight(date.fromisoformat(text) + whole_day, zone, choose))
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = _local(moment, zone, choose)
        return _clamp(moment)
    except OverflowError:
        # Years 1 and 9999 leave the calendar once an offset is applied.
        return EARLIEST if text < "2" else LATEST


def midnight(day: date, zone: tzinfo, choose: Choose) -> datetime:
    """Return the midnight a day begins with; `choose` (min or max) picks one where a clock change repeats it."""
    return _local(datetime.combine(day, time.min), zone, choose)


def _local(moment: datetime, zone: tzinfo, choose: Choose) -> datetime:
    """Place a wall-clock time; one that a clock change repeats or skips is widened, never to hide a run."""
    return choose(*(moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)))


def _clamp(moment: datetime) -> datetime:
    return min(max(moment, EARLIEST), LATEST).astimezone(UTC)
