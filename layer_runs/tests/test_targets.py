"""Poison targets: what fails most, and what was burned on it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.http import QueryDict

from layer_runs.filters import LayerRunFilterSet
from layer_runs.lenses import targets
from layer_runs.lenses.error_lines import count_lines, lines_of
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)


def select(query: str = "period=30d") -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.for_list(), path="/errors/", now=NOW)


def failed(*topics: str, days: float = 1, node: str = "reflect", **fields) -> LayerRun:
    errors = [{"topic": topic, "error": "Connection error.", "node": node} for topic in topics]
    return LayerRunFactory(started_at=NOW - timedelta(days=days), errors=errors, **fields)


def called(run: LayerRun, topic: str, cost: str | None) -> None:
    LlmCallFactory(run=run, topic=topic, estimated_cost_usd=cost)


def worst(query: str = "period=30d", at_most: int = targets.SHOWN) -> list[targets.PoisonTarget]:
    lines = lines_of(select(query))
    return targets.worst(count_lines(lines).targets(), lines, at_most)


def test_the_targets_that_fail_most_come_first():
    for n in range(40):
        failed(*(f"t:{k}" for k in range(12) if n % (k + 2) == 0), days=n * 0.5)
    expected = Counter(line["topic"] for run in LayerRun.objects.all() for line in run.errors)

    found = worst()

    assert len(found) == targets.SHOWN
    assert [(target.topic, target.errors) for target in found] == sorted(
        expected.items(), key=lambda item: (-item[1], item[0])
    )[: targets.SHOWN]
    assert found[0].last_at == NOW


def test_a_target_that_fails_twice_in_a_run_has_two_errors_and_one_run():
    failed("t:1", "t:1")
    failed("t:1", days=2)

    (target,) = worst()

    assert (target.errors, target.runs, target.last_at) == (3, 2, NOW - timedelta(days=1))


def test_an_error_without_a_target_is_no_target():
    failed("", "t:1")

    assert [target.topic for target in worst()] == ["t:1"]


def test_burned_is_the_cost_of_a_target_where_it_failed_and_nowhere_else():
    both, other, well = failed("t:1", "t:2"), failed("t:2", days=2), LayerRunFactory(started_at=NOW)
    long_ago = failed("t:1", days=60)
    for run, topic, cost in (
        (both, "t:1", "0.25"),
        (both, "t:1", "0.000000001"),
        (both, "t:3", "7"),
        (other, "t:2", "0.5"),
        (other, "t:1", "11"),
        (well, "t:1", "13"),
        (long_ago, "t:1", "17"),
    ):
        called(run, topic, cost)

    burned = {target.topic: target.burned for target in worst()}

    assert burned == {"t:1": Decimal("0.250000001"), "t:2": Decimal("0.5")}


def test_calls_without_a_price_are_counted_and_not_taken_for_free():
    run = failed("t:1", "t:2")
    called(run, "t:1", None)
    called(run, "t:1", "0.1")
    called(run, "t:2", None)

    assert {target.topic: (target.burned, target.unpriced) for target in worst()} == {
        "t:1": (Decimal("0.1"), 1),
        "t:2": (Decimal(0), 1),
    }


def test_under_one_error_only_the_runs_with_that_error_burned_money():
    reflected, generated = failed("t:1"), failed("t:1", node="generate")
    called(reflected, "t:1", "0.1")
    called(generated, "t:1", "0.2")

    (target,) = worst("period=30d&node=generate")

    assert (target.errors, target.runs, target.burned) == (1, 1, Decimal("0.2"))


def test_all_targets_are_a_link_away_and_no_link_leads_where_one_already_is():
    failed(*(f"t:{n:02}" for n in range(12)))

    some, every = worst(), worst(at_most=targets.SHOWN_AT_MOST)

    assert "targets=all" in targets.table(select(), some, 12)["all_url"]
    assert targets.table(select(), every, 12)["all_url"] == ""
    assert len(every) == 12
