"""The versions of a layer, and whether each is better or worse than the one before it. Plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, Max, Min

from ..buckets import Bucket
from ..expressions import added_up
from ..models import Status
from ..querysets import LayerRunQuerySet
from ..statistics import fisher, per_target
from .durations import Typical, typical
from .layers import BAD, COUNTING

# A difference that chance makes less often than this is called one.
SIGNIFICANT = 0.05
RUNS_NEEDED = 10
SUMS = {
    "processed": "targets_processed",
    "failed": "targets_skipped",
    "tokens": "tokens_total",
    "cost": "estimated_cost_usd",
    "unpriced": "unpriced_tokens",
    "insights": "insights_created",
}


@dataclass(frozen=True)
class Verdict:
    """`word` is first, unjudged, few, better, worse or same. `p` is that of the test, where there was one."""

    word: str
    p: float | None = None
    # The runs that count on the side that has fewer of them.
    fewest: int = 0


def verdict(bad: int, good: int, bad_before: int, good_before: int) -> Verdict:
    """Judge a version by its runs against those of the version before.

    By runs and not by targets, since the targets of one run fail together.
    """
    fewest = min(bad + good, bad_before + good_before)
    if fewest < RUNS_NEEDED:
        return Verdict("few", fewest=fewest)
    p = fisher(bad, good, bad_before, good_before)
    if p >= SIGNIFICANT:
        return Verdict("same", p, fewest)
    return Verdict("worse" if bad * (bad_before + good_before) > bad_before * (bad + good) else "better", p, fewest)


@dataclass
class Version:
    """What the runs of one hash did. `before` is the one of these versions that was first used before it."""

    hash: str
    first: datetime
    last: datetime
    # Its first use and its place by that among all versions of its layer, whatever is selected.
    began: datetime | None = None
    number: int = 0
    runs: int = 0
    good: int = 0
    bad: int = 0
    # The same without the nights of an outage.
    calm_good: int = 0
    calm_bad: int = 0
    processed: int = 0
    failed: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    insights: int = 0
    typical: Typical = Typical()
    before: Version | None = None
    verdict: Verdict = Verdict("first")
    # The next version, where this one still ran after its first use.
    overtaken: Version | None = None

    @property
    def counting(self) -> int:
        return self.good + self.bad

    @property
    def calm(self) -> int:
        return self.calm_good + self.calm_bad

    @property
    def targets(self) -> int:
        """The targets worked on: those that were processed, and those that failed."""
        return self.processed + self.failed

    @property
    def success_rate(self) -> float | None:
        return self.good / self.counting if self.counting else None

    @property
    def calm_bad_rate(self) -> float | None:
        return self.calm_bad / self.calm if self.calm else None

    @property
    def failed_rate(self) -> float | None:
        return self.failed / self.targets if self.targets else None

    @property
    def tokens_per_target(self) -> Decimal | None:
        return self._per_target(self.tokens)

    @property
    def cost_per_target(self) -> Decimal | None:
        return self._per_target(self.cost)

    @property
    def insights_per_target(self) -> Decimal | None:
        return self._per_target(self.insights)

    def _per_target(self, figure: int | Decimal) -> Decimal | None:
        return per_target(figure, self.processed)

    def add(self, group: dict[str, Any]) -> None:
        self.runs += group["runs"]
        for name in SUMS:
            setattr(self, name, getattr(self, name) + (group[name] or 0))
        self.first, self.last = min(self.first, group["first"]), max(self.last, group["last"])
        self.count(group, 1)
        if group["status"] in COUNTING:
            which = "good" if group["status"] == Status.SUCCESS else "bad"
            setattr(self, which, getattr(self, which) + group["runs"])

    def count(self, group: dict[str, Any], sign: int) -> None:
        """Count runs among those of calm nights, or take them out again."""
        if group["status"] == Status.SUCCESS:
            self.calm_good += sign * group["runs"]
        elif group["status"] in BAD:
            self.calm_bad += sign * group["runs"]


def outages(everything: LayerRunQuerySet, days: Sequence[Bucket]) -> list[Bucket]:
    """Return the days on which more than half of the runs of all layers went wrong, and of more layers than one.

    Such a day speaks of the provider and not of a layer. Every run counts, also one that had nothing to do.
    """
    runs, bad = [0] * len(days), [0] * len(days)
    for group in everything.per_bucket(days, "status", runs=Count("*")):
        runs[group["bucket"]] += group["runs"]
        bad[group["bucket"]] += group["runs"] if group["status"] in BAD else 0
    wrong = [day for place, day in enumerate(days) if bad[place] * 2 > runs[place]]
    # Where nothing but one layer went wrong, nobody else is to blame.
    hit: list[set[str]] = [set() for _day in wrong]
    if wrong:
        for group in everything.filter(status__in=BAD).per_bucket(wrong, "layer_name", runs=Count("*")):
            hit[group["bucket"]].add(group["layer_name"])
    return [day for day, layers in zip(wrong, hit, strict=True) if len(layers) > 1]


def versions(
    runs: LayerRunQuerySet, nights: Sequence[Bucket], first_uses: Mapping[str, datetime] | None = None
) -> list[Version]:
    """Return the versions of these runs, the one that was first used last at the top.

    A version is its hash: one that comes back is the same version. `nights` are left out of the verdicts.
    `first_uses` are those of all versions of the layer, where these runs are not all that it ever did.
    """
    sums = {name: added_up(column) for name, column in SUMS.items()}
    times = {"first": Min("started_at"), "last": Max("started_at")}
    found: dict[str, Version] = {}
    for group in runs.per("layer_hash", "status", runs=Count("*"), **times, **sums):
        name = group["layer_hash"]
        if name not in found:
            found[name] = Version(name, group["first"], group["last"])
        found[name].add(group)
    if nights:
        for group in runs.per_bucket(nights, "layer_hash", "status", runs=Count("*")):
            found[group["layer_hash"]].count(group, -1)
    lengths, _together = typical(runs, "layer_hash")
    for name, version in found.items():
        version.typical = lengths.get(name, Typical())
    return ranked(found.values(), first_uses)


def ranked(found: Iterable[Version], first_uses: Mapping[str, datetime] | None = None) -> list[Version]:
    """Number versions by their first use ever, judge each against the one before, and return the newest first."""
    mine = {version.hash: version for version in found}
    began = {name: version.first for name, version in mine.items()} | dict(first_uses or {})
    ordered: list[Version] = []
    for number, name in enumerate(sorted(began, key=lambda name: (began[name], name)), 1):
        version = mine.get(name)
        if version is None:
            continue
        version.number, version.began = number, began[name]
        if ordered:
            before = version.before = ordered[-1]
            version.verdict = verdict(version.calm_bad, version.calm_good, before.calm_bad, before.calm_good)
            if before.last > began[name]:
                before.overtaken = version
        elif number > 1:
            version.verdict = Verdict("unjudged")
        ordered.append(version)
    return ordered[::-1]


def matrix(lines: Any, found: Sequence[Version]) -> list[tuple[str, list[int]]]:
    """Return each node that failed with its errors under each version, the most errors first.

    The versions are in the order they are given; `lines` are the errors of their runs.
    """
    nodes: dict[str, dict[str, int]] = {}
    for group in lines.per("node", "run__layer_hash", errors=Count("*")):
        nodes.setdefault(group["node"], {})[group["run__layer_hash"]] = group["errors"]
    by_errors = sorted(nodes.items(), key=lambda node: (-sum(node[1].values()), node[0]))
    return [(node, [errors.get(version.hash, 0) for version in found]) for node, errors in by_errors]
