"""Rows that know their window: cut into smaller ones, narrowed in any order, and added up a bucket."""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.db.models import Count, Max, Sum, Value
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from layer_runs.buckets import Bucket
from layer_runs.filters import LayerRunFilterSet
from layer_runs.models import ErrorLine, LayerRun, RunUsage, Status
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory
from layer_runs.windows import EVER, Window

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
only_sqlite = pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="PostgreSQL plans by statistics a test has not"
)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def cut(number: int, hours: float = 1, since: datetime = NOON) -> list[Bucket]:
    length = timedelta(hours=hours)
    return [Bucket(since + n * length, since + (n + 1) * length, "hour") for n in range(number)]


@pytest.fixture
def some_runs(db) -> list[LayerRun]:
    """Sixty runs over twelve hours: every status, some layers, errors and calls, what costs and what does not."""
    chance = random.Random(7)  # noqa: S311
    errors = [
        [],
        [],
        [{"topic": "t:1", "error": "Connection error.", "node": "reflect"}],
        [
            {"topic": "t:2", "error": "Request timed out.", "node": "gather"},
            {"topic": "t:1", "error": "Connection error.", "node": "reflect"},
        ],
    ]
    runs = LayerRun.objects.bulk_create(
        LayerRunFactory.build(
            id=f"run-{number}",
            # Half of them on the edge of an hour.
            started_at=at(chance.randrange(12) + chance.choice([0, chance.random()])),
            took=timedelta(seconds=chance.randrange(200)),
            layer_name=chance.choice("abc"),
            layer_hash=chance.choice(["h1", "h2"]),
            status=chance.choice([*Status.values, "exploded"]),
            source=chance.choice(["", "s"]),
            model_profile=chance.choice(["p", "q"]),
            model_name=chance.choice(["m", "n"]),
            errors=chance.choice(errors),
            estimated_cost_usd=chance.choice([None, "0.25", "1.000000001"]),
            insights_created=number,
        )
        for number in range(60)
    )
    for run in chance.sample(runs, 20):
        LlmCallFactory(run=run, call_type=chance.choice("xy"), model_name=chance.choice("mn"), topic="t:1")
    return list(LayerRun.objects.prefetch_related("error_lines", "calls"))


def selection(query: str) -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.for_list(), now=at(12))


def lines(run: LayerRun, field: str) -> set[str]:
    return {getattr(line, field) for line in run.error_lines.all()}


def fingerprint(word: str) -> str:
    return ErrorLine.objects.filter(message__startswith=word).first().fingerprint


# A query and what it keeps, in plain Python.
KINDS: dict[str, Callable[[LayerRun], bool]] = {
    "": lambda run: True,
    "layer_name=a&layer_name=b": lambda run: run.layer_name in "ab",
    "status=failed&status=exploded": lambda run: run.status in ("failed", "exploded"),
    "model_name=m": lambda run: run.model_name == "m",
    "source=s": lambda run: run.source == "s",
    "layer_hash=h1": lambda run: run.layer_hash == "h1",
    "model_profile=q": lambda run: run.model_profile == "q",
    "call_type=x": lambda run: any(call.call_type == "x" for call in run.calls.all()),
    "called=m&called=nobody": lambda run: any(call.model_name == "m" for call in run.calls.all()),
    "node=gather": lambda run: "gather" in lines(run, "node"),
    "topic=t:2": lambda run: "t:2" in lines(run, "topic"),
    "q=TIMED": lambda run: "Request timed out." in lines(run, "message"),
    "q=run-1": lambda run: "run-1" in run.pk,
    "error=connection": lambda run: "Connection error." in lines(run, "message"),
    "exclude_error=connection": lambda run: "Connection error." not in lines(run, "message"),
    "error=connection&exclude_error=request": lambda run: lines(run, "message") == {"Connection error."},
    "exclude_layer=a&exclude_layer=b": lambda run: run.layer_name == "c",
    "has_errors=1": lambda run: bool(run.errors),
    "has_errors=0&layer_name=a": lambda run: not run.errors and run.layer_name == "a",
    "min_cost=0.25": lambda run: (run.estimated_cost_usd or 0) >= Decimal("0.25"),
    "min_cost=$1.000000001": lambda run: run.estimated_cost_usd == Decimal("1.000000001"),
    "min_duration=100": lambda run: run.duration_ms >= 100_000,
    "q=connection&status=failed&min_duration=1m&called=m&layer_name=a&layer_name=b": lambda run: (
        "Connection error." in lines(run, "message")
        and run.status == "failed"
        and run.duration_ms >= 60_000
        and run.layer_name in "ab"
        and any(call.model_name == "m" for call in run.calls.all())
    ),
    "layer_name=nobody": lambda run: False,
}
each_kind = pytest.mark.parametrize("query", KINDS, ids=lambda query: query[:40] or "all")
TIMES = f"&since={at(2).isoformat().replace('+', '%2B')}&until={at(9.5).isoformat().replace('+', '%2B')}"


