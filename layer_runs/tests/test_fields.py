from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Max, Min, Sum, Value
from django.db.models.functions import Concat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_runs.fields import MAX_DEPTH, MAX_USD, UsdField, clean_json, clean_text, new_ulid, to_usd
from layer_runs.models import LayerRun, LlmCall
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

# A busy machine is no failure.
unhurried = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

pytestmark = pytest.mark.django_db
SQLITE_ONLY = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL itself refuses such a row")


def raw(**values: Any) -> LayerRun:
    """Write columns of a run as another program would, and read the run back."""
    run = LayerRunFactory()
    columns = ", ".join(f"{column} = %s" for column in values)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE layer_runs_layerrun SET {columns} WHERE id = %s", [*values.values(), run.pk])
    return LayerRun.objects.get(pk=run.pk)


def column(name: str, run: LayerRun) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {name} FROM layer_runs_layerrun WHERE id = %s", [run.pk])
        return cursor.fetchone()[0]


def nested(depth: int) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = [value]
    return value


# --- dollars


@pytest.mark.parametrize(
    ("given", "nanos"),
    [
        (Decimal("0.1"), 100_000_000),
        ("0.1", 100_000_000),
        (0.1, 100_000_000),
        (0.1 + 0.2, 300_000_000),
        (3, 3_000_000_000),
        (0, 0),
        ("1e-9", 1),
        ("0.000000075", 75),
        (Decimal("999999.999999999"), 999_999_999_999_999),
        # Half a nano-dollar goes to the even one.
        ("0.0000000005", 0),
        ("0.0000000015", 2),
    ],
)
def test_d18_dollars_are_kept_as_whole_nano_dollars(given: Any, nanos: int) -> None:
    run = LayerRunFactory(estimated_cost_usd=given)
    assert column("estimated_cost_usd", run) == nanos
    run.refresh_from_db()
    assert run.estimated_cost_usd == Decimal(nanos).scaleb(-9)
    assert isinstance(run.estimated_cost_usd, Decimal)


def test_no_cost_is_not_a_cost_of_nothing() -> None:
    assert LayerRun.objects.get(pk=LayerRunFactory(estimated_cost_usd=None).pk).estimated_cost_usd is None


def test_d18_ten_times_ten_cents_is_a_dollar() -> None:
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(10, estimated_cost_usd=0.1))
    assert LayerRun.objects.aggregate(sum=Sum("estimated_cost_usd"))["sum"] == 1


def test_d18_a_million_times_a_millionth_is_exactly_a_dollar() -> None:
    run = LayerRunFactory()
    LlmCall.objects.bulk_create(
        LlmCallFactory.build_batch(1_000, run=run, estimated_cost_usd="0.000001"), batch_size=500
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(a.estimated_cost_usd) FROM layer_runs_llmcall a, layer_runs_llmcall b WHERE a.run_id = b.run_id"
        )
        assert UsdField().from_db_value(cursor.fetchone()[0], None, connection) == 1


@unhurried
@given(st.integers(0, 10**15 - 1))
def test_every_nano_dollar_comes_back_as_it_went(nanos: int) -> None:
    field = UsdField()
    usd = field.from_db_value(nanos, None, connection)
    assert field.get_prep_value(usd) == field.get_prep_value(str(usd)) == nanos


@unhurried
@given(st.floats(0, 999_999))
def test_a_float_is_taken_at_its_shortest_spelling(amount: float) -> None:
    assert to_usd(amount) == to_usd(repr(amount))


@pytest.mark.parametrize(
    "amount",
    ["NaN", "nan", "sNaN", "Infinity", "-inf", float("nan"), float("inf"), Decimal("NaN"), Decimal("-Infinity")],
)
def test_d16_d17_a_cost_that_is_no_finite_number_is_refused(amount: Any) -> None:
    with pytest.raises(ValueError, match="not an amount of money"):
        to_usd(amount)
    with pytest.raises(ValidationError, match="not an amount of money"):
        LayerRunFactory(estimated_cost_usd=amount)
    with pytest.raises(ValidationError):
        LayerRun.objects.update(estimated_cost_usd=amount)


