from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.utils import timezone

from layer_runs.constraints import MAX_COUNT, MAX_TOKENS
from layer_runs.models import RESERVED_IDS, ErrorLine, ImportLock, LayerRun, LlmCall, RunUsage, Status
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory
from layer_runs.urls import urlpatterns

pytestmark = pytest.mark.django_db
START = datetime(2026, 11, 1, 5, 59, 59, 999_999, tzinfo=UTC)
ERRORS = [
    {"topic": "server:1:user:1", "error": "Connection error.", "node": "reflect"},
    {"topic": "server:1:user:2", "error": "Request timed out.", "node": "generate"},
]


def fresh(run: LayerRun) -> LayerRun:
    return LayerRun.objects.get(pk=run.pk)


def created(**values: Any) -> LayerRun:
    return fresh(LayerRunFactory(**values))


def saved(**values: Any) -> LayerRun:
    run = LayerRunFactory()
    for name, value in values.items():
        setattr(run, name, value)
    run.save()
    return fresh(run)


def bulk_created(**values: Any) -> LayerRun:
    return fresh(LayerRun.objects.bulk_create([LayerRunFactory.build(**values)])[0])


def updated(**values: Any) -> LayerRun:
    run = LayerRunFactory()
    LayerRun.objects.filter(pk=run.pk).update(**values)
    return fresh(run)


def written_in_sql(**values: Any) -> LayerRun:
    """Write a row the way a foreign program would, with its own spelling of times and JSON."""
    run = LayerRunFactory()

    def spelled(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ") if connection.vendor == "sqlite" else value
        return json.dumps(value) if isinstance(value, list) else value

    with transaction.atomic(), connection.cursor() as cursor:
        columns = ", ".join(f"{name} = %s" for name in values)
        cursor.execute(
            f"UPDATE layer_runs_layerrun SET {columns} WHERE id = %s", [*map(spelled, values.values()), run.pk]
        )
    return fresh(run)


WAYS = [created, saved, bulk_created, updated, written_in_sql]
every_way = pytest.mark.parametrize("write", WAYS, ids=[way.__name__ for way in WAYS])


# --- what is derived


def milliseconds(took: timedelta) -> int:
    """Another way: in whole microseconds, halves away from zero."""
    micros = (took.days * 86_400 + took.seconds) * 10**6 + took.microseconds
    whole, rest = divmod(abs(micros), 1_000)
    return (whole + (rest >= 500)) * (1 if micros >= 0 else -1)


@every_way
@pytest.mark.parametrize(
    "micros",
    [0, 1, 499, 500, 501, 999, 1_000, 1_499, 1_500, 41_400_000, 90_061_001_500, 86_400_000_000 * 400]
    + [-1, -499, -500, -501, -1_500, -5_000_000],
)
def test_d19_the_duration_is_right_to_the_millisecond_also_backwards(write: Any, micros: int) -> None:
    for start in (START, START.replace(microsecond=0), START.replace(microsecond=500)):
        took = timedelta(microseconds=micros)
        run = write(started_at=start, completed_at=start + took)
        assert (run.started_at, run.completed_at) == (start, start + took)
        assert run.duration_ms == milliseconds(took)


@every_way
def test_the_duration_spans_years_leap_days_and_the_bounds(write: Any) -> None:
    for start, end in [
        (datetime(2000, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        (datetime(2024, 2, 28, 23, 59, 59, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)),
        (datetime(2100, 2, 28, tzinfo=UTC), datetime(2100, 3, 1, tzinfo=UTC)),
    ]:
        assert write(started_at=start, completed_at=end).duration_ms == milliseconds(end - start)


@every_way
def test_a_running_run_has_no_duration(write: Any) -> None:
    assert write(completed_at=None).duration_ms is None


@every_way
@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([], (0, "", "")),
        (ERRORS, (2, "Connection error.", "reflect")),
        ([{"error": "x" * 201, "node": None}] * 300, (300, "x" * 200, "")),
        (["boom"], (1, "boom", "")),
    ],
    ids=["none", "two", "many", "odd"],
)
def test_errors_are_counted_and_quoted_for_every_way_of_writing(write: Any, errors: list, expected: tuple) -> None:
    run = write(errors=errors)
    assert (run.error_count, run.error_preview, run.error_node) == expected


@pytest.mark.parametrize("write", [created, bulk_created], ids=["created", "bulk_created"])
@pytest.mark.parametrize(
    ("given", "total"),
    [
        ((100, 50, None), 150),
        ((100, None, None), 100),
        ((None, 50, None), 50),
        ((0, 0, None), 0),
        ((None, None, None), None),
        ((None, None, 7), 7),
        ((100, 50, 999), 999),
        ((100, 50, 149), 149),
    ],
)
def test_the_total_of_tokens_follows_from_its_parts_unless_it_was_given(write: Any, given: tuple, total: Any) -> None:
    names = ("tokens_input", "tokens_output", "tokens_total")
    assert write(**dict(zip(names, given, strict=True))).tokens_total == total


def test_the_total_of_tokens_is_saved_with_its_parts() -> None:
    run = LayerRunFactory(tokens_input=None, tokens_output=None, tokens_total=None)
    run.tokens_input, run.tokens_output = 100, 50
    run.save(update_fields=["tokens_input", "tokens_output"])
    assert fresh(run).tokens_total == 150


def test_a_total_of_tokens_that_nobody_gave_grows_with_its_parts() -> None:
    run = LayerRun.objects.create(layer_name="nightly", tokens_input=100)
    assert fresh(run).tokens_total == 100
    run.tokens_input, run.tokens_output = 4958, 291
    run.save()
    assert fresh(run).tokens_total == 5249


@pytest.mark.parametrize("field", ["tokens_input", "tokens_output", "tokens_total"])
def test_an_expression_among_the_tokens_is_left_to_the_database(field: str) -> None:
    run = LayerRunFactory()
    expected = {name: getattr(run, name) for name in ("tokens_input", "tokens_output", "tokens_total")}
    expected[field] += 1
    setattr(run, field, models.F(field) + 1)
    run.save()
    assert {name: getattr(fresh(run), name) for name in expected} == expected


def test_a_row_that_names_only_its_layer_is_a_whole_run() -> None:
    run = fresh(LayerRun.objects.create(layer_name="nightly"))
    assert (run.status, run.errors, run.notes, run.error_count, run.source) == (Status.RUNNING, [], {}, 0, "")
    assert (run.completed_at, run.estimated_cost_usd, run.tokens_total, run.unpriced_tokens) == (None, None, None, 0)
    assert timezone.now() - run.started_at < timedelta(minutes=1)


def test_a_foreign_program_may_name_only_an_id_a_layer_and_a_start() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO layer_runs_layerrun (id, layer_name, started_at) VALUES ('x:1', 'nightly', %s)",
            ["2026-11-01 10:00:00"] if connection.vendor == "sqlite" else [datetime(2026, 11, 1, 10, tzinfo=UTC)],
        )
    run = LayerRun.objects.get()
    made = LayerRun.objects.create(layer_name="nightly", started_at=run.started_at)
    names = [field.attname for field in LayerRun._meta.concrete_fields if field.name != "id"]
    made = fresh(made)
    assert {name: getattr(run, name) for name in names} == {name: getattr(made, name) for name in names}


