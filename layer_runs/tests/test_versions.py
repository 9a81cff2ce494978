"""The versions of a layer: their figures, and whether a version is better or worse than the one before it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import comb

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from layer_runs.buckets import days
from layer_runs.lenses import versions
from layer_runs.lenses.versions import Verdict, Version, ranked, verdict
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory
from layer_runs.windows import Window

NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
LAYER = "nightly"


def run(days_ago: float, layer_hash: str = "aaaa", **fields) -> LayerRun:
    fields = {"layer_name": LAYER, "layer_hash": layer_hash, "started_at": NOW - timedelta(days=days_ago)} | fields
    return LayerRunFactory(**fields)


def of(layer: str = LAYER, nights: list | None = None) -> list[Version]:
    return versions.versions(LayerRun.objects.filter(layer_name=layer), nights or [])


def outages() -> list:
    everything = LayerRun.objects.within(Window(NOW - timedelta(days=60), None))
    return versions.outages(everything, list(days(everything.window, everything.started_bounds(), NOW, UTC)))


# -- the verdict


def test_a_version_that_fails_more_than_chance_explains_is_worse_and_its_mirror_better():
    worse, better = verdict(8, 4, 1, 19), verdict(1, 19, 8, 4)
    assert (worse.word, better.word) == ("worse", "better")
    assert worse.p == pytest.approx(better.p) and worse.p < 0.05
    # Counted out: 9 bad of 32, and how they fall on the 12 runs of the newer one.
    ways = [comb(9, bad) * comb(23, 12 - bad) for bad in range(10)]
    assert worse.p == pytest.approx(float(Fraction(sum(way for way in ways if way <= ways[8]), sum(ways))))


def test_a_difference_that_chance_explains_is_no_clear_change():
    same = verdict(1, 10, 0, 19)
    assert (same.word, round(same.p, 2)) == ("same", 0.37)
    assert verdict(0, 30, 0, 30) == Verdict("same", 1.0, 30)


@pytest.mark.parametrize(("runs", "fewest"), [((9, 0, 0, 50), 9), ((0, 50, 9, 0), 9), ((0, 0, 3, 4), 0)])
def test_with_fewer_than_ten_runs_on_a_side_there_is_no_verdict_however_clear_it_looks(runs, fewest):
    assert verdict(*runs) == Verdict("few", None, fewest)


def test_ten_runs_on_each_side_are_enough():
    assert verdict(10, 0, 0, 10).word == "worse"


def test_the_first_version_is_judged_against_nothing():
    first = Version("a", NOW, NOW, calm_good=20)
    assert ranked([first])[0].verdict == Verdict("first")


# -- which version comes before which


def test_versions_are_numbered_by_first_use_and_listed_newest_first():
    at = [NOW + timedelta(days=n) for n in range(4)]
    found = ranked([Version("c", at[2], at[3]), Version("a", at[0], at[0]), Version("b", at[1], at[1])])
    assert [(version.hash, version.number) for version in found] == [("c", 3), ("b", 2), ("a", 1)]
    assert [version.before and version.before.hash for version in found] == ["b", "a", None]
    assert [version.overtaken for version in found] == [None, None, None]


def test_a_hash_that_comes_back_is_the_same_version_and_that_is_said():
    at = [NOW + timedelta(days=n) for n in range(4)]
    newer, older = ranked([Version("a", at[0], at[3]), Version("b", at[1], at[2])])
    assert (older.hash, older.number, newer.hash, newer.number) == ("a", 1, "b", 2)
    assert (older.overtaken.began, newer.overtaken) == (at[1], None)


@pytest.mark.django_db
def test_a_version_is_numbered_among_all_that_its_layer_ever_had():
    for days_ago, layer_hash, source in [
        (90, "zz", ""),
        (80, "", ""),
        (70, "bb", "other"),
        (60, "mm", ""),
        (50, "aa", ""),
        (5, "mm", ""),
        (4, "aa", ""),
        (3, "bb", ""),
        (2, "new", ""),
    ]:
        run(days_ago, layer_hash, source=source)
    run(99, "ages ago", layer_name="another")
    runs = LayerRun.objects.filter(layer_name=LAYER)

    first_uses = LayerRun.objects.first_uses(LAYER)
    lately = versions.versions(runs.within(Window(NOW - timedelta(days=7), None)), [], first_uses)

    expected: dict[str, datetime] = {}
    for each in runs.order_by("started_at"):
        expected.setdefault(each.layer_hash, each.started_at)
    assert first_uses == expected
    assert [(version.hash, version.number) for version in lately] == [("new", 6), ("aa", 5), ("mm", 4), ("bb", 3)]
    assert [version.began for version in lately] == [expected[version.hash] for version in lately]
    assert [version.before and version.before.hash for version in lately] == ["aa", "mm", "bb", None]
    assert [version.verdict.word for version in lately] == ["few", "few", "few", "unjudged"]
    # Of one source, its own first use counts.
    assert sorted(LayerRun.objects.first_uses(LAYER, ["other"])) == ["bb"]
    assert LayerRun.objects.first_uses(LAYER, [""])["bb"] == NOW - timedelta(days=3)
    assert LayerRun.objects.first_uses("nobody") == {}


@pytest.mark.django_db
def test_first_uses_are_looked_up_and_not_searched_for():
    for n in range(30):
        run(n, f"v{n % 3}")
    with CaptureQueriesContext(connection) as queries:
        LayerRun.objects.first_uses(LAYER)
    (asked,) = queries
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{explain} {asked['sql']}")
        plan = [str(line) for line in cursor.fetchall()]
    assert not [line for line in plan if "SCAN layer_runs" in line or "Seq Scan" in line]
    if connection.vendor == "sqlite":
        # Among so few rows PostgreSQL takes whichever index is at hand.
        assert sum("COVERING INDEX layerrun_version" in line for line in plan) == 3


# -- the nights of an outage


@pytest.mark.django_db
def test_a_night_on_which_more_than_half_of_all_runs_went_wrong_speaks_of_the_provider():
    for layer in ("a", "b", "c"):
        run(3, layer_name=layer, status="failed")
    run(3, layer_name="d", status="dry")
    run(3, layer_name="e", status="success")
    # Exactly half is no outage; a dry run is a run of that night.
    for status in ("partial", "crashed", "success", "dry"):
        run(5, layer_name="a", status=status)
    # One layer alone, however often: nobody else is to blame.
    for hour in (1, 2, 3):
        run(7 + hour / 24, layer_name="a", status="failed")
    run(7, layer_name="b", status="dry")
    assert [night.label for night in outages()] == ["19 Nov"]


@pytest.mark.django_db
def test_the_nights_of_an_outage_count_in_the_figures_and_not_in_the_verdict():
    for n in range(12):
        run(40 - n, "old", status="success")
        run(20 - n, "new", status="success")
    for n in range(3):
        # All that ran that night, of two layers.
        run(4 - n, "new", status="failed")
        run(4 - n, layer_name="another", status="crashed")
    run(1, "new", status="partial")
    run(1, layer_name="another")
    run(1, layer_name="another", started_at=NOW - timedelta(days=1, hours=1))
    nights = outages()
    assert [night.label for night in nights] == ["18 Nov", "19 Nov", "20 Nov"]
    new, _old = of(nights=nights)
    assert (new.good, new.bad, new.calm_good, new.calm_bad) == (12, 4, 12, 1)
    assert new.verdict.word == "same"
    assert new.verdict.p == pytest.approx(float(Fraction(13, 25)) + float(Fraction(12, 25)))


# -- its figures


@pytest.fixture
def many_runs(db) -> list[LayerRun]:
    statuses = ["success", "partial", "failed", "crashed", "dry", "running", "exploded", "success", "success"]
    for n in range(90):
        run(
            90 - n,
            ["aaaa", "bbbb", ""][n // 30],
            status=statuses[n * 4 % 9],
            took=timedelta(milliseconds=n * 977 % 9_000),
            targets_processed=n % 5,
            targets_skipped=n % 3,
            insights_created=n % 4,
            tokens_total=None if n % 10 == 0 else n * 7,
            estimated_cost_usd=None if n % 10 == 0 else Decimal(n) / 1_000,
        )
    run(2, "other layer", layer_name="another")
    return list(LayerRun.objects.filter(layer_name=LAYER))


def test_the_figures_of_a_version_are_those_of_its_runs(many_runs):
    found = of()
    assert [version.hash for version in found] == ["", "bbbb", "aaaa"]
    for version in found:
        mine = [each for each in many_runs if each.layer_hash == version.hash]
        statuses = Counter(each.status for each in mine)
        processed = sum(each.targets_processed for each in mine)
        lengths = sorted(each.duration_ms for each in mine if each.status not in ("dry", "running"))
        good, bad = statuses["success"], statuses["partial"] + statuses["failed"] + statuses["crashed"]
        assert (version.runs, version.good, version.bad) == (len(mine), good, bad)
        assert (version.first, version.last) == (min(e.started_at for e in mine), max(e.started_at for e in mine))
        assert version.success_rate == good / (good + bad)
        failed = sum(each.targets_skipped for each in mine)
        assert version.failed_rate == failed / (failed + processed)
        assert version.typical.p50 == lengths[-(-len(lengths) // 2) - 1]
        assert version.tokens_per_target == Decimal(sum(each.tokens_total or 0 for each in mine)) / processed
        cost = sum((each.estimated_cost_usd or Decimal(0) for each in mine), Decimal(0))
        assert version.cost_per_target == cost / processed
        assert version.insights_per_target == Decimal(sum(each.insights_created for each in mine)) / processed
        assert (version.calm_good, version.calm_bad) == (good, bad)


@pytest.mark.django_db
def test_a_version_that_worked_on_nothing_has_no_figures_per_target():
    run(1, status="dry", targets_processed=0, insights_created=0)
    (version,) = of()
    assert (version.success_rate, version.failed_rate, version.calm_bad_rate) == (None, None, None)
    assert (version.tokens_per_target, version.cost_per_target, version.insights_per_target) == (None, None, None)


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_versions():
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            of(nights=outages())
        return len(queries)

    run(3, "a", status="failed")
    run(2, "b")
    few = count()
    for n in range(20):
        run(1, f"hash {n}")
    assert count() == few


# -- nodes


@pytest.mark.django_db
def test_the_matrix_counts_the_errors_of_each_node_under_each_version():
    errors = {"old": ["reflect", "reflect", "store"], "new": ["store", ""]}
    for n, (layer_hash, nodes) in enumerate(errors.items()):
        run(9 - n, layer_hash, errors=[{"topic": "t", "error": "x", "node": node} for node in nodes])
    run(1, "new", layer_name="another", errors=[{"topic": "t", "error": "x", "node": "reflect"}])
    runs = LayerRun.objects.filter(layer_name=LAYER)
    found = of()
    assert [version.hash for version in found] == ["new", "old"]
    assert versions.matrix(runs.lines(), found) == [("reflect", [0, 2]), ("store", [1, 1]), ("", [1, 0])]