@pytest.mark.parametrize(
    "amount", ["", "free", "$1", "1,5", "0x10", True, [], {}, b"1", object(), "\x00", "1e99999999999"]
)
def test_d16_a_cost_that_is_no_number_is_refused(amount: Any) -> None:
    with pytest.raises(ValidationError, match="not an amount of money"):
        UsdField().to_python(amount)


@pytest.mark.parametrize(
    "amount", [-5, "-0.000000001", MAX_USD, "1000000", 10**9, Decimal("9223372036.854775808"), 10**10, 10**18]
)
@pytest.mark.parametrize("name", ["estimated_cost_usd", "reported_cost_usd"])
def test_d17_a_cost_out_of_bounds_is_refused_by_the_database(amount: Any, name: str) -> None:
    with pytest.raises(IntegrityError, match="layerrun_cost_in_range"):
        LayerRunFactory(**{name: amount})


def test_the_largest_cost_is_a_nano_dollar_below_a_million() -> None:
    run = LayerRunFactory(estimated_cost_usd=MAX_USD - Decimal("1e-9"))
    run.refresh_from_db()
    assert str(run.estimated_cost_usd) == "999999.999999999"


@pytest.mark.parametrize("huge", [10**6, 10**10, 10**18])
def test_no_run_costs_more_than_a_bound_no_cost_can_reach(huge: int) -> None:
    run = LayerRunFactory(estimated_cost_usd="999999")
    assert not LayerRun.objects.filter(estimated_cost_usd__gte=huge)
    assert LayerRun.objects.filter(estimated_cost_usd__lt=huge, estimated_cost_usd__gt=-huge).get() == run


def test_costs_compare_and_aggregate_as_dollars() -> None:
    for cost in ("0.5", "2", "10", None):
        LayerRunFactory(estimated_cost_usd=cost)
    runs = LayerRun.objects
    assert runs.filter(estimated_cost_usd__gte="2").count() == 2
    assert runs.filter(estimated_cost_usd=Decimal("0.50")).count() == 1
    figures = runs.aggregate(
        low=Min("estimated_cost_usd"), high=Max("estimated_cost_usd"), sum=Sum("estimated_cost_usd")
    )
    assert figures == {"low": Decimal("0.5"), "high": Decimal(10), "sum": Decimal("12.5")}


def test_one_cost_is_copied_to_another_in_sql() -> None:
    run = LayerRunFactory(estimated_cost_usd="0.25")
    LayerRun.objects.update(reported_cost_usd=F("estimated_cost_usd"))
    run.refresh_from_db()
    assert run.reported_cost_usd == Decimal("0.25")


def test_a_cost_is_serialised_as_dollars() -> None:
    run = LayerRun.objects.get(pk=LayerRunFactory(estimated_cost_usd="0.1").pk)
    field = LayerRun._meta.get_field("estimated_cost_usd")
    assert field.to_python(field.value_to_string(run)) == Decimal("0.1")


# --- text

ODD_TEXT = [
    ("nul \x00 byte", "nul \ufffd byte"),
    ("lone \udcff surrogate", "lone \ufffd surrogate"),
    ("\ud83d", "\ufffd"),
    ("😀 é \u202e \u2028 \x1b", "😀 é \u202e \u2028 \x1b"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "kept"), ODD_TEXT)
def test_d10_text_is_stored_as_both_databases_can_hold_it(text: str, kept: str) -> None:
    created = LayerRunFactory(layer_name=text)
    bulk = LayerRun.objects.bulk_create([LayerRunFactory.build(layer_name=text)])[0]
    updated = LayerRunFactory()
    LayerRun.objects.filter(pk=updated.pk).update(layer_name=text)
    assert set(LayerRun.objects.values_list("layer_name", flat=True)) == {kept}
    for run in (created, bulk):
        assert run.layer_name == kept
        run.refresh_from_db()
        assert run.notes == ({} if text == kept else {"altered": {"layer_name": "replaced characters"}})


@pytest.mark.parametrize("length", [199, 200, 201, 10_000])
def test_d25_text_that_is_too_long_is_cut_with_a_mark_and_a_note(length: int) -> None:
    run = LayerRun.objects.get(pk=LayerRunFactory(layer_name="é" * length).pk)
    if length <= 200:
        assert (run.layer_name, run.notes) == ("é" * length, {})
    else:
        assert (run.layer_name, run.notes) == ("é" * 199 + "…", {"altered": {"layer_name": "cut"}})