def asked(query: str, times: str = TIMES) -> LayerRunFilterSet:
    """The selection of a query whose errors stand for their fingerprints."""
    for word in ("connection", "request"):
        query = query.replace(f"error={word}", f"error={fingerprint(word.title())}")
    return selection(query + times)


def chosen(query: str, runs: list[LayerRun]) -> list[LayerRun]:
    return [run for run in runs if KINDS[query](run) and at(2) <= run.started_at < at(9.5)]


# -- windows of windows


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Window(at(0), at(4)), Window(at(2), at(6)), Window(at(2), at(4))),
        (Window(at(0), at(4)), EVER, Window(at(0), at(4))),
        (Window(since=at(2)), Window(until=at(4)), Window(at(2), at(4))),
        (Window(at(0), at(9)), Window(at(2), at(3)), Window(at(2), at(3))),
        (Window(at(0), at(2)), Window(at(2), at(4)), Window(at(2), at(2))),
        (Window(at(0), at(1)), Window(at(2), at(4)), Window(at(2), at(1))),
        (EVER, EVER, EVER),
    ],
)
def test_a_window_in_a_window_is_what_lies_in_both(some_runs, one, other, both):
    def inside(window: Window) -> set[str]:
        since, until = window.since or at(-99), window.until or at(99)
        return {run.pk for run in some_runs if since <= run.started_at < until}

    for first, second in ((one, other), (other, one)):
        rows = LayerRun.objects.within(first).within(second)
        assert {run.pk for run in rows} == inside(one) & inside(other)
        assert rows.window == both


def test_the_hour_that_comes_twice_is_two_windows_also_in_the_zone_of_the_site():
    zone = ZoneInfo("America/New_York")
    first = datetime(2026, 11, 1, 5, tzinfo=UTC)
    early, late = (
        Window((first + n * HOUR).astimezone(zone), (first + (n + 1) * HOUR).astimezone(zone)) for n in range(2)
    )
    LayerRunFactory(id="early", started_at=first)
    LayerRunFactory(id="late", started_at=first + HOUR)
    assert [run.pk for run in LayerRun.objects.within(early)] == ["early"]
    assert [run.pk for run in LayerRun.objects.within(late)] == ["late"]
    assert LayerRun.objects.within(early).within(late).count() == 0
    assert LayerRun.objects.within(late).within(early).count() == 0


