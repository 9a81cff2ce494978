from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import QuerySet

from layer_runs import fingerprints
from layer_runs.management.commands import rebuild_derived
from layer_runs.models import ErrorLine, LayerRun
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db


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
    LayerRunFactory()

    assert rebuild(check=True) == "2 runs with errors checked: all error lines are right.\n"


def test_it_has_nothing_to_check_in_an_empty_database():
    assert rebuild() == "0 runs with errors checked: all error lines are right.\n"


@pytest.mark.parametrize("errors", [[{"topic": "t", "node": "n", "error": "new"}], ["new"], "new"])
def test_it_indexes_errors_that_raw_sql_wrote(errors):
    run = LayerRunFactory()
    write_errors_by_raw_sql(run, errors)

    assert rebuild() == "1 run with errors checked: the error lines of 1 were wrong and are repaired.\n"
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
        "1 run with errors checked: the error lines of 1 are wrong. Run rebuild_derived to repair them."
    )
    assert messages() == []


def test_it_goes_through_all_runs_in_batches(monkeypatch):
    monkeypatch.setattr(rebuild_derived, "BATCH", 2)
    for run in LayerRunFactory.create_batch(5):
        write_errors_by_raw_sql(run, ["boom"])

    assert rebuild() == "5 runs with errors checked: the error lines of 5 were wrong and are repaired.\n"
    assert len(messages()) == 5