def test_text_may_be_an_expression_of_sql() -> None:
    run = LayerRunFactory(layer_name=Value("given"))
    run.refresh_from_db()
    assert run.layer_name == "given"
    run.layer_name = Concat(F("layer_name"), Value(" again"))
    run.save()
    run.refresh_from_db()
    assert (run.layer_name, run.notes) == ("given again", {})


def test_no_text_is_the_empty_text() -> None:
    run = LayerRunFactory(model_name=None)
    assert run.model_name == ""
    run.refresh_from_db()
    assert (run.model_name, run.notes) == ("", {})


def test_several_alterations_leave_a_note_each_and_keep_the_notes_there_were() -> None:
    run = LayerRunFactory(layer_name="a\x00", model_name="m" * 201, notes={"original_id": "x/y"})
    run.refresh_from_db()
    assert run.notes == {
        "original_id": "x/y",
        "altered": {"layer_name": "replaced characters", "model_name": "cut"},
    }


@pytest.mark.parametrize("notes", [None, [], "text", {"altered": "text"}])
def test_a_note_finds_its_place_in_notes_of_any_shape(notes: Any) -> None:
    run = LayerRunFactory(layer_name="a\x00", notes=notes)
    run.refresh_from_db()
    assert run.notes["altered"] == {"layer_name": "replaced characters"}


def test_an_alteration_is_noted_even_when_only_some_fields_are_saved() -> None:
    run = LayerRunFactory()
    run.layer_name = "a\x00"
    run.save(update_fields=["layer_name"])
    run.refresh_from_db()
    assert (run.layer_name, run.notes) == ("a\ufffd", {"altered": {"layer_name": "replaced characters"}})


@unhurried
@given(st.text(st.characters() | st.sampled_from("\x00\ud800\udfff"), max_size=30), st.integers(1, 30))
def test_cleaned_text_is_clean_short_enough_and_stays_as_it_is(text: str, limit: int) -> None:
    cleaned = clean_text(text, limit)
    assert len(cleaned) <= limit
    assert clean_text(cleaned, limit) == cleaned
    assert "\x00" not in cleaned.encode().decode()


# --- JSON


@pytest.mark.parametrize(("text", "kept"), ODD_TEXT)
def test_d9_d10_json_is_stored_as_both_databases_can_hold_it(text: str, kept: str) -> None:
    errors = [{"topic": text, "error": text, "node": text, text: {text: [text]}}]
    run = LayerRunFactory(errors=errors)
    LayerRun.objects.bulk_create([LayerRunFactory.build(errors=errors)])
    LayerRun.objects.filter(pk=LayerRunFactory().pk).update(errors=errors)
    for stored in LayerRun.objects.all():
        assert stored.errors == [{"topic": kept, "error": kept, "node": kept, kept: {kept: [kept]}}]
        assert (stored.error_count, stored.error_preview, stored.error_node) == (1, kept, kept)
    run.refresh_from_db()
    assert run.notes == ({} if text == kept else {"altered": {"errors": "replaced characters"}})


def test_json_is_written_unescaped_so_that_any_reader_finds_the_text() -> None:
    run = LayerRunFactory(errors=[{"error": "Überlauf 😀"}])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM layer_runs_layerrun WHERE CAST(errors AS text) LIKE %s", ["%Überlauf 😀%"])
        assert cursor.fetchone() == (1,)
    assert LayerRun.objects.get(errors=[{"error": "Überlauf 😀"}]) == run
    assert LayerRun.objects.get(errors__0__error="Überlauf 😀") == run


@pytest.mark.parametrize(
    ("value", "kept"),
    [(float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "-inf"), (1.5, 1.5), (10**40, 10**40), (None, None)],
)
def test_d16_json_holds_no_number_that_json_does_not_know(value: Any, kept: Any) -> None:
    run = LayerRunFactory(errors=[{"error": "x", "value": value}])
    assert LayerRun.objects.get(pk=run.pk).errors == [{"error": "x", "value": kept}]


