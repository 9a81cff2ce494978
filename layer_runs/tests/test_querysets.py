from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.db.models import F, QuerySet

from layer_runs.derived import ErrorLineQuerySet
from layer_runs.models import ErrorLine, LayerRun, LlmCall, Status
from layer_runs.querysets import BATCH, EVIDENCE, LayerRunQuerySet
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory
from layer_runs.windows import EVER, Window

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)


def ids(runs: QuerySet[LayerRun]) -> list[str]:
    return [run.pk for run in runs]


# --- the selection


def test_the_newest_is_first_and_of_equals_the_greater_id() -> None:
    for id, started in [("b", NOON), ("a", NOON), ("c", NOON), ("z", NOON - HOUR), ("0", NOON + HOUR)]:
        LayerRunFactory(id=id, started_at=started)
    assert ids(LayerRun.objects.newest_first()) == ["0", "c", "b", "a", "z"]


def test_a_window_holds_its_first_instant_and_not_its_last() -> None:
    for id, started in [
        ("before", NOON - INSTANT),
        ("first", NOON),
        ("last", NOON + HOUR - INSTANT),
        ("end", NOON + HOUR),
    ]:
        LayerRunFactory(id=id, started_at=started)
    everything = {"before", "first", "last", "end"}
    assert set(ids(LayerRun.objects.within(Window(NOON, NOON + HOUR)))) == {"first", "last"}
    assert set(ids(LayerRun.objects.within(Window(since=NOON)))) == everything - {"before"}
    assert set(ids(LayerRun.objects.within(Window(until=NOON)))) == {"before"}
    assert set(ids(LayerRun.objects.within(EVER))) == everything


def test_d24_a_list_leaves_the_evidence_in_the_database(django_assert_num_queries) -> None:
    LayerRunFactory(failing=True)
    with django_assert_num_queries(1) as queries:
        run = LayerRun.objects.for_list().newest_first().get()
        assert (run.error_count, run.error_preview) == (10, "Connection error.")
    for column in EVIDENCE:
        assert not re.search(rf'"{column}"', queries[0]["sql"])


def test_a_list_costs_one_query_for_one_run_and_for_a_hundred(django_assert_num_queries) -> None:
    for runs in (1, 99):
        LayerRun.objects.bulk_create(LayerRunFactory.build_batch(runs, failing=True))
        with django_assert_num_queries(1):
            assert all(run.error_count for run in LayerRun.objects.for_list().newest_first())


# --- search


@pytest.fixture
def texts() -> dict[str, LayerRun]:
    return {
        text: LayerRunFactory(errors=[{"topic": "t", "error": text, "node": "n"}])
        for text in (
            "100% full",
            "1000 full",
            "a_b",
            "axb",
            "back\\slash",
            "it's",
            "CAFÉ",
            "café",
            'quo"te',
            "Überlauf",
        )
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("100%", {"100% full"}),
        ("0% F", {"100% full"}),
        ("%", {"100% full"}),
        ("_", {"a_b"}),
        ("a_b", {"a_b"}),
        ("\\", {"back\\slash"}),
        ("K\\S", {"back\\slash"}),
        ("\\%", set()),
        ("'", {"it's"}),
        ('"', {'quo"te'}),
        ("' OR 1=1 --", set()),
        ("FULL", {"100% full", "1000 full"}),
        # ASCII letters only: É and é are two letters, on either database.
        ("É", {"CAFÉ"}),
        ("é", {"café"}),
        ("cafÉ", {"CAFÉ"}),
        ("CAFé", {"café"}),
        ("über", set()),
        ("ÜBER", {"Überlauf"}),
    ],
)
def test_q22_search_is_literal_and_blind_only_to_the_case_of_ascii(texts, query: str, found: set[str]) -> None:
    assert {run.error_preview for run in LayerRun.objects.search(query)} == found


