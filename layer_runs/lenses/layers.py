"""The Layers lens: what each layer did in the selection, and which layers were silent. Plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, Max, Q, Value

from ..buckets import Bucket
from ..expressions import SumOfUsd, added_up
from ..filters import LayerRunFilterSet
from ..models import Status
from ..querysets import LayerRunQuerySet
from ..windows import Window
from .durations import Typical, typical
from .timeline import OTHER

BAD = (Status.PARTIAL, Status.FAILED, Status.CRASHED)
# What a success rate is made of: a dry run had nothing to do, and a running one is not done.
COUNTING = (Status.SUCCESS, *BAD)
SUMS = {
    "insights": "insights_created",
    "tokens": "tokens_total",
    "cost": "estimated_cost_usd",
    "unpriced": "unpriced_tokens",
}


@dataclass
class LayerRow:
    """What one layer, or all of them, did. `days` counts the runs of each bucket by status, unknown ones as `other`."""

    name: str
    days: list[Counter[str]]
    statuses: Counter[str] = field(default_factory=Counter)
    insights: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    last: datetime | None = None
    typical: Typical = Typical()
    # Of the window before.
    cost_before: Decimal = Decimal(0)
    runs_before: int = 0
    silent: bool = False

    @property
    def runs(self) -> int:
        return self.statuses.total()

    @property
    def succeeded(self) -> int:
        return self.statuses[Status.SUCCESS]

    @property
    def counting(self) -> int:
        """How many runs its success rate is about."""
        return sum(self.statuses[status] for status in COUNTING)

    @property
    def other(self) -> int:
        return self.statuses[OTHER]

    def totals(self) -> dict[str, Any]:
        """Return the figures as `LayerRunQuerySet.totals()` has them, which need not be asked for again."""
        counts = {status: self.statuses[status] for status in (*Status.values, OTHER)}
        return counts | {"total": self.runs} | {name: getattr(self, name) for name in SUMS}

    @property
    def success_rate(self) -> float | None:
        return self.succeeded / self.counting if self.counting else None

    @property
    def cost_per_insight(self) -> Decimal | None:
        return self.cost / self.insights if self.insights else None

    @property
    def insights_per_dollar(self) -> Decimal | None:
        return self.insights / self.cost if self.cost else None

    @property
    def change(self) -> Decimal | None:
        """By how much the cost differs from the window before, as a part of that."""
        return self.cost / self.cost_before - 1 if self.cost_before else None

    def add(self, group: dict[str, Any]) -> None:
        known = {status: group[status] for status in Status.values if group[status]}
        other = group["runs"] - sum(known.values())
        counts = known | {OTHER: other} if other else known
        self.days[group["bucket"]].update(counts)
        self.statuses.update(counts)
        for name in SUMS:
            setattr(self, name, getattr(self, name) + (group[name] or 0))
        self.last = max(self.last or group["last"], group["last"])

    def add_row(self, row: LayerRow) -> None:
        for mine, theirs in zip(self.days, row.days, strict=True):
            mine.update(theirs)
        self.statuses.update(row.statuses)
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(row, name))
        self.last = max(filter(None, (self.last, row.last)), default=None)


def rows(runs: LayerRunQuerySet, cut: Sequence[Bucket]) -> list[LayerRow]:
    """Return a row for each layer that has runs, by name. One query makes grid, rates, yields and last runs."""
    sums = {name: added_up(column) for name, column in SUMS.items()}
    # A column a status: grouping by it as well would sort what the index has in the order of layers already.
    sums |= {status: Count("id", filter=Q(status=status)) for status in Status.values}
    found: dict[str, LayerRow] = {}
    for group in runs.per_bucket(cut, "layer_name", runs=Count("*"), last=Max("started_at"), **sums):
        name = group["layer_name"]
        if name not in found:
            found[name] = LayerRow(name, [Counter() for _ in cut])
        found[name].add(group)
    return [found[name] for name in sorted(found)]


def silent(earlier: LayerRunQuerySet, ran: Collection[str], anything: LayerRunQuerySet | None) -> list[LayerRow]:
    """Return a row for each layer that has runs among the earlier ones, and is not among those that ran.

    `anything` are all runs of the window, where those that ran are only some of them: who is there was not silent.
    """
    found = last_runs(earlier, [name for name in earlier.values_of("layer_name") if name not in ran])
    heard = {} if anything is None else last_runs(anything, list(found))
    return [LayerRow(name, [], last=last, silent=True) for name, last in found.items() if name not in heard]


def last_runs(runs: LayerRunQuerySet, names: Collection[str]) -> dict[str, datetime]:
    """Return when each of these layers last started one of the runs; those that have none are left out."""
    if not names:
        return {}
    first, *others = (
        # No GROUP BY: the maximum is then one look-up in the index that begins with the layer.
        runs.filter(layer_name=name)
        .order_by()
        .annotate(name=Value(name))
        .values("name")
        .annotate(last=Max("started_at"))
        for name in names
    )
    found = first.union(*others, all=True) if others else first
    return {row["name"]: row["last"] for row in found if row["last"]}


# What narrows runs by an index that ends in their start: the last one before a window is then found at once.
INDEXED = {"layer_name", "exclude_layer", "status", "model_name", "source", "period", "since", "until"}
# What says whose silence is meant. Anything else chooses among the runs of a layer that was not silent.
HEARD_BY = {"layer_name", "exclude_layer", "source", "period", "since", "until"}
# Under any other filter all runs before a window might be read: only those of so many days are.
LOOK_BACK = timedelta(days=90)


@dataclass
class LayersReport:
    """The rows of the layers, those that were silent, and all of them in one.

    `heard_since` is where the search for silent layers began, None where it went through all of time.
    """

    cut: Sequence[Bucket]
    rows: list[LayerRow]
    silent: list[LayerRow]
    everything: LayerRow
    before: Window | None
    heard_since: datetime | None = None


def report(selection: LayerRunFilterSet, cut: Sequence[Bucket]) -> LayersReport:
    """Return what the Layers lens shows of a selection, with a cell for each bucket of its window."""
    runs, previous = selection.qs, selection.previous()
    found = rows(runs, cut)
    lengths, together = typical(runs, "layer_name")
    everything = LayerRow("", [Counter() for _ in cut], typical=together)
    for row in found:
        everything.add_row(row)
        row.typical = lengths.get(row.name, Typical())
    if previous:
        _compare(previous.qs, found, everything)
    before = earlier_than(selection)
    unheard = []
    if before:
        rest = set(selection.values) - HEARD_BY
        anything = selection.variant(**dict.fromkeys(rest)).qs if rest else None
        unheard = silent(runs.any_time.within(before), {row.name for row in found}, anything)
    heard_since = before.since if before else None
    return LayersReport(cut, found, unheard, everything, previous.window if previous else None, heard_since)


def earlier_than(selection: LayerRunFilterSet) -> Window | None:
    """Return the time before the window in which a silent layer ran; None where the window has no beginning."""
    since = selection.window.since
    if since is None:
        return None
    return Window(None if set(selection.values) <= INDEXED else since - LOOK_BACK, since)


def _compare(earlier: LayerRunQuerySet, found: Iterable[LayerRow], everything: LayerRow) -> None:
    groups = earlier.per("layer_name", runs=Count("*"), cost=SumOfUsd("estimated_cost_usd"))
    before = {group["layer_name"]: (group["cost"] or Decimal(0), group["runs"]) for group in groups}
    for row in found:
        row.cost_before, row.runs_before = before.get(row.name, (Decimal(0), 0))
    # All of them: also of a layer that ran only then.
    everything.cost_before = sum((cost for cost, _runs in before.values()), Decimal(0))
    everything.runs_before = sum(runs for _cost, runs in before.values())