def test_a_foreign_program_may_name_only_an_id_a_run_and_a_moment_of_a_call() -> None:
    run = LayerRunFactory()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO layer_runs_llmcall (id, run_id, created_at) VALUES ('c1', %s, %s)",
            [run.pk, "2026-11-01 10:00:00" if connection.vendor == "sqlite" else START],
        )
    call = LlmCall.objects.get()
    made = LlmCall.objects.create(run=run, created_at=call.created_at)
    names = [field.attname for field in LlmCall._meta.concrete_fields if field.name != "id"]
    made.refresh_from_db()
    assert {name: getattr(call, name) for name in names} == {name: getattr(made, name) for name in names}


# --- what the database refuses

LONG_AGO, FAR_AHEAD = datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
REFUSED = [
    ("layerrun_times_in_range", "started_at", LONG_AGO),
    ("layerrun_times_in_range", "started_at", FAR_AHEAD),
    ("layerrun_times_in_range", "completed_at", LONG_AGO),
    ("layerrun_times_in_range", "heartbeat_at", FAR_AHEAD),
    ("layerrun_tokens_in_range", "tokens_input", -1),
    ("layerrun_tokens_in_range", "tokens_output", MAX_TOKENS + 1),
    ("layerrun_tokens_in_range", "tokens_total", 2**62),
    ("layerrun_tokens_in_range", "unpriced_tokens", -1),
    ("layerrun_tokens_in_range", "reported_tokens_total", 2**63 - 1),
    ("layerrun_cost_in_range", "estimated_cost_usd", Decimal(-5)),
    ("layerrun_cost_in_range", "reported_cost_usd", Decimal(1_000_000)),
]