def test_search_looks_at_errors_topics_nodes_and_ids() -> None:
    LayerRunFactory(id="plain")
    for id, field in [("by-error", "error"), ("by-topic", "topic"), ("by-node", "node")]:
        LayerRunFactory(id=id, errors=[{"error": "x"}, {"error": "x", field: "has a Needle in it"}])
    LayerRunFactory(id="zos:needle-7")
    assert set(ids(LayerRun.objects.search("nEEdLe"))) == {"by-error", "by-topic", "by-node", "zos:needle-7"}


def test_a_reader_who_may_not_see_errors_finds_ids_only(django_assert_num_queries) -> None:
    LayerRunFactory(id="by-error", errors=[{"error": "needle"}])
    LayerRunFactory(id="needle")
    with django_assert_num_queries(1) as queries:
        assert ids(LayerRun.objects.search("needle", in_errors=False)) == ["needle"]
    assert "errorline" not in queries[0]["sql"]


def test_a_run_with_many_hits_is_found_once() -> None:
    LayerRunFactory(errors=[{"topic": "needle", "error": "needle"}] * 5)
    assert LayerRun.objects.search("needle").count() == 1


@pytest.mark.parametrize("query", ["x" * 200, "x" * 5_000, "%" * 5_000, "\x00", "\udcff", "", "😀"])
def test_q15_q22_no_text_is_too_odd_to_search_for(query: str) -> None:
    LayerRunFactory(errors=[{"error": "a \x00 b \udcff 😀"}])
    assert LayerRun.objects.search(query).count() == (query[0:1] in {"", "\x00", "\udcff", "😀"})


def test_search_in_a_window_reads_only_the_error_lines_of_it() -> None:
    inside = LayerRunFactory(started_at=NOON, errors=[{"error": "needle"}])
    LayerRunFactory(started_at=NOON - HOUR, errors=[{"error": "needle"}])
    LayerRunFactory(started_at=NOON + HOUR, errors=[{"error": "needle"}])
    window = Window(NOON, NOON + HOUR)
    for runs in (LayerRun.objects.search("needle").within(window), LayerRun.objects.within(window).search("needle")):
        assert ids(runs) == [inside.pk]
        # The runs and the lines are bounded, each by their own start.
        sql = str(runs.query)
        assert re.findall(r'(U\d|"layer_runs_\w+")\."started_at" >=', sql) == ['"layer_runs_layerrun"', "U0"]


# --- neighbours


