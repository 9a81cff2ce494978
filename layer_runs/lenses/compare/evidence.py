"""What went wrong in two runs, and what they called: what is new, what is gone, what both have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Min, Q

from ... import formatting
from ...expressions import added_up
from ...fields import clean_text
from ...models import ErrorLine, LayerRun, RunUsage
from .fields import usd

# Of each kind, so many are shown; the rest is counted.
ERRORS_SHOWN = 16
TARGETS_SHOWN = 5
CALLS_SHOWN = 50
TITLE_SHOWN = 200
# The order of a reader's questions.
KINDS = ("new", "both", "gone")


@dataclass
class Kind:
    """What only one of the runs has, or both: the first of it, and how much there is in all."""

    name: str
    shown: list[Any] = field(default_factory=list)
    count: int = 0

    @property
    def more(self) -> int:
        return self.count - len(self.shown)


@dataclass
class Cause:
    """Errors of one fingerprint, counted in both runs."""

    fingerprint: str
    before: int
    after: int
    # Where its first error stands: the run and the position in it.
    place: tuple[str, int]
    message: str = ""
    node: str = ""

    @property
    def title(self) -> str:
        return clean_text(formatting.error_title(self.message), TITLE_SHOWN)

    @property
    def code(self) -> str:
        return formatting.error_code(self.message)

    @property
    def change(self) -> str:
        return formatting.signed(self.after - self.before, formatting.count)


@dataclass
class Usage:
    """The calls to one model for one purpose, in both runs: a dict of `SUMS` each."""

    model: str
    call_type: str
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def sides(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.before, self.after

    @property
    def cost(self) -> Decimal:
        return self.before["cost"] + self.after["cost"]

    @property
    def change(self) -> str:
        """How the cost differs, in US dollars with its sign; empty where it does not."""
        difference = self.after["cost"] - self.before["cost"]
        return formatting.signed(difference, usd) if difference else ""


SUMS = {
    "number": "calls",
    "tokens": "tokens_total",
    "cost": "estimated_cost_usd",
    "unpriced": "unpriced_tokens",
}
NONE_USED = dict.fromkeys(SUMS, 0) | {"cost": Decimal(0)}


def errors(before: LayerRun, after: LayerRun) -> dict[str, Any]:
    """Return the causes of errors by whether they are new, in both, or gone, the most frequent first.

    They are counted in the index over the errors. `unindexed` is how many errors it lacks.
    """
    positions = {
        "at_before": Min("position", filter=Q(run=before.pk)),
        "at_after": Min("position", filter=Q(run=after.pk)),
    }
    groups = _lines(before, after).values_list("fingerprint").annotate(**_counts(before, after), **positions)
    kinds = {name: Kind(name) for name in KINDS}
    counted = [0, 0]
    for name, left, right, at_left, at_right in groups.order_by(-F("before") - F("after"), "fingerprint").iterator():
        kind = kinds[_kind_of(left, right)]
        kind.count += 1
        counted = [counted[0] + left, counted[1] + right]
        if len(kind.shown) < ERRORS_SHOWN:
            place = (after.pk, at_right) if right else (before.pk, at_left)
            kind.shown.append(Cause(name, left, right, place))
    _read([cause for kind in kinds.values() for cause in kind.shown])
    missing = before.error_count - counted[0], after.error_count - counted[1]
    return {"kinds": list(kinds.values()), "unindexed": sum(max(0, number) for number in missing)}


def targets(before: LayerRun, after: LayerRun) -> list[Kind]:
    """Return the targets with an error by whether they are new, in both, or gone, in the order they failed.

    Of none, there is nothing.
    """
    lines = _lines(before, after).exclude(topic="")
    groups = lines.values_list("topic").annotate(**_counts(before, after), first=Min("position"))
    kinds = {name: Kind(name) for name in KINDS}
    for topic, left, right, _first in groups.order_by("first", "topic").iterator():
        kind = kinds[_kind_of(left, right)]
        kind.count += 1
        if len(kind.shown) < TARGETS_SHOWN:
            kind.shown.append(topic)
    return list(kinds.values()) if any(kind.count for kind in kinds.values()) else []


def _lines(before: LayerRun, after: LayerRun) -> Any:
    return ErrorLine.objects.filter(run__in={before.pk, after.pk})


def _counts(before: LayerRun, after: LayerRun) -> dict[str, Any]:
    """Return how many of these lines each of the runs has."""
    return {side: Count("pk", filter=Q(run=run.pk)) for side, run in (("before", before), ("after", after))}


def _kind_of(before: int, after: int) -> str:
    if before and after:
        return "both"
    return "new" if after else "gone"


def _read(causes: Iterable[Cause]) -> None:
    """Read what the first error of each cause says, of all causes at once."""
    places: dict[str, dict[int, Cause]] = {}
    for cause in causes:
        run_id, position = cause.place
        places.setdefault(run_id, {})[position] = cause
    wanted = Q(pk__in=[])
    for run_id, causes_at in places.items():
        wanted |= Q(run=run_id, position__in=list(causes_at))
    for run_id, position, message, node in ErrorLine.objects.filter(wanted).values_list(
        "run_id", "position", "message", "node"
    ):
        cause = places[run_id][position]
        cause.message, cause.node = message, node


def calls(before: LayerRun, after: LayerRun) -> dict[str, Any]:
    """Return what both runs called by model and purpose, the dearest first, and the sums over all of it."""
    used: dict[tuple[str, str], Usage] = {}
    total = Usage("", "", dict(NONE_USED), dict(NONE_USED))
    rows = RunUsage.objects.filter(run__in={before.pk, after.pk})
    for row in rows.per("run", "model_name", "call_type", **{name: added_up(column) for name, column in SUMS.items()}):
        key = row["model_name"], row["call_type"]
        usage = used.setdefault(key, Usage(*key, dict(NONE_USED), dict(NONE_USED)))
        # PostgreSQL adds bigints up to a numeric.
        sums = {name: row[name] if name == "cost" else int(row[name]) for name in SUMS}
        # One run beside itself has the same on both sides.
        for side, run in (("before", before), ("after", after)):
            if row["run"] == run.pk:
                setattr(usage, side, sums)
                setattr(total, side, {name: value + getattr(total, side)[name] for name, value in sums.items()})
    dearest = sorted(used.values(), key=lambda usage: (-usage.cost, usage.model, usage.call_type))
    return {"shown": dearest[:CALLS_SHOWN], "more": len(dearest[CALLS_SHOWN:]), "total": total}
