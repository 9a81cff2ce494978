"""What runs spent, by bucket, layer, model, profile and call type: rows that always add up to their runs."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.utils.functional import cached_property

from ...buckets import Bucket
from ...expressions import SumOfUsd
from ...models import RunUsage, Status
from ...querysets import LayerRunQuerySet

# Nothing came of these runs, so all they cost is wasted; of the others it is the calls of targets that failed.
WHOLLY_WASTED = (Status.FAILED, Status.CRASHED)

# Where a figure comes from: the LLM calls of a run, a run that has none, or what a run says beyond its calls.
CALLS, RUN, BEYOND = "calls", "run", "beyond"
# The bucket of what is added up over all of them.
EVERY = -1

Key = TypeVar("Key", bound=Hashable)


class Sums(NamedTuple):
    """Figures that add up; `cost` in US dollars. A tuple, as there are thousands of them."""

    calls: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*map(operator.add, self, other))

    def __sub__(self, other: Sums) -> Sums:
        return Sums(*map(operator.sub, self, other))

    def in_brief(self) -> Sums:
        return Sums(tokens=self.tokens, cost=self.cost)

    def __bool__(self) -> bool:
        return any(self[1:])


NOTHING = Sums()


class Use(NamedTuple):
    """What the runs of one layer used in one bucket, of one model for one purpose."""

    bucket: int
    layer: str
    model: str
    profile: str
    call_type: str
    sums: Sums
    origin: str = CALLS


class Ran(NamedTuple):
    """The runs of one layer in one bucket, and what they say they used."""

    runs: int = 0
    processed: int = 0
    failed: int = 0
    insights: int = 0
    unpriced_runs: int = 0
    sums: Sums = NOTHING
    wasted: Decimal = Decimal(0)

    @property
    def worked_on(self) -> int:
        """The targets that were processed or failed: what there was to do."""
        return self.processed + self.failed

    def __add__(self, other: Ran) -> Ran:
        return Ran(*map(operator.add, self, other))


@dataclass(frozen=True)
class Spending:
    """The uses of a selection, and its runs by bucket and layer: their sums are the same in every layer and bucket."""

    uses: list[Use]
    ran: dict[tuple[int, str], Ran]
    wasted_calls: dict[str, Decimal] = field(default_factory=dict)

    @cached_property
    def at_any_time(self) -> list[Use]:
        """The uses of all buckets together: a few, to be added up this way and that."""
        sums = _added(self.uses, lambda use: (*use[1:5], use.origin))
        return [Use(EVERY, *names, used, origin) for (*names, origin), used in sums.items()]

    def by(self, key: Callable[[Use], Key]) -> dict[Key, Sums]:
        """Add the uses up, whatever their bucket."""
        return _added(self.at_any_time, key)

    def by_bucket_and(self, key: Callable[[Use], Key]) -> dict[tuple[int, Key], Sums]:
        return _added(self.uses, lambda use: (use.bucket, key(use)))

    def by_layer(self) -> dict[str, Ran]:
        """Add the runs up; what was wasted includes the calls of failed targets."""
        sums: defaultdict[str, Ran] = defaultdict(Ran)
        for (_bucket, layer), ran in self.ran.items():
            sums[layer] += ran
        for layer, wasted in self.wasted_calls.items():
            sums[layer] += Ran(wasted=wasted)
        return dict(sums)

    @cached_property
    def whole(self) -> Ran:
        """The figures of all these runs together."""
        return sum(self.by_layer().values(), Ran())

    def by_bucket(self) -> dict[int, Ran]:
        sums: defaultdict[int, Ran] = defaultdict(Ran)
        for (bucket, _layer), ran in self.ran.items():
            sums[bucket] += ran
        return dict(sums)


def _added(uses: Iterable[Use], key: Callable[[Use], Key]) -> dict[Key, Sums]:
    sums: defaultdict[Key, Sums] = defaultdict(Sums)
    for use in uses:
        sums[key(use)] += use.sums
    return dict(sums)


def spending(runs: LayerRunQuerySet, buckets: Sequence[Bucket]) -> Spending:
    """Return what these runs spent in the buckets. Runs that have no calls and cost nothing are not looked for."""
    uses, ran = list(_of_calls(runs, buckets, PURPOSE, _SUMS | {"calls": Sum("calls")})), _ran(runs, buckets)
    return Spending(_completed(runs, buckets, uses, ran), ran, _wasted_calls(runs))


def all_uses(runs: LayerRunQuerySet, buckets: Sequence[Bucket]) -> list[Use]:
    """Return what these runs used in the buckets, also where that was nothing at all."""
    uses, ran = list(_of_calls(runs, buckets, PURPOSE, _SUMS | {"calls": Sum("calls")})), _ran(runs, buckets)
    uses += _of_runs_without_calls(runs, buckets)
    return [*uses, *_beyond(uses, ran)]


def spending_before(runs: LayerRunQuerySet, buckets: Sequence[Bucket]) -> Spending:
    """Return what these runs spent by layer and model, in half the time: cost and tokens alone, and no calls wasted."""
    sums = {name: _SUMS[name] for name in ("tokens", "cost")}
    uses, ran = list(_of_calls(runs, buckets, PURPOSE[:2], sums)), _ran(runs, buckets)
    return Spending(_completed(runs, buckets, uses, ran, Sums.in_brief), ran)


def _of_calls(
    runs: LayerRunQuerySet, buckets: Sequence[Bucket], keys: Sequence[str], sums: dict[str, Any]
) -> Iterator[Use]:
    for row in runs.usage().per_bucket(buckets, *keys, **sums):
        yield Use(row["bucket"], *(row.get(key, "") for key in PURPOSE), sums=_sums(row))


def _completed(
    runs: LayerRunQuerySet,
    buckets: Sequence[Bucket],
    uses: list[Use],
    ran: dict[tuple[int, str], Ran],
    seen: Callable[[Sums], Sums] = lambda sums: sums,
) -> list[Use]:
    """Return the uses with those of runs without calls, and with what else the runs say; `seen` is what is compared."""
    if layers := {use.layer for use in _beyond(uses, ran, seen)}:
        uses = [*uses, *_of_runs_without_calls(runs.filter(layer_name__in=layers), buckets)]
    return [*uses, *_beyond(uses, ran, seen)]


def _of_runs_without_calls(runs: LayerRunQuerySet, buckets: Sequence[Bucket]) -> Iterator[Use]:
    uncalled = runs.filter(~Exists(RunUsage.objects.filter(run=OuterRef("pk"))))
    for row in uncalled.per_bucket(buckets, *PURPOSE[:3], **_SUMS):
        yield Use(row["bucket"], *(row.get(key, "") for key in PURPOSE), sums=_sums(row), origin=RUN)


def _ran(runs: LayerRunQuerySet, buckets: Sequence[Bucket]) -> dict[tuple[int, str], Ran]:
    rows = runs.per_bucket(
        buckets,
        "layer_name",
        runs=Count("*"),
        processed=Sum("targets_processed"),
        failed=Sum("targets_skipped"),
        insights=Sum("insights_created"),
        unpriced_runs=Count("pk", filter=Q(unpriced_tokens__gt=0)),
        wasted=SumOfUsd("estimated_cost_usd", filter=Q(status__in=WHOLLY_WASTED)),
        **_SUMS,
    )
    return {
        (row["bucket"], row["layer_name"]): Ran(
            runs=row["runs"],
            processed=int(row["processed"]),
            failed=int(row["failed"]),
            insights=int(row["insights"]),
            unpriced_runs=row["unpriced_runs"],
            sums=_sums(row),
            wasted=row["wasted"] or Decimal(0),
        )
        for row in rows
    }


def _beyond(
    uses: Iterable[Use], ran: dict[tuple[int, str], Ran], seen: Callable[[Sums], Sums] = lambda sums: sums
) -> Iterator[Use]:
    """Yield what runs say beyond these uses, more or less."""
    left = {place: seen(some.sums) for place, some in ran.items()}
    for use in uses:
        place = use.bucket, use.layer
        left[place] = left.get(place, NOTHING) - seen(use.sums)
    for (bucket, layer), sums in left.items():
        if sums:
            # Its calls are counted already.
            yield Use(bucket, layer, "", "", "", sums._replace(calls=0), BEYOND)


def _wasted_calls(runs: LayerRunQuerySet) -> dict[str, Decimal]:
    """Return by layer what the calls of failed targets cost, in runs that are not wasted altogether."""
    usage = runs.usage().filter(wasted_usd__gt=0).exclude(run__status__in=WHOLLY_WASTED)
    return {row["layer_name"]: row["wasted"] for row in usage.per("layer_name", wasted=SumOfUsd("wasted_usd"))}


# What calls are added up by, after their bucket.
PURPOSE = ("layer_name", "model_name", "model_profile", "call_type")
_SUMS: dict[str, Any] = {
    "tokens_in": Sum("tokens_input"),
    "tokens_out": Sum("tokens_output"),
    "tokens": Sum("tokens_total"),
    "cost": SumOfUsd("estimated_cost_usd"),
    "unpriced": Sum("unpriced_tokens"),
}


def _sums(row: dict[str, Any]) -> Sums:
    # PostgreSQL adds bigints up to a numeric; a figure that no run gives is none.
    return Sums(
        calls=int(row.get("calls", 0)),
        tokens_input=int(row.get("tokens_in") or 0),
        tokens_output=int(row.get("tokens_out") or 0),
        tokens=int(row["tokens"] or 0),
        cost=row["cost"] or Decimal(0),
        unpriced=int(row.get("unpriced") or 0),
    )