def test_what_narrows_rows_may_come_before_or_after_their_window(some_runs):
    window, error = Window(at(2), at(9)), fingerprint("Connection")
    steps: list[Callable[[Any], Any]] = [
        lambda runs: runs.within(window),
        lambda runs: runs.filter(layer_name__in="ab"),
        lambda runs: runs.exclude(status="failed"),
        lambda runs: runs.with_related("error_lines", fingerprint=[error]),
        lambda runs: runs.search("run-"),
    ]
    expected = {
        run.pk
        for run in some_runs
        if window.since <= run.started_at < window.until
        and run.layer_name in "ab"
        and run.status != "failed"
        and "Connection error." in lines(run, "message")
    }
    assert expected
    for turn in range(len(steps)):
        for order in (steps[turn:] + steps[:turn], steps[turn::-1] + steps[:turn:-1]):
            runs = LayerRun.objects.all()
            for step in order:
                runs = step(runs)
            assert {run.pk for run in runs} == expected
            # And each of them can be cut again.
            half = runs.within(Window(until=at(5)))
            assert {run.pk for run in half} == {run.pk for run in runs if run.started_at < at(5)}
            assert half.window == Window(at(2), at(5))


def test_none_stays_none_whatever_becomes_of_it(some_runs):
    nothing = LayerRun.objects.within(Window(at(0), at(9))).none()
    assert list(nothing.within(Window(at(1), at(2)))) == []
    assert list(nothing.filter(layer_name="a").usage()) == []
    assert list(nothing.lines()) == []
    assert list(nothing.per_bucket(cut(3), "layer_name", runs=Count("*"))) == []


def test_groups_and_annotated_rows_of_a_window_can_be_filtered(some_runs):
    window = Window(at(0), at(9))
    counts = Counter(run.layer_name for run in some_runs if run.started_at < at(9))
    most = max(counts.values())
    groups = LayerRun.objects.within(window).per("layer_name", runs=Count("*")).filter(runs__gte=most)
    assert {group["layer_name"]: group["runs"] for group in groups} == {
        name: number for name, number in counts.items() if number == most
    }
    marked = LayerRun.objects.within(window).annotate(one=Value(1)).filter(one=1)
    assert marked.count() == sum(counts.values())
    assert marked.within(Window(until=at(2))).count() == sum(run.started_at < at(2) for run in some_runs)


@pytest.mark.parametrize("query", ["", "layer_name=a", "status=failed&min_cost=1", "model_profile=p"])
def test_the_bounds_of_a_window_appear_once_however_often_it_is_narrowed(query):
    runs = selection(query + TIMES).qs
    for rows in (runs, runs.within(runs.window), runs.within(Window(at(3), at(4))).filter(layer_name="b")):
        sql = str(rows.order_by().values("pk").query)
        assert (sql.count('"started_at" >='), sql.count('"started_at" <')) == (1, 1)
    assert str(at(3).replace(tzinfo=None)) in sql
    assert str(at(2).replace(tzinfo=None)) not in sql


# -- per bucket


@each_kind
def test_each_selection_is_added_up_a_bucket_as_one_by_one(some_runs, query):
    buckets, runs = cut(14, since=at(-1)), chosen(query, some_runs)
    rows = asked(query).qs.per_bucket(
        buckets, "layer_name", "status", runs=Count("*"), cost=Sum("estimated_cost_usd"), last=Max("started_at")
    )
    expected: dict[tuple[int, str, str], list[LayerRun]] = {}
    for place, bucket in enumerate(buckets):
        for run in runs:
            if bucket.start <= run.started_at < bucket.end:
                expected.setdefault((place, run.layer_name, run.status), []).append(run)
    got = {(row["bucket"], row["layer_name"], row["status"]): row for row in rows}
    assert got.keys() == expected.keys()
    for key, inside in expected.items():
        costs = [run.estimated_cost_usd for run in inside if run.estimated_cost_usd is not None]
        assert got[key]["runs"] == len(inside)
        assert got[key]["cost"] == (sum(costs, Decimal(0)) if costs else None)
        assert got[key]["last"] == max(run.started_at for run in inside)
    assert sum(row["runs"] for row in got.values()) == asked(query).qs.count() == len(runs)


