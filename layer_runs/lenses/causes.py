"""What went wrong: the groups of errors, when they were seen before, and the causes they fold into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Self

from django.db.models import OuterRef, QuerySet, Subquery

from .. import formatting
from ..fingerprints import fingerprint
from ..models import ErrorLine
from ..windows import Window
from .error_lines import Lines, Tally

GROUPS_AT_ONCE = 500
# What was away for less is not worth a word.
AWAY_AT_LEAST = 7


@dataclass(frozen=True)
class Sightings:
    """When an error was seen, over all time and all runs: also last before a window began, and first inside it."""

    first: datetime
    last: datetime
    before: datetime | None
    inside: datetime | None

    @classmethod
    def of_all(cls, sightings: Iterable[Self]) -> Self:
        """Return the sightings of several errors as those of one."""
        seen = list(sightings)
        before = [each.before for each in seen if each.before]
        inside = [each.inside for each in seen if each.inside]
        first, last = min(each.first for each in seen), max(each.last for each in seen)
        return cls(first, last, max(before, default=None), min(inside, default=None))

    @property
    def is_new(self) -> bool:
        """Whether it was first seen inside the window; a window without a beginning makes nothing new."""
        return self.inside is not None and self.before is None

    def days_away(self, zone: tzinfo) -> int:
        """Return the days from the last sighting before the window to the first inside it; 0 for less than a week.

        Calendar days of the zone, so that two nights a week apart are seven days apart, whatever the hour.
        """
        if self.before is None or self.inside is None:
            return 0
        days = (self.inside.astimezone(zone).date() - self.before.astimezone(zone).date()).days
        return days if days >= AWAY_AT_LEAST else 0


@dataclass(frozen=True)
class Group:
    """Errors with one fingerprint: the same message at the same node. `line` is the newest of them."""

    fingerprint: str
    tally: Tally
    seen: Sightings
    line: ErrorLine

    @property
    def fingerprints(self) -> list[str]:
        return [self.fingerprint]

    @property
    def node(self) -> str:
        return self.line.node

    @property
    def title(self) -> str:
        return formatting.error_title(self.line.message)


@dataclass(frozen=True)
class Cause:
    """The same message at one node or more. The newest group speaks for it."""

    key: str
    groups: list[Group]
    tally: Tally
    seen: Sightings

    @property
    def newest(self) -> Group:
        return max(self.groups, key=lambda group: (group.tally.last_at, group.tally.line))

    @property
    def fingerprints(self) -> list[str]:
        return [group.fingerprint for group in self.groups]


def groups_of(counted: Lines, window: Window, at_most: int | None = None) -> Iterator[Group]:
    """Yield the groups, most errors first, at most so many, each with its newest message and when it was seen."""
    found = sorted(counted.groups().items(), key=lambda item: (-item[1].errors, -len(item[1].runs), item[0]))[:at_most]
    for start in range(0, len(found), GROUPS_AT_ONCE):
        some = found[start : start + GROUPS_AT_ONCE]
        lines = _with_sightings(window).in_bulk([tally.line for _fingerprint, tally in some])
        for name, tally in some:
            # A run rewritten since its lines were counted took them away: the next look has it right.
            if line := lines.get(tally.line):
                yield Group(name, tally, Sightings(line.first, line.last, line.before, line.inside), line)


def fold(groups: Iterable[Group]) -> list[Cause]:
    """Return the groups as causes: those whose messages differ in nothing but their node are one."""
    causes: dict[str, list[Group]] = {}
    for group in groups:
        causes.setdefault(cause_of(group.line.message), []).append(group)
    return [
        Cause(
            key,
            same,
            same[0].tally if len(same) == 1 else Tally.of_all(group.tally for group in same),
            Sightings.of_all(group.seen for group in same),
        )
        for key, same in causes.items()
    ]


def cause_of(message: str) -> str:
    """Return the id of what a message says, whatever node it was raised at."""
    return fingerprint("", message)


def _with_sightings(window: Window) -> QuerySet:
    """Return lines that know when their fingerprint was seen: each moment is one look into an index."""
    same = ErrorLine.objects.filter(fingerprint=OuterRef("fingerprint")).order_by("-started_at")
    starts = same.values("started_at")
    seen = {"first": starts.reverse(), "last": starts, "before": starts.none(), "inside": starts.none()}
    if window.since is not None:
        seen["before"] = starts.filter(started_at__lt=window.since)
        seen["inside"] = starts.filter(started_at__gte=window.since).reverse()
    return ErrorLine.objects.annotate(**{name: Subquery(moments[:1]) for name, moments in seen.items()})
