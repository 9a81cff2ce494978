"""How long runs take: exact percentiles, by the database where it has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from django.db import connections
from django.db.models import Aggregate, JSONField

from ..models import Status
from ..querysets import LayerRunQuerySet
from ..statistics import nearest_rank

# A run that did nothing, and one that is not done, say nothing about how long the work takes.
NOT_TIMED = (Status.DRY, Status.RUNNING)
PERCENTS = (50, 95)


@dataclass(frozen=True)
class Typical:
    """Nearest-rank percentiles in milliseconds over `runs` finished runs; None of none."""

    runs: int = 0
    p50: int | None = None
    p95: int | None = None

    @classmethod
    def of(cls, milliseconds: Iterable[int]) -> Typical:
        ordered = sorted(milliseconds)
        return cls(len(ordered), *(nearest_rank(ordered, percent) for percent in PERCENTS))


class Gathered(Aggregate):
    """All values of a group. SQLite joins integers to a text in half the time that it takes to hand out a row each."""

    arity = 1
    output_field = JSONField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="'[' || group_concat(%(expressions)s) || ']'", **extra)


class NearestRanks(Aggregate):
    """How many values a group has, and its percentiles, as PostgreSQL finds them."""

    arity = 1
    output_field = JSONField()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        ranks = ", ".join(
            f"percentile_disc({percent / 100}) WITHIN GROUP (ORDER BY %(expressions)s)" for percent in PERCENTS
        )
        return self.as_sql(
            compiler, connection, template=f"jsonb_build_array(count(%(expressions)s), {ranks})", **extra
        )


def typical(runs: LayerRunQuerySet, key: str) -> tuple[dict[str, Typical], Typical]:
    """Return how long the finished runs of each value of a column take, and all of them together."""
    # The hint first: it is given only to runs that nothing but time narrows.
    timed = runs.led_by(key).exclude(status__in=NOT_TIMED).filter(duration_ms__gte=0).order_by()
    groups = timed.values_list(key)
    if connections[runs.db].vendor == "postgresql":
        found = dict(groups.annotate(found=NearestRanks("duration_ms")))
        together = timed.aggregate(found=NearestRanks("duration_ms"))["found"]
        return {value: Typical(*ranks) for value, ranks in found.items()}, Typical(*together or ())
    lists = {value: sorted(milliseconds) for value, milliseconds in groups.annotate(found=Gathered("duration_ms"))}
    # Sorted parts are quickly sorted together.
    together = list(chain.from_iterable(lists.values()))
    return {value: Typical.of(milliseconds) for value, milliseconds in lists.items()}, Typical.of(together)