@each_kind
def test_what_the_runs_of_a_selection_used_and_said_is_theirs_alone(some_runs, query):
    here, runs = asked(query).qs, chosen(query, some_runs)
    assert Counter(line.run_id for line in here.lines()) == Counter(run.pk for run in runs for _ in run.errors)
    used = Counter(run.pk for run in runs if run.calls.all())
    assert Counter(usage.run_id for usage in here.usage()) == used
    # And a part of the window holds the part of the rows.
    early = {run.pk for run in runs if run.started_at < at(5)}
    assert {line.run_id for line in here.lines().within(Window(until=at(5)))} == {
        run.pk for run in runs if run.pk in early and run.errors
    }
    calls = {row["bucket"]: row["calls"] for row in here.usage().per_bucket(cut(12), "model_name", calls=Sum("calls"))}
    assert len(calls) == len({int((run.started_at - NOON) / HOUR) for run in runs if run.calls.all()})


def test_money_stays_decimal_on_its_way_through_buckets(some_runs):
    for number in (1, 2, 14):
        rows = list(LayerRun.objects.per_bucket(cut(number), "status", cost=Sum("estimated_cost_usd")))
        assert rows
        assert {type(row["cost"]) for row in rows} <= {Decimal, type(None)}


def test_without_a_key_every_bucket_has_its_row(some_runs):
    rows = list(LayerRun.objects.per_bucket(cut(14, since=at(-1)), runs=Count("*")))
    assert [row["bucket"] for row in rows] == list(range(14))
    assert (rows[0]["runs"], rows[-1]["runs"]) == (0, 0)
    assert sum(row["runs"] for row in rows) == 60


