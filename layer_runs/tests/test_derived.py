"""What runs used: the sums of their LLM calls, after whatever was written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Case, F, QuerySet, Sum, Value, When

from layer_runs.derived import MOST_USD, SUMS, insert_usage
from layer_runs.models import LayerRun, LlmCall, RunUsage
from layer_runs.querysets import BATCH
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FAILED, DONE = "server:1:user:1", "server:1:user:2"
BOOM = {"error": "boom"}
KEY = ("run_id", "model_profile", "model_name", "call_type")


def usage() -> dict[tuple[str, ...], dict[str, Any]]:
    rows = RunUsage.objects.values(*KEY, "started_at", "layer_name", *SUMS)
    return {tuple(row.pop(name) for name in KEY): row for row in rows}


def added_up() -> dict[tuple[str, ...], dict[str, Any]]:
    """Another way: call by call, in Python, with the topics of the errors as the run itself tells them."""
    runs = LayerRun.objects.in_bulk()
    sums: dict[tuple[str, ...], dict[str, Any]] = {}
    for call in LlmCall.objects.all():
        run = runs[call.run_id]
        copied = {"started_at": run.started_at, "layer_name": run.layer_name}
        row = sums.setdefault(tuple(getattr(call, name) for name in KEY), copied | dict.fromkeys(SUMS, 0))
        row["calls"] += 1
        for name in ("tokens_input", "tokens_output", "tokens_total"):
            row[name] += getattr(call, name)
        row["estimated_cost_usd"] += call.estimated_cost_usd or 0
        row["unpriced_tokens"] += call.tokens_total if call.estimated_cost_usd is None else 0
        if call.topic and call.topic in {error.topic for error in run.read_errors()}:
            row["wasted_usd"] += call.estimated_cost_usd or 0
    return sums


@pytest.fixture
def calls() -> dict[str, LlmCall]:
    """Calls of two runs, each of which failed for a topic that the other one did."""
    one = LayerRunFactory(id="one", started_at=NOON, errors=[BOOM | {"topic": FAILED}] * 2)
    two = LayerRunFactory(id="two", started_at=NOON, layer_name="weekly", errors=[BOOM | {"topic": DONE}])
    return {
        "failed": LlmCallFactory(id="failed", run=one, topic=FAILED),
        "done": LlmCallFactory(id="done", run=one, topic=DONE),
        "filter": LlmCallFactory(id="filter", run=one, topic=FAILED, call_type="filter", model_name="claude-haiku-4-5"),
        "other": LlmCallFactory(id="other", run=two, topic=DONE),
    }


# --- every way of writing

DEARER = {"estimated_cost_usd": "1.5", "tokens_total": 9}
Way = Callable[[dict[str, LlmCall]], Any]


def saved(call: LlmCall, *fields: str, **values: Any) -> None:
    for name, value in values.items():
        setattr(call, name, value)
    call.save(update_fields=fields or None)


def saved_run(pk: str, *fields: str, **values: Any) -> None:
    run = LayerRun.objects.get(pk=pk)
    for name, value in values.items():
        setattr(run, name, value)
    run.save(update_fields=fields or None)


def made(*calls: LlmCall, **values: Any) -> list[LlmCall]:
    """Return copies of the calls that are not stored, with the same ids."""
    columns = [field.attname for field in LlmCall._meta.concrete_fields]
    return [LlmCall(**{name: getattr(call, name) for name in columns} | values) for call in calls]


def run(pk: str) -> LayerRun:
    return LayerRun.objects.get(pk=pk)


def all_but_failed_conflict(calls: dict[str, LlmCall], **options: Any) -> None:
    new = LlmCallFactory.build(run=run("two"), call_type="new")
    LlmCall.objects.bulk_create([*made(calls["failed"], run_id="two", **DEARER), new], **options)


WAYS: dict[str, Way] = {
    "create": lambda calls: LlmCall.objects.create(run=run("one"), topic=FAILED, call_type="new", **DEARER),
    "create in the run": lambda calls: run("two").calls.create(topic=DONE, **DEARER),
    "get or create": lambda calls: LlmCall.objects.get_or_create(id="new", defaults={"run_id": "one"}),
    "update or create": lambda calls: LlmCall.objects.update_or_create(id="failed", defaults=DEARER),
    "save": lambda calls: saved(calls["done"], **DEARER),
    "save a field": lambda calls: saved(calls["done"], "estimated_cost_usd", estimated_cost_usd=None),
    "save an expression": lambda calls: saved(calls["done"], tokens_input=F("tokens_input") + 1),
    "save what is loaded": lambda calls: saved(LlmCall.objects.only("tokens_input").get(pk="done"), tokens_input=7),
    "save another topic": lambda calls: saved(calls["done"], "topic", topic=FAILED),
    "save another model": lambda calls: saved(calls["done"], model_name="claude-opus-4-6", model_profile="complex"),
    "save in another run": lambda calls: saved(calls["failed"], run=run("two")),
    "save as another run's": lambda calls: saved(calls["failed"], "run_id", run_id="two"),
    "save over a stored one": lambda calls: made(calls["failed"], run_id="two")[0].save(force_update=True),
    "delete": lambda calls: calls["failed"].delete(),
    "delete the last of a run": lambda calls: calls["other"].delete(),
    "delete one that says it is another run's": lambda calls: made(calls["failed"], run_id="two")[0].delete(),
    "bulk create": lambda calls: LlmCall.objects.bulk_create(
        LlmCallFactory.build(run=run(pk), **DEARER) for pk in ("one", "one", "two")
    ),
    "bulk create in the run": lambda calls: run("two").calls.bulk_create([LlmCallFactory.build(run=run("two"))]),
    "bulk create, conflicts ignored": lambda calls: all_but_failed_conflict(calls, ignore_conflicts=True),
    "bulk create, conflicts updated": lambda calls: all_but_failed_conflict(
        calls, update_conflicts=True, unique_fields=["id"], update_fields=["run", "estimated_cost_usd"]
    ),
    "bulk create, conflicts updated in place": lambda calls: all_but_failed_conflict(
        calls, update_conflicts=True, unique_fields=["id"], update_fields=["tokens_total"]
    ),
    "bulk update": lambda calls: LlmCall.objects.bulk_update(made(calls["done"], **DEARER), list(DEARER)),
    "bulk update of runs": lambda calls: LlmCall.objects.bulk_update(made(calls["done"], run_id="two"), ["run"]),
    "update": lambda calls: LlmCall.objects.update(**DEARER),
    "update in the run": lambda calls: run("one").calls.update(estimated_cost_usd=None),
    "update what selects": lambda calls: LlmCall.objects.filter(topic=FAILED).update(topic=DONE),
    "update by expression": lambda calls: LlmCall.objects.update(tokens_input=F("tokens_output") * 2),
    "update through a relation": lambda calls: (
        LlmCall.objects.filter(run__error_lines__topic=FAILED).distinct().update(call_type="new")
    ),
    "update the run": lambda calls: LlmCall.objects.filter(topic=FAILED).update(run=run("two")),
    "update the run by its id": lambda calls: LlmCall.objects.filter(topic=FAILED).update(run_id="two"),
    "update the run by expression": lambda calls: LlmCall.objects.update(
        run=Case(When(topic=FAILED, then=Value("two")), default=Value("one"))
    ),
    "add to a run": lambda calls: run("two").calls.add(calls["failed"]),
    "add to a run one by one": lambda calls: run("two").calls.add(calls["failed"], bulk=False),
    "set as the calls of a run": lambda calls: run("two").calls.set([calls["failed"], calls["other"]]),
    "delete some": lambda calls: LlmCall.objects.filter(topic=FAILED).delete(),
    "delete some in order": lambda calls: LlmCall.objects.order_by("-created_at").filter(topic=DONE).delete(),
    "delete all of a run": lambda calls: run("one").calls.all().delete(),
    "save a run's errors": lambda calls: saved_run("one", errors=[BOOM | {"topic": DONE}]),
    "save a run's errors alone": lambda calls: saved_run("one", "errors", errors=[]),
    "save a run's start": lambda calls: saved_run("one", "started_at", started_at=NOON + timedelta(hours=1)),
    "save a run's layer": lambda calls: saved_run("one", "layer_name", layer_name="hourly"),
    "update runs' errors": lambda calls: LayerRun.objects.update(errors=[BOOM | {"topic": DONE}]),
    "update runs' starts": lambda calls: LayerRun.objects.update(started_at=F("started_at") + timedelta(hours=1)),
    "update runs' layers": lambda calls: LayerRun.objects.filter(layer_name="weekly").update(layer_name="hourly"),
    "bulk update of layers": lambda calls: LayerRun.objects.bulk_update(
        [LayerRun(id="one", layer_name="hourly")], ["layer_name"]
    ),
    "bulk create over a run": lambda calls: LayerRun.objects.bulk_create(
        [LayerRunFactory.build(id="one", layer_name="hourly", errors=[BOOM | {"topic": DONE}])],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["layer_name", "errors"],
    ),
    "delete a run": lambda calls: run("one").delete(),
    "delete runs": lambda calls: LayerRun.objects.filter(layer_name="weekly").delete(),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_usage_is_the_sum_of_the_calls_after_every_way_of_writing(calls: dict[str, LlmCall], way: Way) -> None:
    before = usage()
    assert before == added_up()
    way(calls)
    assert usage() == added_up() != before


@pytest.mark.parametrize("bulk", [False, True])
def test_calls_that_are_written_before_their_run_are_added_up_with_it(bulk: bool) -> None:
    late = LayerRunFactory.build(errors=[BOOM | {"topic": FAILED}])
    with transaction.atomic():
        LlmCall.objects.bulk_create(LlmCallFactory.build_batch(2, run=late, topic=FAILED))
        LayerRun.objects.bulk_create([late]) if bulk else late.save()
    assert usage() == added_up() != {}


def test_the_usage_of_more_runs_than_a_batch_is_added_up() -> None:
    runs = LayerRun.objects.bulk_create(LayerRunFactory.build_batch(BATCH + 5))
    LlmCall.objects.bulk_create(LlmCallFactory.build(run=run) for run in runs for _ in range(2))
    assert usage() == added_up()
    assert LlmCall.objects.update(**DEARER) == 2 * (BATCH + 5)
    assert usage() == added_up()
    LlmCall.objects.all().delete()
    assert usage() == {}


# --- what is added up


def test_what_has_no_price_is_counted_in_tokens_and_costs_nothing() -> None:
    run = LayerRunFactory()
    LlmCallFactory(run=run, tokens_total=100, estimated_cost_usd="0.000000001")
    LlmCallFactory.create_batch(2, run=run, tokens_total=30, estimated_cost_usd=None)
    LlmCallFactory(run=run, tokens_total=5, estimated_cost_usd=0)
    LlmCallFactory(run=run, tokens_total=8, estimated_cost_usd=None, model_name="gemma3:27b")
    priced, unpriced = RunUsage.objects.order_by("model_name")
    assert (priced.calls, priced.tokens_total, priced.unpriced_tokens) == (4, 165, 60)
    assert priced.estimated_cost_usd == Decimal("0.000000001")
    assert (unpriced.calls, unpriced.unpriced_tokens, unpriced.estimated_cost_usd) == (1, 8, 0)


@pytest.mark.parametrize(
    ("topic", "errors", "wasted"),
    [
        (FAILED, [BOOM | {"topic": FAILED}], True),
        (FAILED, [BOOM | {"topic": FAILED}] * 3, True),
        (FAILED, [BOOM | {"topic": DONE}, BOOM | {"topic": FAILED}], True),
        ("t" * 300, [BOOM | {"topic": "t" * 300}], True),
        (FAILED, [BOOM | {"topic": DONE}], False),
        (FAILED, [], False),
        (FAILED, [BOOM | {"topic": FAILED.upper()}], False),
        ("", [BOOM | {"topic": ""}], False),
        ("", [BOOM], False),
        ("", ["bare text"], False),
    ],
)
def test_a_call_is_wasted_where_its_run_failed_for_its_topic(topic: str, errors: list, wasted: bool) -> None:
    LayerRunFactory(errors=[BOOM | {"topic": topic}])
    LlmCallFactory(run=LayerRunFactory(errors=errors), topic=topic, estimated_cost_usd="0.25")
    assert RunUsage.objects.get().wasted_usd == (Decimal("0.25") if wasted else 0)


def test_an_absurd_cost_stops_at_its_bound_and_neither_the_run_nor_a_sum_over_runs() -> None:
    for run in LayerRunFactory.create_batch(2, errors=[BOOM | {"topic": FAILED}]):
        # Each is as dear as a call can be: together they are more nano-dollars than a column holds.
        LlmCall.objects.bulk_create(
            LlmCallFactory.build_batch(9_300, run=run, topic=FAILED, estimated_cost_usd="999999.999999999")
        )
    assert set(RunUsage.objects.values_list("estimated_cost_usd", "wasted_usd")) == {(MOST_USD, MOST_USD)}
    assert RunUsage.objects.aggregate(cost=Sum("estimated_cost_usd")) == {"cost": 2 * MOST_USD}


def test_a_sum_just_below_its_bound_is_exact() -> None:
    run = LayerRunFactory()
    LlmCall.objects.bulk_create(LlmCallFactory.build_batch(1_000, run=run, estimated_cost_usd="999999.999999999"))
    assert RunUsage.objects.get().estimated_cost_usd == 1_000 * Decimal("999999.999999999")


def test_the_longest_texts_fit_every_index() -> None:
    # Of four bytes a character and no two alike, so that nothing can be packed.
    def text(length: int) -> str:
        return "".join(chr(0x20000 + n) for n in range(length))

    run = LayerRunFactory(id="x" * 64, layer_name=text(200), status=text(32), errors=[BOOM | {"topic": text(300)}])
    names = {"model_profile": text(100), "model_name": text(200), "call_type": text(50)}
    LlmCallFactory(id="y" * 64, run=run, topic=text(300), **names)
    assert usage() == added_up()


def test_usage_has_a_name() -> None:
    assert str(RunUsage(run_id="x", call_type="filter", model_name="claude")) == "filter claude x"


# --- what it costs


def test_a_new_run_without_errors_is_written_with_one_look_for_calls(django_assert_num_queries) -> None:
    with django_assert_num_queries(4):  # savepoint, insert, the sum of no calls, release
        LayerRunFactory()


@pytest.mark.parametrize("write", ["save", "update", "bulk_create"])
def test_writing_what_is_not_added_up_costs_nothing_more(calls, write: str, django_assert_num_queries) -> None:
    calls["done"].latency_ms = 7
    with django_assert_num_queries(1):
        if write == "save":
            calls["done"].save(update_fields=["latency_ms", "success"])
        elif write == "update":
            LlmCall.objects.filter(pk="done").update(latency_ms=7)
        else:
            LayerRun.objects.filter(pk="one").update(status="crashed")


@pytest.mark.parametrize("number", [1, 40])
def test_many_calls_are_added_up_with_as_many_queries_as_one(number: int, django_assert_max_num_queries) -> None:
    run = LayerRunFactory()
    with django_assert_max_num_queries(6):  # savepoint, calls, lock, delete, sum, release
        LlmCall.objects.bulk_create(LlmCallFactory.build_batch(number, run=run))


def test_the_costs_of_a_period_are_read_from_the_index_alone() -> None:
    by_model = RunUsage.objects.filter(started_at__gte=NOON, layer_name="weekly").order_by().values("model_name")
    plan = by_model.annotate(**{f"sum_of_{name}": Sum(name) for name in SUMS})
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        assert "Index Only Scan using runusage_started" in plan.explain()
    else:
        assert "USING COVERING INDEX runusage_started" in plan.explain()


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL chooses by statistics a test does not have")
@pytest.mark.parametrize("number", [1, 2, BATCH])
def test_the_failed_targets_of_a_run_are_not_read_once_a_call(number: int) -> None:
    with connection.cursor() as cursor:
        sql = insert_usage(", ".join(["%s"] * number))
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", ["x"] * number * 2)
        steps = [row[3] for row in cursor.fetchall()]
    assert [step for step in steps if step.startswith("SCAN")] == []


# --- all or nothing


@pytest.mark.parametrize(
    "write",
    [
        lambda calls: saved(calls["done"], **DEARER),
        lambda calls: calls["done"].delete(),
        lambda calls: LlmCall.objects.update(**DEARER),
        lambda calls: LlmCall.objects.filter(topic=DONE).delete(),
        lambda calls: LlmCall.objects.bulk_create(LlmCallFactory.build_batch(2, run=run("one"))),
    ],
    ids=["save", "delete", "update", "delete some", "bulk create"],
)
def test_a_sum_that_fails_leaves_the_calls_as_they_were(calls, write: Way, monkeypatch) -> None:
    before, stored = usage(), set(LlmCall.objects.values_list())
    monkeypatch.setattr("layer_runs.derived.insert_usage", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(calls)
    assert (usage(), set(LlmCall.objects.values_list())) == (before, stored)


def test_a_slice_is_refused_as_django_refuses_it() -> None:
    with pytest.raises(TypeError, match="slice"):
        LlmCall.objects.all()[:1].update(**DEARER)
    with pytest.raises(TypeError, match="limit"):
        LlmCall.objects.all()[:1].delete()


def test_no_template_can_write_and_no_manager_deletes_all() -> None:
    assert LlmCall.objects.all().update.alters_data
    assert LlmCall.objects.all().delete.alters_data
    assert not hasattr(LlmCall.objects, "delete")


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite lets one write at a time")
@pytest.mark.django_db(transaction=True)
def test_two_who_add_to_the_same_run_at_once_both_count() -> None:
    run = LayerRunFactory()
    together, failures = threading.Barrier(2), []

    def add() -> None:
        try:
            together.wait()
            for _ in range(10):
                LlmCallFactory(run=run)
        except DatabaseError as error:
            failures.append(error)
        finally:
            connections.close_all()

    writers = [threading.Thread(target=add) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert RunUsage.objects.get().calls == 20
    assert usage() == added_up()


# --- what the database refuses


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("runusage_sums_in_range", {"calls": -1}),
        ("runusage_sums_in_range", {"tokens_total": -1}),
        ("runusage_costs_in_range", {"wasted_usd": -1}),
        ("runusage_times_in_range", {"started_at": NOON.replace(year=1999)}),
    ],
)
def test_usage_out_of_bounds_is_refused_by_name(calls, constraint: str, values: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        QuerySet.update(RunUsage.objects.all(), **values)


def test_a_run_model_and_purpose_is_there_once(calls) -> None:
    twice = RunUsage.objects.first()
    twice.pk = None
    with pytest.raises(IntegrityError):
        twice.save(force_insert=True)


# --- the migration


@pytest.mark.django_db(transaction=True)
def test_a_database_with_calls_is_added_up_when_it_is_migrated() -> None:
    migrate([("layer_runs", "0001_initial")])
    try:
        assert RunUsage._meta.db_table not in connection.introspection.table_names()
        # By what was there before: today's models would look for the table.
        run = LayerRunFactory.build(id="one", errors=[BOOM | {"topic": FAILED}])
        QuerySet(LayerRun).bulk_create([run, LayerRunFactory.build(id="idle")])
        line = {"run_id": "one", "position": 0, "topic": FAILED, "started_at": run.started_at, "fingerprint": "f"}
        QuerySet(LayerRun.error_lines.rel.related_model).create(**line)
        calls = [LlmCallFactory.build(run=run, topic=topic) for topic in (FAILED, DONE, "")]
        calls.append(LlmCallFactory.build(run=run, call_type="filter", estimated_cost_usd=None))
        QuerySet(LlmCall).bulk_create(calls)
        migrate([("layer_runs", "0002_runusage")])
        assert usage() == added_up() != {}
    finally:
        migrate(None)


def migrate(targets: list[tuple[str, str]] | None) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(targets or executor.loader.graph.leaf_nodes())