@pytest.mark.parametrize("write", [created, bulk_created, updated], ids=["created", "bulk_created", "updated"])
@pytest.mark.parametrize(("constraint", "field", "value"), REFUSED)
def test_d11_d14_d15_a_value_out_of_bounds_is_refused_by_name(
    write: Any, constraint: str, field: str, value: Any
) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        write(**{field: value})


@pytest.mark.parametrize("field", ["targets_matched", "targets_processed", "targets_skipped", "insights_created"])
@pytest.mark.parametrize("value", [-1, MAX_COUNT + 1, 2**62])
def test_d14_a_count_out_of_bounds_is_refused(field: str, value: int) -> None:
    with pytest.raises(DatabaseError):
        created(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("started_at", datetime(2000, 1, 1, tzinfo=UTC)),
        ("completed_at", FAR_AHEAD - timedelta(microseconds=1)),
        ("tokens_total", 0),
        ("tokens_total", MAX_TOKENS),
        ("insights_created", MAX_COUNT),
    ],
)
def test_a_value_on_its_bound_is_kept(field: str, value: Any) -> None:
    assert getattr(created(**{field: value}), field) == value


@pytest.mark.parametrize(
    "id",
    ["", ".", "..", "a/b", "a b", "a\n", "\n", "é", "a?b", "a#b", "a%b", "a\u202eb", "a\u200bb", "a\x00b", "x" * 65],
)
def test_d12_d13_an_id_that_is_no_part_of_a_url_is_refused(id: str) -> None:
    with pytest.raises(IntegrityError, match="layerrun_id_fits_a_url"):
        LayerRunFactory(id=id)


@pytest.mark.parametrize(
    "id", ["x", "...", "a.b", "-", "_", ":", "zos:01ARZ3NDEKTSV4RRFFQ69G5FAV", "x" * 64, "Stats", "stats2"]
)
def test_d12_an_id_that_fits_a_url_is_kept(id: str) -> None:
    assert created(id=id).pk == id


@pytest.mark.parametrize("id", RESERVED_IDS)
def test_a_word_that_is_a_page_is_no_id(id: str) -> None:
    with pytest.raises(IntegrityError, match="layerrun_id_is_no_page"):
        LayerRunFactory(id=id)


@pytest.mark.parametrize(
    ("constraint", "field", "value"),
    [
        ("layerrun_source_fits", "source", "s" * 31),
        ("layerrun_layer_name_fits", "layer_name", "l" * 201),
        ("layerrun_layer_hash_fits", "layer_hash", "h" * 65),
        ("layerrun_status_fits", "status", "s" * 33),
    ],
)
def test_d21_d25_text_that_is_too_long_is_refused_also_in_sql(constraint: str, field: str, value: str) -> None:
    with pytest.raises(DatabaseError, match=constraint if connection.vendor == "sqlite" else "too long"):
        written_in_sql(**{field: value})


def stored_in_sql(row: models.Model, field: str, value: Any) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {row._meta.db_table} SET {field} = %s WHERE id = %s", [value, row.pk])


def a_row_of(model: type[models.Model]) -> models.Model:
    run = LayerRunFactory(errors=ERRORS[:1])
    call = LlmCallFactory(run=run)
    return {LayerRun: run, LlmCall: call, ErrorLine: run.error_lines.get(), RunUsage: run.usage.get()}[model]


def columns_of(kind: str) -> list[tuple[type[models.Model], str]]:
    """Return the columns of texts or of whole numbers, but for keys and what the database writes itself."""
    return [
        (model, field.attname)
        for model in (LayerRun, LlmCall, ErrorLine, RunUsage)
        for field in model._meta.concrete_fields
        if not (field.generated or field.is_relation or field.auto_created)
        if field.get_internal_type() in (["CharField"] if kind == "text" else WHOLE)
        if not field.primary_key
    ]


WHOLE = ["BigIntegerField", "PositiveIntegerField", "BooleanField"]