def test_without_buckets_nothing_is_asked(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert list(LayerRun.objects.per_bucket([], runs=Count("*"))) == []


@pytest.mark.parametrize("number", [1, 39, 40, 41, 81, 250])
def test_any_number_of_buckets_keeps_its_places(some_runs, number):
    buckets = cut(number, hours=12 / number)
    rows = list(LayerRun.objects.per_bucket(iter(buckets), "layer_name", runs=Count("*")))
    expected: Counter[tuple[int, str]] = Counter()
    for run in some_runs:
        (place,) = (place for place, bucket in enumerate(buckets) if bucket.start <= run.started_at < bucket.end)
        expected[place, run.layer_name] += 1
    assert {(row["bucket"], row["layer_name"]): row["runs"] for row in rows} == expected


def test_buckets_of_an_empty_database_are_empty():
    assert list(LayerRun.objects.per_bucket(cut(3), "layer_name", runs=Count("*"))) == []
    assert list(RunUsage.objects.per_bucket(cut(3), "model_name", calls=Sum("calls"))) == []


def test_buckets_beyond_the_window_add_nothing(some_runs):
    runs = LayerRun.objects.within(Window(at(2), at(4)))
    rows = list(runs.per_bucket(cut(12), "status", runs=Count("*")))
    assert {row["bucket"] for row in rows} <= {2, 3}
    assert sum(row["runs"] for row in rows) == runs.count() > 0


@pytest.mark.parametrize("keys", [("layer_name",), ("status",), ("layer_name", "status"), ("source",)])
def test_sums_without_buckets_are_those_of_plain_counting(some_runs, keys):
    for runs in (LayerRun.objects.all(), LayerRun.objects.within(Window(at(3), at(7)))):
        rows = {tuple(row[key] for key in keys): row["runs"] for row in runs.per(*keys, runs=Count("*"))}
        assert rows == Counter(tuple(getattr(run, key) for key in keys) for run in runs)


def test_the_bounds_of_runs_are_the_starts_of_the_oldest_and_the_newest(some_runs, django_assert_num_queries):
    assert LayerRun.objects.none().started_bounds() == (None, None)
    assert LayerRun.objects.filter(layer_name="nobody").started_bounds() == (None, None)
    runs = LayerRun.objects.within(Window(at(2), at(9))).filter(layer_name="a")
    starts = [run.started_at for run in runs]
    with django_assert_num_queries(2):
        assert runs.started_bounds() == (min(starts), max(starts))


# -- what it costs


def plans(rows: Callable[[], Any]) -> list[str]:
    """The steps of SQLite's plans of the queries that read runs."""
    with CaptureQueriesContext(connection) as queries:
        list(rows())
    steps = []
    with connection.cursor() as cursor:
        for query in queries:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            steps += [row[3] for row in cursor.fetchall() if "layer_runs_" in row[3] and "min(" not in row[3]]
    return steps


@only_sqlite
@pytest.mark.parametrize("analyzed", [False, True], ids=["plain", "analyzed"])
@pytest.mark.parametrize(
    ("key", "sums"),
    [
        (
            "layer_name",
            ("estimated_cost_usd", "insights_created", "tokens_total", "targets_skipped", "unpriced_tokens"),
        ),
        ("status", ("estimated_cost_usd", "insights_created", "tokens_total", "unpriced_tokens")),
    ],
)
def test_a_bucket_is_a_range_of_an_index_that_holds_its_sums(some_runs, key, sums, analyzed):
    if analyzed:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    figures = {f"sum_of_{name}": Sum(name) for name in sums}
    runs = LayerRun.objects.within(Window(at(2), at(9)))
    index = {"layer_name": "layerrun_layer", "status": "layerrun_status"}[key]
    for rows in (
        lambda: runs.per_bucket(cut(12), key, runs=Count("*"), **figures),
        lambda: runs.per(key, runs=Count("*"), **figures),
        lambda: LayerRun.objects.for_list().newest_first().per_bucket(cut(12), key, "status", **figures),
    ):
        groups = [step for step in plans(rows) if f"INDEX {index} ({key}=? AND started_at" in step]
        assert groups
        assert all(step.startswith("SEARCH") and "COVERING INDEX" in step for step in groups)
        others = set(plans(rows)) - set(groups)
        # The values of the key, hopped over.
        assert all(step.startswith("SEARCH") and f"({key}>?)" in step or "COVERING" in step for step in others)
        assert not [step for step in others if re.search(r"SCAN (?!.*COVERING)", step)]


@only_sqlite
def test_what_runs_used_in_a_window_is_read_from_one_index_alone(some_runs):
    usage = LayerRun.objects.within(Window(at(2), at(9))).usage()
    steps = plans(lambda: usage.per_bucket(cut(12), "model_name", cost=Sum("estimated_cost_usd"), calls=Sum("calls")))
    assert {re.sub(r" \(.*", "", step) for step in steps} == {
        "SEARCH layer_runs_runusage USING COVERING INDEX runusage_started"
    }


def test_the_buckets_of_a_chart_cost_a_fixed_number_of_queries(some_runs, django_assert_num_queries):
    # The values of the key, and one for all that a chart shows.
    for buckets in (1, 92):
        with django_assert_num_queries(2):
            assert list(LayerRun.objects.per_bucket(cut(buckets), "layer_name", runs=Count("*")))


@only_sqlite
@pytest.mark.parametrize("query", ["", "many"])
def test_no_chart_asks_for_more_values_than_a_plain_sqlite_takes(query):
    # A Debian's takes 250,000, and one as it comes from its makers 32,766.
    LayerRun.objects.bulk_create(LayerRunFactory.build(layer_name=f"layer-{n}", started_at=NOON) for n in range(499))
    if query:
        names = ("layer_name", "model_name", "source", "layer_hash", "model_profile", "call_type", "called", "node")
        names += ("topic", "error", "exclude_layer", "exclude_error")
        query = "&".join(f"{name}={n}" for name in names for n in range(50))
    runs = selection(f"{query}&since=2026-09-01&until=2026-11-30").qs
    chart = cut(92, hours=24, since=at(-91 * 24))
    limit = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
    try:
        total = sum(row["runs"] for row in runs.per_bucket(chart, "layer_name", runs=Count("*")))
    finally:
        connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, limit)
    assert total == (0 if query else 499)
