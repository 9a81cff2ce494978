"""Poison targets: what fails again and again, and the money burned on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q
from django.urls import reverse

from ..expressions import SumOfUsd
from ..filters import LayerRunFilterSet
from ..models import LlmCall
from .error_lines import Target

SHOWN = 10
# All of them are a page of their own; beyond so many, one by `topic=`.
SHOWN_AT_MOST = 500


@dataclass(frozen=True)
class PoisonTarget:
    """A target that failed. `burned` is the cost of its calls, in US dollars, in the runs where it failed.

    `unpriced` is the number of those calls without a price.
    """

    topic: str
    errors: int
    runs: int
    last_at: datetime
    burned: Decimal
    unpriced: int


def worst(targets: dict[str, Target], lines: Any, at_most: int = SHOWN) -> list[PoisonTarget]:
    """Return the targets with most errors, at most so many; `lines` are those that they were counted in."""
    first = sorted(targets.items(), key=lambda item: (-item[1].errors, -len(item[1].runs), item[0]))[:at_most]
    burned = _burned(dict(first), lines)
    return [
        PoisonTarget(topic, target.errors, len(target.runs), target.last_at, *burned.get(topic, (Decimal(0), 0)))
        for topic, target in first
    ]


def table(selection: LayerRunFilterSet, found: list[PoisonTarget], count: int) -> dict[str, Any]:
    """Return these of the `count` targets that failed, each with the way to its runs, and the way to all of them."""
    runs, dropped = reverse("layer_runs:list"), dict.fromkeys(selection.carried)
    return {
        "rows": [(target, selection.link(runs, **dropped | {"topic": [target.topic]})) for target in found],
        "count": count,
        "all_url": selection.link(targets="all") if len(found) < min(count, SHOWN_AT_MOST) else "",
    }


def _burned(targets: dict[str, Target], lines: Any) -> dict[str, tuple[Decimal, int]]:
    """Return the cost of the calls of each target in the runs where it failed, and how many have no price."""
    runs = lines.filter(topic__in=list(targets)).order_by().values("run")
    calls = LlmCall.objects.filter(run__in=runs, topic__in=list(targets)).order_by()
    sums = calls.values_list("run_id", "topic").annotate(
        cost=SumOfUsd("estimated_cost_usd"), unpriced=Count("pk", filter=Q(estimated_cost_usd=None))
    )
    burned: dict[str, tuple[Decimal, int]] = {}
    for run_id, topic, cost, unpriced in sums:
        # A run where this one went well and another of them failed burned nothing on this one.
        if run_id in targets[topic].runs:
            before, without = burned.get(topic, (Decimal(0), 0))
            burned[topic] = before + (cost or 0), without + unpriced
    return burned