def test_the_runs_before_and_after_walk_the_same_layer_and_source_once_each() -> None:
    for n in range(12):
        # Three runs at each instant, and neighbours of other layers and sources among them.
        LayerRunFactory(id=f"run-{n:02}", started_at=NOON + (n // 3) * HOUR)
    LayerRunFactory(id="run-04x", started_at=NOON + HOUR, layer_name="another")
    LayerRunFactory(id="run-04y", started_at=NOON + HOUR, source="elsewhere")
    order = [f"run-{n:02}" for n in range(12)]
    for place, id in enumerate(order):
        run = LayerRun.objects.get(pk=id)
        assert ids(LayerRun.objects.before(run)) == order[:place][::-1]
        assert ids(LayerRun.objects.after(run)) == order[place + 1 :]


def test_a_run_alone_in_its_layer_has_no_neighbours() -> None:
    run = LayerRunFactory()
    LayerRunFactory(layer_name="another")
    assert (ids(LayerRun.objects.before(run)), ids(LayerRun.objects.after(run))) == ([], [])


# --- totals


def test_totals_are_the_sums_of_what_is_selected_computed_another_way() -> None:
    odd = ["cancelled", "", "Success"]
    for n, status in enumerate([*Status, *odd] * 3):
        LayerRunFactory(
            status=status,
            layer_name="even" if n % 2 else "odd",
            insights_created=n,
            tokens_total=None if n % 4 == 0 else n * 10**10,
            estimated_cost_usd=None if n % 5 == 0 else Decimal(n) / 7,
            unpriced_tokens=n,
        )
    for runs in (LayerRun.objects.all(), LayerRun.objects.filter(layer_name="odd").newest_first().for_list()):
        totals, rows = runs.totals(Status.values), list(runs)
        counts = Counter(row.status for row in rows)
        assert totals == {
            "total": len(rows),
            **{status: counts[status] for status in Status.values},
            "other": sum(counts[status] for status in odd),
            "insights": sum(row.insights_created for row in rows),
            "tokens": sum(row.tokens_total or 0 for row in rows),
            "cost": sum((row.estimated_cost_usd or Decimal(0) for row in rows), Decimal(0)),
            "unpriced": sum(row.unpriced_tokens for row in rows),
        }
        assert totals["total"] == sum(totals[name] for name in [*Status.values, "other"])


@pytest.mark.parametrize("runs", [0, 1])
def test_totals_are_plain_numbers_and_zero_when_there_is_nothing_to_add(runs: int) -> None:
    LayerRunFactory.create_batch(runs, tokens_total=10**12)
    totals = LayerRun.objects.totals(Status.values)
    assert type(totals.pop("cost")) is Decimal
    assert set(totals) == {*Status.values, "total", "other", "insights", "tokens", "unpriced"}
    assert {type(value) for value in totals.values()} == {int}
    assert set(LayerRun.objects.none().totals(Status.values).values()) == {0}


def test_totals_take_their_statuses_from_any_iterable() -> None:
    LayerRunFactory(status="success")
    assert LayerRun.objects.totals(status for status in Status.values)["other"] == 0


def test_totals_cost_two_queries_the_statuses_there_are_and_their_sums(django_assert_num_queries) -> None:
    LayerRunFactory.create_batch(3)
    with django_assert_num_queries(2):
        LayerRun.objects.all().totals(Status.values)


def test_d15_the_tokens_of_maximal_runs_add_up() -> None:
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(1_000, tokens_total=10**12))
    assert LayerRun.objects.totals(Status.values)["tokens"] == 10**15


# --- choices


@pytest.mark.parametrize("field", ["layer_name", "status", "model_name", "source"])
def test_the_values_of_a_column_are_its_distinct_ones_sorted(field: str) -> None:
    assert LayerRun.objects.values_of(field) == []
    for value in ["b", "a", "B", "É", "é", "", "😀", "a b", "a", "b%", "it's", "ab"] * 2:
        LayerRunFactory(**{field: value})
    distinct = LayerRun.objects.order_by().values_list(field, flat=True).distinct()
    assert LayerRun.objects.values_of(field) == sorted(distinct)
    assert len(distinct) == 11


def test_d27_choices_are_bounded() -> None:
    LayerRun.objects.bulk_create(LayerRunFactory.build(layer_name=f"layer-{n:03}") for n in range(20))
    assert LayerRun.objects.values_of("layer_name", limit=5) == [f"layer-{n:03}" for n in range(5)]


def test_the_values_of_a_column_cost_one_query(django_assert_num_queries) -> None:
    for name in "abc":
        LayerRunFactory(layer_name=name)
    with django_assert_num_queries(1):
        assert LayerRun.objects.values_of("layer_name") == ["a", "b", "c"]


def test_a_value_that_is_no_text_breaks_no_menu() -> None:
    # In a database made before the columns were checked.
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL has types")
    LayerRunFactory(layer_name="a")
    odd = LayerRunFactory()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = 1")
        try:
            cursor.execute("UPDATE layer_runs_layerrun SET layer_name = x'e9' WHERE id = %s", [odd.pk])
        finally:
            cursor.execute("PRAGMA ignore_check_constraints = 0")
    assert set(LayerRun.objects.values_of("layer_name")) == {"a", b"\xe9"}


# --- writing many


def test_many_runs_are_created_with_the_index_of_their_errors() -> None:
    runs = [LayerRunFactory.build(errors=[{"error": f"{n}-{m}"} for m in range(n % 3)]) for n in range(BATCH + 10)]
    LayerRun.objects.bulk_create(iter(runs), batch_size=200)
    expected = {(run.pk, m, error["error"]) for run in runs for m, error in enumerate(run.errors)}
    assert set(ErrorLine.objects.values_list("run_id", "position", "message")) == expected
    assert LayerRun.objects.count() == BATCH + 10


def test_creating_nothing_is_no_mistake() -> None:
    assert LayerRun.objects.bulk_create([]) == []


def test_a_run_that_was_there_already_keeps_its_row_and_its_index() -> None:
    LayerRunFactory(id="x", errors=[{"error": "kept"}])
    again = LayerRunFactory.build(id="x", errors=[{"error": "ignored"}, {"error": "ignored"}])
    LayerRun.objects.bulk_create([again, LayerRunFactory.build(errors=[{"error": "new"}])], ignore_conflicts=True)
    assert LayerRun.objects.get(pk="x").errors == [{"error": "kept"}]
    assert list(ErrorLine.objects.filter(run="x").values_list("message", flat=True)) == ["kept"]
    assert ErrorLine.objects.filter(message="new").count() == 1


@pytest.mark.parametrize(("columns", "kept"), [(["status"], "old"), (["status", "errors"], "new")])
def test_a_run_that_is_updated_in_bulk_is_indexed_as_it_is_stored(columns: list[str], kept: str) -> None:
    LayerRunFactory(id="x", errors=[{"error": "old"}])
    again = LayerRunFactory.build(id="x", errors=[{"error": "new"}], status="failed")
    LayerRun.objects.bulk_create([again], update_conflicts=True, unique_fields=["id"], update_fields=columns)
    stored = LayerRun.objects.get()
    assert (stored.status, stored.errors) == ("failed", [{"error": kept}])
    assert ErrorLine.objects.get().message == kept


def indexed() -> set[tuple[Any, ...]]:
    return set(ErrorLine.objects.values_list("run_id", "message", "started_at"))


def test_an_update_keeps_the_index_even_of_what_is_no_longer_selected() -> None:
    LayerRunFactory(id="a", started_at=NOON, errors=[{"error": "old"}])
    LayerRunFactory(id="b", started_at=NOON - HOUR, errors=[{"error": "kept"}])
    assert LayerRun.objects.filter(started_at=NOON).update(started_at=NOON + HOUR, errors=["new", "newer"]) == 1
    assert indexed() == {("a", "new", NOON + HOUR), ("a", "newer", NOON + HOUR), ("b", "kept", NOON - HOUR)}


def test_an_update_by_expression_or_in_a_relation_is_indexed_as_it_is_stored() -> None:
    run = LayerRunFactory(started_at=NOON, completed_at=NOON + HOUR, errors=[{"error": "boom"}] * 2)
    LayerRun.objects.filter(error_lines__message="boom").distinct().update(started_at=F("completed_at"))
    assert indexed() == {(run.pk, "boom", NOON + HOUR)}


def test_many_updates_are_indexed_in_batches() -> None:
    runs = LayerRun.objects.bulk_create(LayerRunFactory.build(errors=["old"]) for _ in range(BATCH + 5))
    for run in runs:
        run.errors = [f"new {run.pk}"]
    LayerRun.objects.bulk_update(runs, ["errors"], batch_size=100)
    assert {line[:2] for line in indexed()} == {(run.pk, f"new {run.pk}") for run in runs}
    assert LayerRun.objects.update(errors=[]) == BATCH + 5
    assert indexed() == set()


def test_an_update_of_something_else_costs_one_query(django_assert_num_queries) -> None:
    LayerRunFactory(errors=["kept"])
    with django_assert_num_queries(1):
        LayerRun.objects.update(status="crashed")


def test_an_update_that_fails_leaves_runs_and_index_as_they_were(monkeypatch) -> None:
    LayerRunFactory(errors=["kept"])
    before = indexed()
    monkeypatch.setattr(ErrorLineQuerySet, "rewrite", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        LayerRun.objects.update(errors=["lost"])
    assert (indexed(), LayerRun.objects.get().errors) == (before, ["kept"])


def test_an_update_is_refused_where_django_refuses_it_and_by_templates() -> None:
    with pytest.raises(TypeError, match="slice"):
        LayerRun.objects.all()[:1].update(errors=[])
    assert LayerRunQuerySet.update.alters_data
    assert LayerRun.objects.update.alters_data


def test_deleting_a_selection_leaves_no_calls_or_lines_behind() -> None:
    LayerRunFactory.create_batch(3, failing=True)
    kept = LlmCallFactory(run=LayerRunFactory(errors=[{"error": "kept"}]))
    LlmCallFactory(run=LayerRun.objects.filter(status="failed").first())
    LayerRun.objects.filter(status="failed").delete()
    assert (LayerRun.objects.get(), LlmCall.objects.get(), ErrorLine.objects.get().message) == (kept.run, kept, "kept")


# --- the indexes in use


@pytest.fixture
def many_runs() -> LayerRun:
    LayerRun.objects.bulk_create(
        LayerRunFactory.build(
            started_at=NOON - n * HOUR,
            layer_name=f"layer-{n % 7}",
            status=Status.values[n % 5],
            model_name=f"model-{n % 3}",
            errors=[{"error": "boom"}] if n % 10 == 0 else [],
        )
        for n in range(300)
    )
    return LayerRun.objects.filter(layer_name="layer-3").newest_first()[20]


def plan(runs: QuerySet[LayerRun]) -> str:
    return runs.explain().lower()


SELECTIONS: list[tuple[str, Any]] = [
    ("layerrun_started", lambda runs, run: runs),
    ("layerrun_started", lambda runs, run: runs.within(Window(NOON - 24 * HOUR, NOON))),
    ("layerrun_layer", lambda runs, run: runs.filter(layer_name="layer-3")),
    ("layerrun_layer", lambda runs, run: runs.filter(layer_name="layer-3").within(Window(since=NOON - 24 * HOUR))),
    ("layerrun_status", lambda runs, run: runs.filter(status="failed")),
    ("layerrun_status", lambda runs, run: runs.filter(status="failed").within(Window(since=NOON - 24 * HOUR))),
    ("layerrun_layer_status", lambda runs, run: runs.filter(layer_name="layer-3", status="failed")),
    ("layerrun_model", lambda runs, run: runs.filter(model_name="model-1")),
    ("layerrun_version", lambda runs, run: runs.filter(layer_name="layer-3", layer_hash=run.layer_hash)),
    ("layerrun_source", lambda runs, run: runs.filter(source="")),
]


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL chooses by statistics a test does not have")
@pytest.mark.parametrize(("index", "select"), SELECTIONS)
@pytest.mark.parametrize("analyzed", [False, True], ids=["plain", "analyzed"])
def test_a_page_of_the_newest_comes_in_order_out_of_its_index(many_runs, index: str, select, analyzed: bool) -> None:
    if analyzed:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    how = plan(select(LayerRun.objects.for_list().newest_first(), many_runs)[:20])
    assert re.search(rf"using (covering )?index {index}\b", how)
    assert "temp b-tree" not in how


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL chooses by statistics a test does not have")
@pytest.mark.parametrize("neighbours", ["before", "after"])
def test_a_neighbour_is_one_step_in_the_index_of_its_layer(many_runs, neighbours: str) -> None:
    how = plan(getattr(LayerRun.objects, neighbours)(many_runs)[:1])
    assert "index layerrun_layer " in how
    assert "temp b-tree" not in how
    assert "multi-index" not in how


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL chooses by statistics a test does not have")
def test_open_runs_and_searched_lines_come_from_their_own_small_indexes(many_runs) -> None:
    how = plan(LayerRun.objects.filter(status="running").newest_first())
    assert re.search(r"index layerrun_(running|status)\b", how)
    assert "temp b-tree" not in how
    window = Window(NOON - 24 * HOUR, NOON)
    assert "errorline_started" in plan(LayerRun.objects.search("boom").within(window))


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="reads SQLite's own plan")
@pytest.mark.parametrize("field", ["layer_name", "status", "model_name", "source"])
def test_choices_hop_over_an_index_and_never_scan_the_runs(many_runs, field: str, django_assert_num_queries) -> None:
    with django_assert_num_queries(1) as queries:
        LayerRun.objects.values_of(field)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {queries[0]['sql']}")
        steps = [row[3] for row in cursor.fetchall() if "layer_runs_layerrun" in row[3]]
    assert len(steps) == 2
    assert all(step.startswith("SEARCH") and "COVERING INDEX layerrun_" in step for step in steps)