def name_of(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


@pytest.mark.parametrize(("model", "field"), columns_of("text"), ids=name_of)
def test_every_text_is_bounded_also_in_sql(model: Any, field: str) -> None:
    row, longest = a_row_of(model), model._meta.get_field(field).max_length
    stored_in_sql(row, field, "é" * longest)
    with pytest.raises(DatabaseError, match=f"{field}_fits" if connection.vendor == "sqlite" else "too long"):
        stored_in_sql(row, field, "é" * (longest + 1))


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL has types")
@pytest.mark.parametrize(("model", "field"), columns_of("text"), ids=name_of)
def test_bytes_are_no_text_also_in_sql(model: Any, field: str) -> None:
    with pytest.raises(IntegrityError, match=f"{model._meta.model_name}_texts_are_text"):
        stored_in_sql(a_row_of(model), field, b"caf\xe9")


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL has types")
@pytest.mark.parametrize(("model", "field"), columns_of("whole"), ids=name_of)
@pytest.mark.parametrize("value", [0.5, "lots", b"7"])
def test_a_number_that_is_not_whole_is_refused_also_in_sql(model: Any, field: str, value: Any) -> None:
    row = a_row_of(model)
    stored_in_sql(row, field, 1)
    stored_in_sql(row, field, "1")  # A column of numbers makes a number of that.
    # What is no number at all may be out of bounds too, and which bound speaks first is SQLite's to choose.
    named = f"{model._meta.model_name}_numbers_are_whole" if value == 0.5 else "CHECK constraint failed"
    with pytest.raises(IntegrityError, match=named):
        stored_in_sql(row, field, value)


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL has a type for times")
@pytest.mark.parametrize(
    "moment",
    ["", "soon", "2026-11-01", "2026-02-30 10:00:00", "2026-11-01 25:00:00", "2026-11-01T10:00:00", "2026-11-01 10:00"]
    + ["2026-11-01 10:00:00 noon", "2026-11-01 10:00:00+02:00", "2026-11-01 10:00:00.5x", 1_793_527_200, 2026.5],
)
@pytest.mark.parametrize("field", ["started_at", "completed_at", "heartbeat_at"])
def test_d11_a_time_that_could_not_be_read_back_is_refused_in_sql(field: str, moment: Any) -> None:
    with pytest.raises(IntegrityError, match=f"layerrun_{field}_is_a_time"):
        written_in_sql(**{field: moment})


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL has a type for times")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01 10:00:00", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ("2026-11-01 10:00:00.5", datetime(2026, 11, 1, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-01 10:00:00.000000", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ("2026-11-01 10:00:00.123456", datetime(2026, 11, 1, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-11-01 10:00:00.123456+00:00", datetime(2026, 11, 1, 10, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-11-01 10:00:00+00:00", datetime(2026, 11, 1, 10, tzinfo=UTC)),
    ],
)
def test_a_time_that_another_program_spelled_is_read_and_measured_right(text: str, moment: datetime) -> None:
    run = written_in_sql(started_at="2026-11-01 09:59:59", completed_at=text)
    assert run.completed_at == moment
    assert run.duration_ms == milliseconds(moment - run.started_at)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no infinite times")
@pytest.mark.parametrize("moment", ["infinity", "-infinity"])
@pytest.mark.parametrize("field", ["started_at", "completed_at", "heartbeat_at"])
def test_d11_a_time_without_end_is_refused_in_sql(field: str, moment: str) -> None:
    with pytest.raises(DatabaseError, match="infinite|layerrun_"):
        written_in_sql(**{field: moment})


@pytest.mark.parametrize("write", [created, bulk_created, updated], ids=["created", "bulk_created", "updated"])
def test_d16_nothing_of_a_refused_run_stays(write: Any) -> None:
    before = LayerRun.objects.count()
    with pytest.raises(IntegrityError), transaction.atomic():
        write(tokens_total=-1, errors=ERRORS)
    assert (LayerRun.objects.count() - before, ErrorLine.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("llmcall_figures_in_range", {"tokens_input": -1}),
        ("llmcall_figures_in_range", {"tokens_output": MAX_TOKENS + 1}),
        ("llmcall_figures_in_range", {"tokens_total": 2**62}),
        ("llmcall_figures_in_range", {"latency_ms": -1}),
        ("llmcall_cost_in_range", {"estimated_cost_usd": -1}),
        ("llmcall_cost_in_range", {"estimated_cost_usd": 10**6}),
        ("llmcall_times_in_range", {"created_at": LONG_AGO}),
    ],
)
def test_a_call_out_of_bounds_is_refused_by_name(constraint: str, values: dict) -> None:
    run = LayerRunFactory()
    with pytest.raises(IntegrityError, match=constraint):
        LlmCallFactory(run=run, **values)


def test_every_constraint_of_a_run_is_tried_here() -> None:
    tried = {constraint for constraint, *_ in REFUSED}
    tried |= {f"layerrun_{field}_fits" for model, field in columns_of("text") if model is LayerRun}
    tried |= {"layerrun_texts_are_text", "layerrun_numbers_are_whole"}
    tried |= {f"layerrun_{field}_is_a_time" for field in ("started_at", "completed_at", "heartbeat_at")}
    # An id of 65 characters is cut before it gets there, and its mark fits no URL.
    tried |= {"layerrun_id_fits_a_url", "layerrun_id_is_no_page", "layerrun_counts_in_range", "layerrun_id_fits"}
    assert {constraint.name for constraint in LayerRun._meta.constraints} == tried


def test_a_form_hears_of_the_bounds_too() -> None:
    run = LayerRunFactory.build(tokens_total=-1, estimated_cost_usd=Decimal(-1))
    with pytest.raises(ValidationError) as refused:
        run.full_clean()
    assert "layerrun_tokens_in_range" in str(refused.value)
    assert "layerrun_cost_in_range" in str(refused.value)


@pytest.mark.parametrize("model", [LayerRun, LlmCall, ErrorLine, RunUsage], ids=name_of)
def test_a_form_finds_nothing_wrong_with_what_is_stored(model: Any) -> None:
    a_row_of(model).full_clean(exclude=["message"])


# --- ids


def test_a_run_gets_an_id_that_sorts_by_the_time_it_was_made(time_machine) -> None:
    made = []
    for second in range(1, 6):
        time_machine.move_to(datetime(2026, 11, 1, 0, 0, second, tzinfo=UTC), tick=False)
        made.append(LayerRunFactory(started_at=timezone.now()).pk)
    assert list(LayerRun.objects.order_by("pk").values_list("pk", flat=True)) == made
    assert {len(id) for id in made} == {26}


def test_every_word_that_leads_to_a_page_is_no_id() -> None:
    words = {str(pattern.pattern).partition("/")[0] for pattern in urlpatterns}
    assert {word for word in words if word and "<" not in word} <= set(RESERVED_IDS)


# --- status


@pytest.mark.parametrize(
    ("processed", "failed", "insights", "dry_run", "status"),
    [
        # Every target raised.
        (0, 1, 0, False, "failed"),
        (0, 10, 0, False, "failed"),
        (0, 10, 3, False, "failed"),
        # Some did.
        (1, 1, 0, False, "partial"),
        (8, 2, 8, False, "partial"),
        (8, 2, 0, False, "partial"),
        # None did, and nothing came of it.
        (0, 0, 0, False, "dry"),
        (10, 0, 0, False, "dry"),
        # None did, and something came of it.
        (10, 0, 1, False, "success"),
        (0, 0, 1, False, "success"),
        # A dry run was asked for.
        (10, 0, 0, True, "dry"),
        (10, 0, 5, True, "dry"),
        (0, 0, 0, True, "dry"),
        # A dry run hides no trouble.
        (0, 10, 0, True, "failed"),
        (8, 2, 0, True, "partial"),
    ],
)
def test_the_status_follows_the_rule_of_zos(processed, failed, insights, dry_run, status: str) -> None:
    assert Status.of(processed=processed, failed=failed, insights=insights, dry_run=dry_run) == status


@pytest.mark.parametrize("status", ["", "cancelled", "Success", "x" * 32, "<b>odd</b>"])
def test_d21_a_status_of_another_source_is_kept_verbatim(status: str) -> None:
    assert created(status=status).status == status


# --- the index over the errors


def lines(run: LayerRun) -> list[tuple[Any, ...]]:
    return list(
        ErrorLine.objects.filter(run=run).order_by("position").values_list("position", "topic", "node", "message")
    )


EXPECTED = [
    (0, "server:1:user:1", "reflect", "Connection error."),
    (1, "server:1:user:2", "generate", "Request timed out."),
]


@pytest.mark.parametrize("write", WAYS[:4], ids=[way.__name__ for way in WAYS[:4]])
def test_a_run_is_indexed_by_its_errors(write: Any) -> None:
    other = LayerRunFactory(errors=[{"error": "of another run"}])
    run = write(errors=ERRORS)
    assert lines(run) == EXPECTED
    assert lines(other) == [(0, "", "", "of another run")]
    for line, error in zip(run.error_lines.order_by("position"), run.read_errors(), strict=True):
        assert (line.fingerprint, line.started_at) == (error.fingerprint, run.started_at)


def test_the_index_follows_a_change_of_errors_and_of_the_start() -> None:
    run = LayerRunFactory(errors=ERRORS)
    run.errors = ERRORS[1:]
    run.save(update_fields=["errors"])
    assert lines(run) == [(0, *EXPECTED[1][1:])]
    run.started_at -= timedelta(days=1)
    run.save(update_fields=["started_at"])
    assert run.error_lines.get().started_at == run.started_at
    run.errors = []
    run.save()
    assert lines(run) == []


def test_saving_something_else_leaves_the_index_alone(django_assert_num_queries) -> None:
    run = LayerRunFactory(errors=ERRORS)
    before = set(run.error_lines.values_list("pk", flat=True))
    run.errors = []
    with django_assert_num_queries(3):  # savepoint, update, release
        run.save(update_fields=["status"])
    assert set(run.error_lines.values_list("pk", flat=True)) == before


def test_a_run_of_a_list_can_be_saved_without_its_errors_being_lost() -> None:
    pk = LayerRunFactory(errors=ERRORS, notes={"kept": True}).pk
    run = LayerRun.objects.for_list().get(pk=pk)
    run.status = "crashed"
    run.save()
    assert (lines(run), fresh(run).errors, fresh(run).notes) == (EXPECTED, ERRORS, {"kept": True})


def test_saving_twice_doubles_nothing() -> None:
    run = LayerRunFactory(errors=ERRORS)
    run.save()
    assert lines(run) == EXPECTED


@pytest.mark.parametrize("errors", [{"error": "x"}, "boom", 7, [None], [[]], [{}], {}])
def test_d08_errors_of_any_shape_are_indexed(errors: Any) -> None:
    assert len(lines(created(errors=errors))) == 1


def test_an_indexed_text_is_bounded_and_the_evidence_is_not() -> None:
    run = created(errors=[{"topic": "t" * 400, "node": "n" * 300, "error": "e" * 3_000}])
    line = run.error_lines.get()
    assert (len(line.topic), len(line.node), len(line.message)) == (300, 200, 2_000)
    assert len(run.errors[0]["error"]) == 3_000
    assert run.notes == {}


def test_d23_ten_thousand_errors_are_indexed_in_a_few_batches(django_assert_max_num_queries) -> None:
    with django_assert_max_num_queries(3 + 2 + 2 + 10_000 // 100):
        run = LayerRunFactory(errors=[{"topic": str(n), "error": "x"} for n in range(10_000)])
    assert run.error_lines.count() == fresh(run).error_count == 10_000


def test_deleting_a_run_deletes_its_calls_and_what_is_derived_and_nothing_else() -> None:
    run, other = LayerRunFactory(errors=ERRORS), LayerRunFactory(errors=ERRORS)
    LlmCallFactory.create_batch(2, run=run)
    kept = LlmCallFactory(run=other)
    run.delete()
    assert (LayerRun.objects.get(), LlmCall.objects.get(), ErrorLine.objects.count()) == (other, kept, 2)
    assert RunUsage.objects.get().run == other


# --- signs of life


def test_the_last_sign_of_life_is_the_heartbeat_or_else_the_start() -> None:
    run = LayerRunFactory.build(started_at=START, heartbeat_at=None)
    assert run.last_sign_of_life == START
    run.heartbeat_at = START + timedelta(minutes=5)
    assert run.last_sign_of_life == START + timedelta(minutes=5)
    assert run.silence(START + timedelta(minutes=65)) == timedelta(hours=1)


def test_d20_a_run_from_a_clock_ahead_of_ours_is_not_silent() -> None:
    run = LayerRunFactory.build(started_at=START + timedelta(minutes=10), heartbeat_at=None)
    assert run.silence(START) == timedelta(0)


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (LayerRun(id="x", layer_name="nightly"), "nightly x"),
        (LlmCall(id="x", call_type="reflection"), "reflection x"),
        (ErrorLine(node="reflect", message="boom"), "reflect: boom"),
        (ImportLock(source="", host="h", pid=7), "default: h 7"),
        (ImportLock(source="zos", host="h", pid=7), "zos: h 7"),
    ],
)
def test_each_thing_has_a_name(one: models.Model, text: str) -> None:
    assert str(one) == text