def test_d30_json_is_kept_to_so_many_levels_and_says_where_it_was_cut() -> None:
    whole, deep = LayerRunFactory(errors=nested(MAX_DEPTH)), LayerRunFactory()
    deep.errors = nested(1_100)
    deep.save()
    assert LayerRun.objects.get(pk=whole.pk).errors == nested(MAX_DEPTH)
    deep = LayerRun.objects.get(pk=deep.pk)
    assert json.dumps(deep.errors) == json.dumps(nested(MAX_DEPTH)).replace("core", "\\u2026 (nested too deeply)")
    assert (deep.error_count, deep.notes) == (1, {"altered": {"errors": "replaced characters"}})


def test_no_errors_is_the_empty_list() -> None:
    run = LayerRunFactory(errors=None)
    assert run.errors == []
    run.refresh_from_db()
    assert (run.errors, run.error_count, run.notes) == ([], 0, {})


def test_json_may_be_an_expression_of_sql() -> None:
    run = LayerRunFactory(errors=Value([{"error": "x"}], LayerRun._meta.get_field("errors")))
    run.refresh_from_db()
    assert (run.errors, run.error_count, run.error_lines.count()) == ([{"error": "x"}], 1, 1)


@unhurried
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters() | st.just("\ud800")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_cleaned_json_is_json_and_stays_as_it_is(value: Any) -> None:
    cleaned = clean_json(value)
    assert clean_json(cleaned) == cleaned
    assert json.loads(json.dumps(cleaned, ensure_ascii=False, allow_nan=False).encode()) == cleaned


# --- rows that another program wrote


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("text", "errors", "count"),
    [
        (r'[{"error": "lone \udcff", "node": "\ud83d"}]', [{"error": "lone \ufffd", "node": "\ufffd"}], 1),
        (r'[{"error": "pair \ud83d\ude00"}]', [{"error": "pair 😀"}], 1),
        (r'[{"error": "nul \u0000 byte"}]', [{"error": "nul \ufffd byte"}], 1),
        (r'"lone \udcff"', "lone \ufffd", 1),
        ('[{"error": "x", "n": 1e400}]', [{"error": "x", "n": "inf"}], 1),
        ("[" * 999 + "]" * 999, None, 1),
        ("[" + "9" * 5_000 + "]", "[" + "9" * 5_000 + "]", 1),
        ("null", None, 0),
    ],
)
def test_d9_a_foreign_row_is_read_whatever_it_holds(text: str, errors: Any, count: int) -> None:
    run = raw(errors=text)
    assert run.error_count == count == len(list(run.read_errors()))
    assert len(run.error_preview) <= 200
    assert "\x00" not in run.error_preview
    json.dumps(run.errors, ensure_ascii=False).encode()
    if errors is not None:
        assert run.errors == errors


@SQLITE_ONLY
def test_d9_a_foreign_row_with_half_a_character_shows_its_json_in_place_of_the_text() -> None:
    text = r'[{"topic": "t", "error": "lone \udcff", "node": "\ud83d"}]'
    assert (raw(errors=text).error_preview, raw(errors=text).error_node) == (text, "")


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", "boom", "[Infinity]"])
def test_a_foreign_row_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="(?i)json"):
        raw(errors=text)


# --- ids


def test_ulids_sort_by_the_millisecond_they_were_made_in(time_machine) -> None:
    made = []
    for moment in (0.001, 1.0, 1_700_000_000.0, 1_700_000_000.001, 4_000_000_000.0, 7_258_118_400.0):
        time_machine.move_to(moment)
        made.append(new_ulid())
    assert made == sorted(made)


def test_a_ulid_holds_its_millisecond_as_the_specification_says(time_machine) -> None:
    time_machine.move_to(1_469_918_176.385, tick=False)
    assert new_ulid()[:10] == "01ARYZ6S41"  # the example of github.com/ulid/spec
    assert round(time.time() * 1000) == 1_469_918_176_385


def test_ulids_do_not_repeat() -> None:
    made = {new_ulid() for _ in range(5_000)}
    assert len(made) == 5_000
    assert {len(one) for one in made} == {26}
    assert set("".join(made)) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
