from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import QuerySet

from layer_runs import fingerprints
from layer_runs.management.commands import rebuild_derived
from layer_runs.models import ErrorLine, LayerRun, LlmCall, RunUsage
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = pytest.mark.django_db
NO_CALLS = "0 runs with LLM calls checked: all usage is right.\n"
NO_ERRORS = "0 runs with errors checked: all error lines are right.\n"


def rebuild(**options: object) -> str:
    said = io.StringIO()
    call_command("rebuild_derived", stdout=said, **options)
    return said.getvalue()


def write_errors_by_raw_sql(run: LayerRun, errors: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {LayerRun._meta.db_table} SET errors = %s WHERE id = %s", [json.dumps(errors), run.pk])


def messages() -> list[tuple[str, int, str]]:
    return list(ErrorLine.objects.order_by("run", "position").values_list("run", "position", "message"))


def test_it_finds_nothing_wrong_with_what_django_wrote():
    LayerRunFactory(failing=True)
    LayerRunFactory(errors=["\0" + "x" * 5_000, {"error": "e", "topic": "t" * 400, "node": "n" * 300}, None])
    LlmCallFactory.create_batch(2, run=LayerRunFactory())

    assert rebuild(check=True) == (
        "2 runs with errors checked: all error lines are right.\n1 run with LLM calls checked: all usage is right.\n"
    )


def test_it_has_nothing_to_check_in_an_empty_database():
    assert rebuild() == NO_ERRORS + NO_CALLS


@pytest.mark.parametrize("errors", [[{"topic": "t", "node": "n", "error": "new"}], ["new"], "new"])
def test_it_indexes_errors_that_raw_sql_wrote(errors):
    run = LayerRunFactory()
    write_errors_by_raw_sql(run, errors)

    assert rebuild() == "1 run with errors checked: the error lines of 1 were wrong and are repaired.\n" + NO_CALLS
    assert messages() == [(run.pk, 0, "new")]
    assert "all error lines are right" in rebuild()


def test_it_drops_the_lines_of_errors_that_raw_sql_removed():
    run = LayerRunFactory(errors=["old"])
    write_errors_by_raw_sql(run, [])

    rebuild()

    assert messages() == []


def test_it_follows_a_start_that_raw_sql_moved():
    run = LayerRunFactory(errors=["boom"])
    moved = run.started_at.replace(microsecond=7)
    QuerySet.update(LayerRun.objects.filter(pk=run.pk), started_at=moved)  # As Django would, without our index.

    rebuild()

    assert ErrorLine.objects.get().started_at == moved


def test_it_rewrites_lines_that_an_older_rule_made(monkeypatch):
    LayerRunFactory(errors=["boom"])
    monkeypatch.setattr(fingerprints, "VERSION", fingerprints.VERSION + 1)

    rebuild()

    assert ErrorLine.objects.get().fingerprint.startswith(f"{fingerprints.VERSION}-")


def test_it_leaves_runs_that_are_right_alone():
    LayerRunFactory(errors=["right"])
    before = ErrorLine.objects.get().pk
    write_errors_by_raw_sql(LayerRunFactory(), ["wrong"])

    rebuild()

    assert ErrorLine.objects.filter(pk=before, message="right").exists()


def test_a_check_changes_nothing_and_exits_1():
    write_errors_by_raw_sql(LayerRunFactory(), ["boom"])

    with pytest.raises(CommandError) as failure:
        rebuild(check=True)

    assert failure.value.returncode == 1
    assert str(failure.value) == (
        f"1 run with errors checked: the error lines of 1 are wrong. {NO_CALLS.strip()}"
        " Run rebuild_derived to repair them."
    )
    assert messages() == []


def test_it_goes_through_all_runs_in_batches(monkeypatch):
    monkeypatch.setattr(rebuild_derived, "BATCH", 2)
    for run in LayerRunFactory.create_batch(5):
        write_errors_by_raw_sql(run, ["boom"])

    assert rebuild() == "5 runs with errors checked: the error lines of 5 were wrong and are repaired.\n" + NO_CALLS
    assert len(messages()) == 5


# --- usage


def by_raw_sql(sql: str, *parameters: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def used() -> list[tuple[object, ...]]:
    return list(RunUsage.objects.order_by("run", "call_type").values_list("run", "call_type", "calls", "tokens_total"))


SPOILED = {
    "missing": "DELETE FROM layer_runs_runusage WHERE run_id = 'spoiled'",
    "missing for one purpose": "DELETE FROM layer_runs_runusage WHERE run_id = 'spoiled' AND call_type = 'filter'",
    "of a call that is gone": "DELETE FROM layer_runs_llmcall WHERE id = 'last'",
    "of calls that are gone": "DELETE FROM layer_runs_llmcall WHERE run_id = 'spoiled'",
    "of another figure": "UPDATE layer_runs_llmcall SET tokens_total = 7 WHERE id = 'last'",
    "of another price": "UPDATE layer_runs_llmcall SET estimated_cost_usd = NULL WHERE id = 'last'",
    "of another purpose": "UPDATE layer_runs_llmcall SET call_type = 'vision' WHERE id = 'last'",
    "of another target": "UPDATE layer_runs_llmcall SET topic = 'failed' WHERE id = 'last'",
    "of another layer": "UPDATE layer_runs_layerrun SET layer_name = 'hourly' WHERE id = 'spoiled'",
    "edited": "UPDATE layer_runs_runusage SET calls = 5 WHERE run_id = 'spoiled'",
}


@pytest.mark.parametrize("sql", SPOILED.values(), ids=SPOILED)
def test_it_finds_and_repairs_usage_that_raw_sql_made_wrong(sql):
    LlmCallFactory(run=LayerRunFactory(id="right"), topic="failed")
    run = LayerRunFactory(id="spoiled", errors=[{"topic": "failed", "error": "boom"}])
    LlmCallFactory.create_batch(2, run=run, topic="done")
    LlmCallFactory(id="last", run=run, topic="done", call_type="filter")
    right = RunUsage.objects.get(run="right").pk
    by_raw_sql(sql)

    with pytest.raises(CommandError) as failure:
        rebuild(check=True)
    assert "2 runs with LLM calls checked: the usage of 1 is wrong. Run rebuild_derived" in str(failure.value)
    assert failure.value.returncode == 1
    assert "2 runs with LLM calls checked: the usage of 1 was wrong and is repaired.\n" in rebuild()

    stored = list(RunUsage.objects.order_by("run", "call_type").values())
    for call in LlmCall.objects.all():
        call.save()
    anew = list(RunUsage.objects.order_by("run", "call_type").values())
    assert [row | {"id": 0} for row in stored] == [row | {"id": 0} for row in anew]
    assert stored[0]["id"] == right
    assert "all usage is right" in rebuild(check=True)


def test_it_repairs_what_was_wasted_with_the_errors_it_follows_from():
    run = LayerRunFactory()
    LlmCallFactory(run=run, topic="failed", estimated_cost_usd="0.25")
    write_errors_by_raw_sql(run, [{"topic": "failed", "error": "boom"}])

    assert rebuild() == (
        "1 run with errors checked: the error lines of 1 were wrong and are repaired.\n"
        "1 run with LLM calls checked: the usage of 1 was wrong and is repaired.\n"
    )
    assert str(RunUsage.objects.get().wasted_usd) == "0.250000000"


def test_a_check_of_usage_changes_nothing():
    LlmCallFactory()
    by_raw_sql("UPDATE layer_runs_runusage SET calls = 5")

    with pytest.raises(CommandError, match="the usage of 1 is wrong"):
        rebuild(check=True)

    assert RunUsage.objects.get().calls == 5


def test_it_adds_up_calls_that_a_foreign_program_wrote_in_batches(monkeypatch):
    monkeypatch.setattr(rebuild_derived, "BATCH", 2)
    calls = [LlmCallFactory.build(run=run, tokens_total=7) for run in LayerRunFactory.create_batch(5)]
    QuerySet(LlmCall).bulk_create(calls)

    assert rebuild() == NO_ERRORS + "5 runs with LLM calls checked: the usage of 5 was wrong and is repaired.\n"
    assert used() == sorted((call.run_id, "reflection", 1, 7) for call in calls)
