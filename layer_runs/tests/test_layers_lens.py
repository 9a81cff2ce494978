"""What the Layers lens computes: compared with the same rows counted one by one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from layer_runs.buckets import buckets
from layer_runs.filters import LayerRunFilterSet
from layer_runs.lenses import layers, runs
from layer_runs.lenses.durations import Typical, typical
from layer_runs.lenses.layer_heads import DEFAULT_SORT, SORTS, chosen_sort, ordered
from layer_runs.lenses.layers import LayerRow
from layer_runs.models import LayerRun, Status
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
STATUSES = [*Status.values, "exploded", "success"]


def select(query: str = "period=30d") -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.for_list(), path="/layers/", now=NOW)


def report(query: str = "period=30d") -> layers.LayersReport:
    selection = select(query)
    cut = buckets(selection.window, LayerRun.objects.started_bounds(), NOW, UTC)
    return layers.report(selection, cut)


def run(name: str = "a", days: float = 0.1, **fields) -> LayerRun:
    return LayerRunFactory(**({"layer_name": name, "started_at": NOW - timedelta(days=days)} | fields))


@pytest.fixture
def many_runs() -> list[LayerRun]:
    """Three layers over 70 days, every status, costs and lengths that differ, and gaps in what is summed."""
    for n in range(120):
        run(
            "abc"[n % 3],
            days=n * 0.61,
            status=STATUSES[n * 5 % 8],
            took=timedelta(milliseconds=977 * n % 90_000),
            insights_created=n % 7,
            tokens_total=None if n % 11 == 0 else n * 31,
            estimated_cost_usd=None if n % 13 == 0 else Decimal(n * n % 997) / 10_000,
            unpriced_tokens=n % 5 == 0,
        )
    run("a", days=3, status="success", took=timedelta(seconds=-9))
    run("b", days=3, status="running", completed_at=None)
    run("c", days=-0.01)
    return list(LayerRun.objects.all())


def named(status: str) -> str:
    return status if status in Status.values else "other"


def by_hand(kept: list[LayerRun]) -> dict[str, object]:
    """The figures of a row from its runs."""
    counting = [each for each in kept if each.status in ("success", "partial", "failed", "crashed")]
    lengths = sorted(
        each.duration_ms
        for each in kept
        if each.status not in ("dry", "running") and each.duration_ms is not None and each.duration_ms >= 0
    )
    return {
        "statuses": Counter(named(each.status) for each in kept),
        "insights": sum(each.insights_created for each in kept),
        "tokens": sum(each.tokens_total or 0 for each in kept),
        "cost": sum((each.estimated_cost_usd or Decimal(0) for each in kept), Decimal(0)),
        "unpriced": sum(each.unpriced_tokens for each in kept),
        "last": max(each.started_at for each in kept),
        "counting": len(counting),
        "succeeded": sum(each.status == "success" for each in counting),
        # The smallest value that at least half, or 19 in 20, do not exceed.
        "p50": next((value for n, value in enumerate(lengths, 1) if n * 100 >= 50 * len(lengths)), None),
        "p95": next((value for n, value in enumerate(lengths, 1) if n * 100 >= 95 * len(lengths)), None),
    }


def figures(row: LayerRow) -> dict[str, object]:
    names = ("statuses", "insights", "tokens", "cost", "unpriced", "last", "counting", "succeeded")
    return {name: getattr(row, name) for name in names} | {"p50": row.typical.p50, "p95": row.typical.p95}


@pytest.mark.parametrize("query", ["period=30d", "period=all", "period=24h", "since=2026-10-01&until=2026-10-20"])
def test_the_figures_of_each_layer_and_of_all_are_those_of_its_runs(many_runs, query):
    since, until = select(query).window.since, select(query).window.until
    kept = [
        each
        for each in many_runs
        if (since is None or each.started_at >= since) and (until is None or each.started_at < until)
    ]
    found = report(query)
    names = sorted({each.layer_name for each in kept})
    assert [row.name for row in found.rows] == names
    for row in found.rows:
        assert figures(row) == by_hand([each for each in kept if each.layer_name == row.name])
    assert figures(found.everything) == by_hand(kept)


@pytest.mark.parametrize(
    "query", ["period=30d", "period=all", "period=7d&status=failed&status=exploded", "period=90d&q=x"]
)
def test_all_layers_together_are_what_the_cards_of_the_runs_lens_say(many_runs, query):
    sums = runs.totals(select(query).qs)
    whole = report(query).everything
    assert {name: whole.statuses[name] for name in Status.values} == {name: sums[name] for name in Status.values}
    said = {"total": whole.runs, "other": whole.other, "insights": whole.insights, "tokens": whole.tokens}
    assert said | {"cost": whole.cost, "unpriced": whole.unpriced} == {
        name: sums[name] for name in ("total", "other", "insights", "tokens", "cost", "unpriced")
    }


def test_a_cell_counts_the_runs_of_its_day_by_status(many_runs):
    found = report()
    for row in found.rows:
        for bucket, counts in zip(found.cut, row.days, strict=True):
            assert counts == Counter(
                named(each.status)
                for each in many_runs
                if each.layer_name == row.name and bucket.start <= each.started_at < bucket.end
            )
    assert sum((sum(row.days, Counter()) for row in found.rows), Counter()) == found.everything.statuses


def test_a_day_that_a_clock_change_made_longer_is_one_cell(settings):
    settings.TIME_ZONE = "America/New_York"
    zone = ZoneInfo("America/New_York")
    # 1 November 2026 has 25 hours there.
    for hour in (0, 24):
        midnight = datetime(2026, 11, 1, tzinfo=zone).astimezone(UTC)
        run(started_at=midnight + timedelta(hours=hour, minutes=30))
    selection = select()
    cut = buckets(selection.window, LayerRun.objects.started_bounds(), NOW, zone)
    (row,) = layers.report(selection, cut).rows
    assert {bucket.label: counts.total() for bucket, counts in zip(cut, row.days, strict=True) if counts} == {
        "1 Nov": 2
    }


def test_without_runs_that_count_there_is_no_rate_and_without_insights_no_yield():
    run(status="dry", insights_created=0)
    run(status="running", insights_created=0, completed_at=None)
    (row,) = report().rows
    assert (row.success_rate, row.cost_per_insight, row.typical) == (None, None, Typical())
    assert (row.runs, row.counting) == (2, 0)


def test_the_change_is_against_as_many_days_just_before():
    run("a", days=3, estimated_cost_usd="3")
    run("a", days=8, estimated_cost_usd="2")
    run("gone", days=9, estimated_cost_usd="5")
    run("a", days=15, estimated_cost_usd="100")
    run("new", days=1, estimated_cost_usd="1")
    found = report("period=7d")
    rows = {row.name: row for row in found.rows}
    assert (rows["a"].cost_before, rows["a"].runs_before, rows["a"].change) == (Decimal(2), 1, Decimal("0.5"))
    assert (rows["new"].runs_before, rows["new"].change) == (0, None)
    # With what only ran then: the sum of the rows would hide that it is gone.
    assert found.everything.cost_before == Decimal(7)
    assert found.everything.change == Decimal(4) / Decimal(7) - 1
    assert report("period=all").before is None


# -- silent layers


def test_a_layer_that_did_not_run_is_listed_as_silent_with_its_last_run():
    run("still here", days=1)
    run("still here", days=40)
    run("silent", days=50)
    last = run("silent", days=31)
    found = report()
    assert [row.name for row in found.rows] == ["still here"]
    (row,) = found.silent
    assert (row.name, row.last, row.silent, row.runs, row.cost) == ("silent", last.started_at, True, 0, 0)
    assert found.everything.runs == 1


def test_a_layer_that_only_ran_after_the_window_was_not_silent_in_it():
    run("later", days=1)
    run("earlier", days=30)
    assert [row.name for row in report("since=2026-11-01&until=2026-11-10").silent] == ["earlier"]


def test_all_of_time_has_no_silent_layers():
    run("old", days=400)
    assert report("period=all").silent == []


def test_silence_is_kept_to_what_else_is_selected():
    run("here", days=1, source="one")
    run("elsewhere", days=40, source="two")
    run("asked for", days=40, source="one")
    run("not asked for", days=40, source="one")
    assert [row.name for row in report("period=30d&source=two").silent] == ["elsewhere"]
    assert [row.name for row in report("period=30d&source=one&exclude_layer=not asked for").silent] == ["asked for"]
    assert [row.name for row in report("period=30d&layer_name=elsewhere&layer_name=here").silent] == ["elsewhere"]


def test_under_a_filter_without_an_index_silence_is_looked_for_in_ninety_days_and_that_is_said():
    run("long ago", days=130, estimated_cost_usd="9")
    run("lately", days=110, estimated_cost_usd="9")
    run("cheap", days=110, estimated_cost_usd="1")
    found = report("period=30d&min_cost=5")
    assert [row.name for row in found.silent] == ["lately"]
    assert found.heard_since == found.cut[0].start - timedelta(days=90)
    assert report("period=30d&status=success").heard_since is None
    assert len(report("period=30d&status=success").silent) == 3


@pytest.mark.parametrize("query", ["status=failed", "min_cost=5", "model_name=large", "has_errors=1", "layer_hash=old"])
def test_a_layer_that_ran_is_neither_a_row_nor_silent_where_none_of_its_runs_match(query):
    matching = {"status": "failed", "estimated_cost_usd": "9", "model_name": "large", "layer_hash": "old"}
    matching |= {"errors": [{"topic": "t", "error": "x", "node": "n"}]}
    for name in ("ran", "retired"):
        run(name, days=40, **matching)
    run("ran", days=1, status="success", estimated_cost_usd="1", model_name="small", layer_hash="new")
    found = report(f"period=30d&{query}")
    assert ([row.name for row in found.rows], [row.name for row in found.silent]) == ([], ["retired"])


def test_a_layer_that_ran_in_the_window_for_another_source_is_silent_for_this_one():
    run("a", days=40, source="one", status="failed")
    run("a", days=1, source="two", status="success")
    assert [row.name for row in report("period=30d&source=one&status=failed").silent] == ["a"]
    assert report("period=30d&status=failed").silent == []


# -- how it is asked


def test_the_number_of_queries_is_the_same_for_one_layer_and_for_forty():
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            report()
        return len(queries)

    for number in range(2):
        run(f"layer {number}")
        run(f"silent {number}", days=40)
    few = count()
    for number in range(2, 40):
        run(f"layer {number}")
        run(f"silent {number}", days=40)
    assert count() == few


def test_percentiles_are_nearest_rank_whatever_the_number_of_runs():
    for size in range(1, 42):
        for n in range(size):
            run(f"{size:02}", took=timedelta(milliseconds=(n * 7_919 + size) % 97))
    lengths, together = typical(LayerRun.objects.all(), "layer_name")
    stored = [(each.layer_name, each.duration_ms) for each in LayerRun.objects.all()]
    for name, found in [*lengths.items(), ("", together)]:
        values = sorted(length for layer, length in stored if name in ("", layer))
        expected = [min(v for v in values if sum(o <= v for o in values) * 100 >= q * len(values)) for q in (50, 95)]
        assert [found.runs, found.p50, found.p95] == [len(values), *expected], name


def test_nothing_takes_no_time():
    assert typical(LayerRun.objects.all(), "layer_name") == ({}, Typical())


# -- its order


def rows_with(**columns: list) -> list[LayerRow]:
    size = len(next(iter(columns.values())))
    return [LayerRow("abcdef"[n], [], **{name: values[n] for name, values in columns.items()}) for n in range(size)]


def test_what_costs_most_comes_first_and_equals_stand_by_name():
    rows = rows_with(cost=[Decimal(1), Decimal(3), Decimal(1), Decimal(2)])
    assert [row.name for row in ordered(rows, DEFAULT_SORT)] == ["b", "d", "a", "c"]
    assert [row.name for row in ordered(rows[::-1], "cost")] == ["a", "c", "d", "b"]


@pytest.mark.parametrize("sort", ["duration", "-duration"])
def test_a_layer_without_the_figure_comes_last_in_both_directions(sort):
    rows = rows_with(typical=[Typical(), Typical(1, 5, 5), Typical(1, 3, 3)])
    assert [row.name for row in ordered(rows, sort)][-1] == "a"


def test_every_sort_orders_real_rows_and_anything_else_is_the_default(many_runs):
    found = report().rows
    for name in SORTS:
        assert Counter(row.name for row in ordered(found, name)) == Counter(row.name for row in found)
        assert chosen_sort(f"-{name}") == f"-{name}"
    assert [chosen_sort(wanted) for wanted in ("", "days", "--cost", "nonsense")] == [DEFAULT_SORT] * 4
