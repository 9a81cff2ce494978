"""A stretch of time cut into hours, days, weeks, months or years of the site's time zone. Pure Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo

from .windows import Window, midnight

# How many of a unit a chart shows at most, before it goes over to the next; years are the last.
UNITS = {
    "hour": (timedelta(hours=1), 49),
    "day": (timedelta(days=1), 92),
    "week": (timedelta(weeks=1), 60),
    "month": (timedelta(days=30), 60),
}


# The shortest time there is: what turns a last moment into an end.
INSTANT = timedelta(microseconds=1)

# The starts of the oldest and the newest run.
Bounds = tuple[datetime | None, datetime | None]


@dataclass(frozen=True)
class Bucket:
    """A half-open stretch of time; its edges are in the site's zone."""

    start: datetime
    end: datetime
    unit: str

    @property
    def label(self) -> str:
        """What an axis says: `14:00`, `7 Nov`, `Nov 2026`, `2026`."""
        formats = {"hour": "%H:00", "month": "%b %Y", "year": "%Y"}
        return self.start.strftime(formats.get(self.unit, f"{self.start.day} %b"))

    @property
    def name(self) -> str:
        """What it is called by itself: `Sat 7 Nov 2026`, `Sat 7 Nov 2026, 14:00 – 15:00 UTC`, `2 Nov – 8 Nov 2026`."""
        start = self.start
        day = f"{start:%a} {start.day} {start:%b %Y}"
        is_one = self.end.astimezone(UTC) - start.astimezone(UTC) <= timedelta(hours=25)
        if self.unit == "day" and is_one:
            return day
        if self.unit == "hour" and is_one:
            return f"{day}, {start:%H:%M} – {self.end:%H:%M} {start.tzname()}"
        last = (self.end.astimezone(UTC) - timedelta(microseconds=1)).astimezone(start.tzinfo)
        first = f"{start.day} {start:%b}" if start.year == last.year else f"{start.day} {start:%b %Y}"
        return f"{first} – {last.day} {last:%b %Y}"

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the selection that holds exactly this: bare dates where it is whole days."""
        if _is_midnight(self.start) and _is_midnight(self.end):
            return {"since": str(self.start.date()), "until": str(self.end.date() - timedelta(days=1))}
        return {"since": self.start.isoformat(), "until": self.end.isoformat()}


def buckets(window: Window, bounds: Bounds, now: datetime, zone: tzinfo) -> list[Bucket]:
    """Cut a window for a chart: hours up to two days, days up to three months, then weeks, months and years.

    `bounds` are the starts of the oldest and the newest run: a window without a beginning begins with the
    one, and one without an end ends now. Runs that a skewed clock put later are in the last bucket.
    """
    cut = _readable(window, bounds, now, zone)
    latest = min(filter(None, (window.until, bounds[1] and bounds[1] + INSTANT)), default=None)
    reached = cut[-1].end.astimezone(UTC) if cut else window.since
    if latest and reached and latest > reached:
        last = cut.pop() if cut else Bucket(window.since.astimezone(zone), latest, "day")
        cut.append(replace(last, end=latest.astimezone(zone)))
    return cut


def _readable(window: Window, bounds: Bounds, now: datetime, zone: tzinfo) -> list[Bucket]:
    edges = _edges(window, (bounds[0], None), now, zone)
    if edges is None:
        return []
    since, until = edges
    for unit, (length, at_most) in UNITS.items():
        # By its length first: years are not cut into hours to be counted. Both ends can be a part of a unit.
        if until - since <= length * (at_most + 1):
            cut = list(_cut(window, since, until, zone, unit))
            if len(cut) <= at_most:
                return cut
    return list(_cut(window, since, until, zone, "year"))


def days(window: Window, bounds: Bounds, now: datetime, zone: tzinfo) -> Iterator[Bucket]:
    """Yield every calendar day of a window, however many there are."""
    edges = _edges(window, bounds, now, zone)
    return _cut(window, *edges, zone, "day") if edges else iter(())


def _edges(window: Window, bounds: Bounds, now: datetime, zone: tzinfo) -> tuple[datetime, datetime] | None:
    oldest, newest = bounds
    latest = max(now, newest or now) + INSTANT
    first = min(midnight((oldest or now).astimezone(zone).date(), zone, min), now.astimezone(UTC))
    since = window.since or first
    until = min(window.until or latest, latest)
    if until - since > timedelta(days=366):
        # Years of nothing before the first run would squeeze the rest.
        since = max(since, first)
    return (since.astimezone(UTC), until) if until > since else None


def _cut(window: Window, since: datetime, until: datetime, zone: tzinfo, unit: str) -> Iterator[Bucket]:
    """Yield the units from one moment to another; only an end of the window's own cuts the last one short."""
    start = since
    while start < until:
        end = _next(start.astimezone(zone), zone, unit)
        if window.until:
            end = min(end, window.until)
        yield Bucket(start.astimezone(zone), end.astimezone(zone), unit)
        start = end


def _next(start: datetime, zone: tzinfo, unit: str) -> datetime:
    """Return the moment at which the next hour, day, week, month or year begins, in UTC."""
    if unit == "hour":
        # Past the hour by this much: counted in real time, so that no hour is lost or doubled by a clock change.
        past = timedelta(minutes=start.minute, seconds=start.second, microseconds=start.microsecond)
        return start.astimezone(UTC) - past + timedelta(hours=1)
    day = start.date()
    if unit == "week":
        following = day + timedelta(days=7 - day.weekday())
    elif unit == "month":
        following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    elif unit == "year":
        following = day.replace(year=day.year + 1, month=1, day=1)
    else:
        following = day + timedelta(days=1)
    # A midnight that a clock change skips is the moment of the change; of two, the first that lies ahead.
    midnights = (datetime.combine(following, time(fold=fold), zone).astimezone(UTC) for fold in (0, 1))
    return next(moment for moment in midnights if moment > start)


def _is_midnight(moment: datetime) -> bool:
    """Tell whether this is the only midnight of its day, which a bare date stands for."""
    same = {midnight(moment.date(), moment.tzinfo, choose) for choose in (min, max)}
    return same == {moment.astimezone(UTC)}
