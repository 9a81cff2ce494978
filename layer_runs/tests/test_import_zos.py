from __future__ import annotations

import io
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from urllib.parse import quote

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, models
from django.db.models import Sum
from django.utils import timezone

from layer_runs import importing
from layer_runs.audit import process_owner
from layer_runs.management.commands import import_zos
from layer_runs.management.stopping import Stopping
from layer_runs.models import AuditEvent, ErrorLine, ImportLock, LayerRun, LlmCall, PruneMark, RemovedRun, RunUsage
from layer_runs.sources import zos
from layer_runs.tests.factories import LayerRunFactory
from layer_runs.tests.outside import OutsideWorld, go
from layer_runs.tests.zos_database import LAX_SCHEMA, ZosTestDatabase, invalid_utf8

ERRORS = [{"topic": "server:1:user:7", "error": "Request timed out", "node": "reflect"}]


@pytest.fixture
def database(tmp_path: Path) -> ZosTestDatabase:
    return ZosTestDatabase(tmp_path / "zos.db")


def run_import(database: object, **options: object) -> str:
    """Import, and return what was said."""
    said = io.StringIO()
    call_command("import_zos", str(database), stdout=said, **options)
    return said.getvalue()


def failing_import(database: object, **options: object) -> tuple[int, str, str]:
    """Import, and return the exit code, the summary and the last word."""
    said = io.StringIO()
    with pytest.raises(CommandError) as failure:
        call_command("import_zos", str(database), stdout=said, **options)
    return failure.value.returncode, said.getvalue(), str(failure.value)


def everything() -> list[list[tuple[object, ...]]]:
    """Return all that an import writes."""
    return [list(model.objects.order_by("pk").values_list()) for model in (LayerRun, LlmCall)] + [
        list(ErrorLine.objects.order_by("run", "position").values_list("run", "position", "topic", "node", "message")),
        sorted(used()),
    ]


USED = ("calls", "tokens_input", "tokens_output", "tokens_total", "unpriced_tokens", "estimated_cost_usd", "wasted_usd")


def used() -> list[tuple[object, ...]]:
    return list(RunUsage.objects.values_list("run", "layer_name", "model_profile", "model_name", "call_type", *USED))


def used_in(database: ZosTestDatabase) -> list[tuple[object, ...]]:
    """Another way: by SQL over the source, with dollars as whole nano-dollars."""
    rows = database.execute("""
        WITH calls AS (
            SELECT c.*, r.id AS run_id, r.layer_name, CAST(round(c.estimated_cost_usd * 1e9) AS INTEGER) AS nano,
                EXISTS (SELECT 1 FROM json_each(r.errors) AS e WHERE json_extract(e.value, '$.topic') = c.topic_key)
                AS failed
            FROM llm_calls AS c JOIN layer_runs AS r ON r.id = c.layer_run_id
        )
        SELECT run_id, layer_name, model_profile, model_name, call_type, count(*), sum(tokens_input),
            sum(tokens_output), sum(tokens_total), sum(iif(nano IS NULL, tokens_total, 0)), total(nano),
            total(iif(failed, nano, 0))
        FROM calls GROUP BY 1, 2, 3, 4, 5
    """)
    return [(*row[:-2], *(Decimal(int(nano)).scaleb(-9) for nano in row[-2:])) for row in rows]


# What runs used


@pytest.fixture
def busy(database) -> ZosTestDatabase:
    """Runs of two layers with calls of every kind: priced or not, of targets that failed or of none."""
    for layer_name in ("nightly", "hourly"):
        for failed in ("null", json.dumps([{"topic": "a", "error": "boom", "node": "n"}])):
            run_id = database.run(layer_name=layer_name, errors=failed)
            for topic, cost in product(("a", "b", None), (0.1, 0.000_000_001, None)):
                database.call(run_id, topic_key=topic, estimated_cost_usd=cost)
                database.call(run_id, topic_key=topic, estimated_cost_usd=cost, call_type="filter", model_name="small")
    database.run()
    return database


@pytest.mark.django_db
def test_it_adds_up_what_runs_used(busy):
    run_import(busy)

    assert sorted(used()) == sorted(used_in(busy))
    assert len(used()) == 8


@pytest.mark.django_db
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE llm_calls SET estimated_cost_usd = 0.5 WHERE topic_key = 'a'",
        "DELETE FROM llm_calls WHERE call_type = 'filter'",
        "DELETE FROM llm_calls WHERE layer_run_id = (SELECT min(id) FROM layer_runs)",
        "UPDATE llm_calls SET layer_run_id = (SELECT max(id) FROM layer_runs)",
        'UPDATE layer_runs SET errors = \'[{"topic": "b", "error": "boom", "node": "n"}]\'',
        "UPDATE layer_runs SET layer_name = 'weekly', started_at = '2026-11-02 10:00:00.000000'",
    ],
)
def test_it_adds_up_anew_what_a_changed_source_says(busy, sql):
    run_import(busy)
    before = used()
    busy.execute(sql)

    run_import(busy)

    assert sorted(used()) == sorted(used_in(busy)) != sorted(before)
    for usage in RunUsage.objects.select_related("run"):
        assert usage.started_at == usage.run.started_at


@pytest.mark.django_db
def test_it_adds_up_anew_what_a_run_used_that_the_source_deleted_and_whose_call_another_has_now(database):
    first, second = database.run(), database.run()
    database.call(first, "c1")
    run_import(database)
    database.execute("UPDATE llm_calls SET layer_run_id = ?", second)
    database.execute("DELETE FROM layer_runs WHERE id = ?", first)

    run_import(database)

    assert LayerRun.objects.filter(pk=first).exists()
    assert [(row[0], row[5]) for row in used()] == [(second, 1)]


# Again and again


@pytest.mark.django_db
def test_it_imports_runs_with_their_calls_and_errors(database):
    run_id = database.run("r1", errors=json.dumps(ERRORS), status="partial", targets_skipped=1)
    database.call(run_id, "c1")
    database.call(run_id, "c2", success=0, error_message="Overloaded")

    said = run_import(database)

    run = LayerRun.objects.get()
    assert (run.id, run.status, run.tokens_total, run.estimated_cost_usd) == ("r1", "partial", 1_100, Decimal("0.0045"))
    assert (run.duration_ms, run.error_count, run.error_preview) == (90_250, 1, "Request timed out")
    assert list(run.calls.order_by("id").values_list("id", "success")) == [("c1", True), ("c2", False)]
    assert [(line.topic, line.node) for line in run.error_lines.all()] == [("server:1:user:7", "reflect")]
    assert said == (
        f"{database}: 1 run read: 1 new, 0 updated, 0 unchanged, 0 odd, 0 rejected.\n"
        "2 LLM calls read, 0 calls without a run left out.\n"
    )


@pytest.mark.django_db
def test_it_doubles_nothing_when_run_again(database):
    database.runs(20, calls=3, errors=json.dumps(ERRORS))
    run_import(database)
    before = everything()

    said = run_import(database)

    assert "20 runs read: 0 new, 0 updated, 20 unchanged" in said
    assert everything() == before


@pytest.mark.django_db
def test_it_reads_an_unchanged_database_without_writing(database, django_assert_num_queries):
    database.runs(20, calls=3)
    run_import(database)

    with django_assert_num_queries(9) as queries:
        run_import(database)

    written = [query["sql"] for query in queries if query["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]
    # Who imports what, and that it ended.
    assert all("importlock" in sql or "auditevent" in sql for sql in written)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "errors", ['{"b": 1, "a": 2}', "[1e300, 1.10, 1e-300, 12345678901234567890]", '"é"', "7", "{}"]
)
def test_it_finds_errors_of_any_shape_unchanged(database, errors):
    database.run(errors=errors)
    run_import(database)

    assert "1 unchanged" in run_import(database)


@pytest.mark.django_db
def test_it_finds_odd_rows_unchanged(database):
    database.call(database.run("a/b", errors="{bad", tokens_input="lots"), latency_ms=-1)
    failing_import(database)

    code, said, _ = failing_import(database)

    assert (code, "0 updated, 1 unchanged, 1 odd" in said) == (1, True)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("layer_name", "other"),
        ("started_at", "2026-11-01 10:00:00.000001"),
        ("insights_created", 9),
        ("estimated_cost_usd", 0.0045001),
        ("errors", json.dumps(ERRORS)),
        ("model_name", None),
    ],
)
def test_it_updates_a_run_that_changed(database, column, value):
    run_id = database.run()
    untouched = database.run()
    run_import(database)
    database.change(run_id, **{column: value})

    said = run_import(database)

    assert "0 new, 1 updated, 1 unchanged" in said
    assert getattr(LayerRun.objects.get(pk=run_id), column) != getattr(LayerRun.objects.get(pk=untouched), column)
    assert ErrorLine.objects.count() == (1 if column == "errors" else 0)


@pytest.mark.django_db
def test_it_makes_the_calls_of_a_changed_run_equal_to_the_source(database):
    run_id = database.run()
    for name in ("gone", "changed", "same"):
        database.call(run_id, name)
    run_import(database)
    database.execute("DELETE FROM llm_calls WHERE id = 'gone'")
    database.execute("UPDATE llm_calls SET latency_ms = 7 WHERE id = 'changed'")
    database.call(run_id, "new")

    assert "1 updated" in run_import(database)
    assert dict(LlmCall.objects.values_list("id", "latency_ms")) == {"changed": 7, "same": 1_200, "new": 1_200}


@pytest.mark.django_db
def test_it_moves_a_call_that_belongs_to_another_run_now(database):
    first, second = database.run(), database.run()
    database.call(first, "c1")
    run_import(database)
    database.execute("UPDATE llm_calls SET layer_run_id = ?", second)

    run_import(database)

    assert list(LlmCall.objects.values_list("id", "run")) == [("c1", second)]
    assert "2 unchanged" in run_import(database)


@pytest.mark.django_db
def test_i18_it_refreshes_a_run_that_was_open(database):
    now = timezone.now()
    run_id = database.run(status="dry", completed_at=None, started_at=f"{now:%Y-%m-%d %H:%M:%S}")
    run_import(database)
    assert LayerRun.objects.get().status == "running"
    database.change(run_id, status="failed", completed_at=f"{now:%Y-%m-%d %H:%M:%S}.5")

    run_import(database)

    run = LayerRun.objects.get()
    assert (run.status, run.duration_ms, run.heartbeat_at) == ("failed", 500, None)


@pytest.mark.django_db
def test_i18_a_run_taken_for_crashed_may_still_finish(database):
    run_id = database.run(status="dry", completed_at=None)
    run_import(database)
    assert LayerRun.objects.get().status == "crashed"
    database.change(run_id, status="success", completed_at="2026-11-01 18:00:00")

    run_import(database)

    assert LayerRun.objects.get().status == "success"


@pytest.mark.django_db
def test_i28_it_keeps_a_run_that_the_source_deleted(database):
    database.run("r1")
    run_import(database)
    database.execute("DELETE FROM layer_runs")

    run_import(database)

    assert LayerRun.objects.filter(pk="r1").exists()


@pytest.mark.django_db
def test_i28_it_lists_what_the_source_deleted(database):
    kept, unreadable, odd = database.run(), database.run(), database.run("a/b")
    gone = [database.run(started_at=f"2026-11-01 10:0{n}:00") for n in (2, 1)]
    LayerRunFactory(id="of-another", source="rome")
    failing_import(database)
    database.execute("DELETE FROM layer_runs WHERE id IN (?, ?)", *gone)
    # It cannot be imported any more, but it is there.
    database.change(unreadable, started_at="not a date")

    code, said, _ = failing_import(database, report_missing=True)

    assert said.endswith(f"2 runs stored from this source and no longer in it.\n  {gone[1]}\n  {gone[0]}\n")
    assert (code, LayerRun.objects.filter(pk__in=[kept, *gone]).count()) == (1, 3)
    assert LayerRun.objects.filter(notes__original_id=odd).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("dry_run", [False, True])
def test_i28_it_lists_the_missing_runs_of_its_own_source_only(database, dry_run):
    for source in ("paris", "rome"):
        database.execute("DELETE FROM layer_runs")
        database.run(f"of-{source}")
        run_import(database, source=source)
    database.execute("DELETE FROM layer_runs")

    said = run_import(database, source="paris", report_missing=True, dry_run=dry_run)

    assert said.endswith("1 run stored from this source and no longer in it.\n  paris:of-paris\n")


@pytest.mark.django_db
def test_i28_it_says_so_where_nothing_is_missing(database):
    database.run()

    assert run_import(database, report_missing=True).endswith("0 runs stored from this source and no longer in it.\n")


@pytest.mark.django_db
def test_i28_what_was_not_read_to_its_end_is_not_said_to_miss_anything(database, monkeypatch):
    database.runs(20)
    run_import(database)
    database.change("run00001", insights_created=3)
    monkeypatch.setattr(zos, "BATCH", 5)
    monkeypatch.setattr(import_zos, "write", signalling(signal.SIGTERM))

    _, said, _ = failing_import(database, report_missing=True)

    assert said.endswith("What its source has no more cannot be said: it was not read to its end.\n")


@pytest.mark.django_db
def test_i29_it_stores_what_the_run_claimed_beside_what_its_calls_cost(database):
    run_id = database.run(estimated_cost_usd=0.5, tokens_total=1)
    database.call(run_id)

    run_import(database)

    run = LayerRun.objects.get()
    assert (run.estimated_cost_usd, run.reported_cost_usd) == (Decimal("0.00225"), Decimal("0.5"))
    assert (run.tokens_total, run.reported_tokens_total) == (550, 1)


@pytest.mark.django_db
def test_it_keeps_the_runs_of_two_instances_apart(tmp_path):
    for name in ("paris", "rome"):
        database = ZosTestDatabase(tmp_path / f"{name}.db")
        database.call(database.run("r1", layer_name=name), "c1")
        run_import(database, source=name)

    assert list(LayerRun.objects.order_by("id").values_list("id", "source", "layer_name")) == [
        ("paris:r1", "paris", "paris"),
        ("rome:r1", "rome", "rome"),
    ]
    assert set(LlmCall.objects.values_list("id", "run")) == {("paris:c1", "paris:r1"), ("rome:c1", "rome:r1")}


@pytest.mark.django_db
def test_it_leaves_calls_without_a_run_out_and_counts_them(database):
    database.call(None)
    database.call("gone")

    assert "0 LLM calls read, 2 calls without a run left out." in run_import(database)
    assert not LlmCall.objects.exists()


@pytest.mark.django_db
def test_i30_it_imports_an_empty_database(database):
    assert "0 runs read: 0 new, 0 updated, 0 unchanged" in run_import(database)


@pytest.mark.django_db
def test_i15_a_time_without_a_zone_is_utc_wherever_the_site_is(database, settings):
    settings.TIME_ZONE = "America/New_York"
    # There, clocks go back at 06:00 UTC: 40 minutes would become 100 one way, 75 would become 15 the other.
    database.run("short", started_at="2026-11-01 05:30:00", completed_at="2026-11-01 06:10:00")
    database.run("long", started_at="2026-11-01 05:30:00", completed_at="2026-11-01 06:45:00")
    database.run("spring", started_at="2026-03-08 02:30:00", completed_at="2026-03-08 07:10:00")

    run_import(database)

    assert dict(LayerRun.objects.values_list("pk", "duration_ms")) == {
        "short": 40 * 60_000,
        "long": 75 * 60_000,
        "spring": 280 * 60_000,
    }


# What was deleted or pruned here


def mark(database: ZosTestDatabase, before: str, failures_before: str = "2020-01-01", source: str = "") -> None:
    PruneMark.objects.create(
        source=source,
        before=datetime.fromisoformat(f"{before}T00:00:00+00:00"),
        failures_before=datetime.fromisoformat(f"{failures_before}T00:00:00+00:00"),
    )


@pytest.mark.django_db
@pytest.mark.parametrize("one_by_one", [True, False])
def test_it_does_not_bring_a_deleted_run_back(database, one_by_one):
    deleted, kept = database.run(), database.run()
    run_import(database)
    run = LayerRun.objects.get(pk=deleted)
    run.delete() if one_by_one else LayerRun.objects.filter(pk=deleted).delete()

    said = run_import(database)

    assert "2 runs read: 0 new, 0 updated, 1 unchanged" in said
    assert "\n1 pruned or deleted here left out; --bring-back imports them.\n" in said
    assert LayerRun.objects.get().pk == kept


@pytest.mark.django_db
def test_it_does_not_bring_a_pruned_run_back(database):
    for day in range(1, 10):
        database.call(database.run(f"run{day}", started_at=f"2026-10-{day:02} 10:00:00"))
    run_import(database)
    call_command("prune_layer_runs", "--keep=1h", "--keep-last=3", stdout=io.StringIO())
    left = {"run7", "run8", "run9"}
    assert set(LayerRun.objects.values_list("pk", flat=True)) == left

    said = run_import(database)

    assert "9 runs read: 0 new, 0 updated, 3 unchanged" in said
    assert "\n6 pruned or deleted here left out; --bring-back imports them.\n" in said
    assert set(LlmCall.objects.values_list("run", flat=True)) == left


@pytest.mark.django_db
def test_a_mark_keeps_away_what_started_before_it_and_failures_only_before_their_own(database):
    mark(database, "2026-10-10", "2026-10-05")
    expected = set()
    for status in ("success", "dry", "paused", "failed", "partial"):
        for moment in ("2026-10-04 23:59:59.999999", "2026-10-05 00:00:00", "2026-10-09 23:59:59.999999", "2026-10-10"):
            run_id = database.run(started_at=moment, status=status)
            if moment >= ("2026-10-05" if status in ("failed", "partial") else "2026-10-10"):
                expected.add(run_id)
    # Without an end and so long without a sign of life, it has crashed, which is a failure.
    expected.add(database.run(started_at="2026-10-06 00:00:00", status="dry", completed_at=None))

    said = run_import(database)

    assert set(LayerRun.objects.values_list("pk", flat=True)) == expected
    assert f"\n{21 - len(expected)} pruned or deleted here left out" in said


@pytest.mark.django_db
def test_a_mark_is_of_one_source(database):
    mark(database, "2027-01-01", "2027-01-01", source="rome")
    database.run()

    assert "1 new" in run_import(database, source="paris")
    assert "0 new" in run_import(database, source="rome")


@pytest.mark.django_db
def test_a_run_that_is_still_running_comes_in_however_far_back_it_began(database, settings):
    settings.LAYER_RUNS = {"CRASHED_AFTER": timedelta(days=3650)}
    mark(database, "2027-01-01", "2027-01-01")
    database.run(status="dry", completed_at=None)

    assert "1 new" in run_import(database)
    assert LayerRun.objects.get().status == "running"


@pytest.mark.django_db
def test_a_run_older_than_the_mark_goes_on_being_updated_while_it_is_stored(database):
    run_id = database.run()
    run_import(database)
    mark(database, "2027-01-01", "2027-01-01")
    database.change(run_id, insights_created=3)

    assert "0 new, 1 updated" in run_import(database)
    assert LayerRun.objects.get().insights_created == 3


@pytest.mark.django_db
def test_i30_a_dry_run_counts_what_is_left_out_as_well(database):
    database.run()
    mark(database, "2027-01-01", "2027-01-01")

    said = run_import(database, dry_run=True)

    assert "1 run read: 0 would be new" in said
    assert "\n1 pruned or deleted here left out" in said


@pytest.mark.django_db
def test_what_is_left_out_is_not_called_odd(database):
    database.run("odd", tokens_total="lots")
    failing_import(database)
    LayerRun.objects.all().delete()

    assert "0 odd, 0 rejected" in run_import(database)


@pytest.mark.django_db
def test_it_brings_back_what_was_deleted_and_pruned_if_told_to(database):
    deleted, pruned = database.run(), database.run(started_at="2026-09-01 10:00:00")
    for run_id in (deleted, pruned):
        database.call(run_id)
    run_import(database)
    before = everything()
    LayerRun.objects.get(pk=deleted).delete()
    LayerRun.objects.get(pk=pruned).delete()
    RemovedRun.objects.filter(pk=pruned).delete()
    mark(database, "2026-10-01", "2026-10-01")
    assert "2 pruned or deleted here left out" in run_import(database)
    assert "2 would be new" in run_import(database, bring_back=True, dry_run=True)
    assert RemovedRun.objects.exists()

    assert "2 runs read: 2 new" in run_import(database, bring_back=True)

    assert everything() == before
    assert not RemovedRun.objects.exists()
    # From now on they are stored like any other.
    said = run_import(database)
    assert ("2 unchanged" in said, "left out;" in said) == (True, False)


@pytest.mark.django_db
def test_a_run_deleted_between_the_comparison_and_the_writing_stays_deleted(database, monkeypatch):
    gone, changed = database.run(), database.run()
    run_import(database)
    for run_id in (gone, changed):
        database.change(run_id, insights_created=3)

    def delete_first(difference: importing.Difference) -> None:
        LayerRun.objects.get(pk=gone).delete()
        importing.write(difference)

    monkeypatch.setattr(import_zos, "write", delete_first)

    said = run_import(database)

    assert "0 new, 1 updated, 0 unchanged" in said
    assert "\n1 pruned or deleted here left out" in said
    assert list(LayerRun.objects.values_list("pk", "insights_created")) == [(changed, 3)]


# The trail


@pytest.mark.django_db
@pytest.mark.parametrize(("source", "name"), [("", "default"), ("paris", "paris")])
def test_it_leaves_a_trail(database, source, name):
    changed = database.run()
    run_import(database, source=source)
    database.change(changed, insights_created=3)
    database.runs(2)
    run_import(database, source=source)
    run_import(database, source=source)

    events = AuditEvent.objects.order_by("id").values_list("action", "actor", "what", "runs")
    assert list(events) == [("import", process_owner(), f"{name}: {database}", runs) for runs in (1, 3, 0)]


@pytest.mark.django_db
def test_a_dry_run_leaves_none(database):
    database.run()
    run_import(database, dry_run=True)
    failing_import("nowhere.db", dry_run=True)

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_the_trail_says_in_words_what_ended_an_import_early_and_has_no_number_for_it(database, monkeypatch):
    failing_import("nowhere.db")
    monkeypatch.setattr(zos, "BATCH", 5)
    database.runs(20)
    with monkeypatch.context() as patch:
        patch.setattr(import_zos, "write", signalling(signal.SIGTERM))
        failing_import(database)

    assert list(AuditEvent.objects.order_by("id").values_list("what", "runs")) == [
        ("default: nowhere.db (after 0 runs: There is no file nowhere.db.)", None),
        (f"default: {database} (after 5 runs: stopped by SIGTERM)", None),
    ]


@pytest.mark.django_db
def test_an_import_that_did_not_begin_since_another_runs_leaves_none(database):
    lock_of()
    failing_import(database)

    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_an_import_that_was_cut_off_is_in_the_trail_without_a_number(database, monkeypatch):
    database.run()

    def be_killed(difference: importing.Difference) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_zos, "write", be_killed)
    with pytest.raises(KeyboardInterrupt):
        run_import(database)

    assert list(AuditEvent.objects.values_list("what", "runs")) == [(f"default: {database}", None)]


@pytest.mark.django_db
def test_what_leaves_no_trail_is_not_done(database, monkeypatch):
    database.run()

    def fail(*arguments: object, **options: object) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(import_zos, "record", fail)
    with pytest.raises(OperationalError):
        run_import(database)

    assert not LayerRun.objects.exists()
    assert not ImportLock.objects.exists()


# Odd and rejected rows


@pytest.mark.django_db
def test_i24_it_imports_odd_rows_with_a_note_and_all_others_as_they_are(database):
    fine = database.run()
    database.run("tokens", tokens_total="lots")
    database.run("name")
    database.execute(f"UPDATE layer_runs SET layer_name = {invalid_utf8(b'caf' + bytes([0xE9]))} WHERE id = 'name'")
    database.run("json", errors="{bad json")
    database.run("date", completed_at="not a date")
    database.run("blob", layer_name=b"\x01\x02")
    database.run("cost", estimated_cost_usd=9e999)
    database.run("start", started_at="not a date")

    code, said, last_word = failing_import(database)

    assert code == 1
    assert "8 runs read: 7 new, 0 updated, 0 unchanged, 6 odd, 1 rejected." in said
    assert (
        "Odd, stored with a note on what could not be kept:\n"
        "  tokens: tokens_total could not be read: “lots”\n"
        "  name: layer_name could not be kept as it came: replaced characters\n"
        "  json: errors could not be read: “{bad json”\n"
    ) in said
    assert "Rejected, not stored:\n  start: its start is unreadable: not a date\n" in said
    assert "Not every run could be imported as it was" in last_word
    assert LayerRun.objects.exclude(notes={}).count() == 6
    assert LayerRun.objects.get(notes={}).id == fine
    assert LayerRun.objects.get(pk="json").notes == {"nulled": {"errors": "{bad json"}}


@pytest.mark.django_db
def test_d26_it_says_what_was_odd_in_a_run_on_one_line(database):
    database.run("r1", layer_name=b"\x01", tokens_input="lots", tokens_output="a\nb\x1b[2J", completed_at="late")
    database.run("r2", tokens_output="a\nb\x1b[2J")

    _, said, _ = failing_import(database)

    assert (
        "  r1: layer_name could not be read: “1 bytes: b'\\x01'”; completed_at could not be read: “late”; and 2 more\n"
        "  r2: tokens_output could not be read: “a b\\x1b[2J”\n"
    ) in said


@pytest.mark.django_db
def test_it_refuses_the_source_of_the_demo_runs(database):
    database.run()

    code, said, last_word = failing_import(database, source="demo")

    assert (code, said, LayerRun.objects.count()) == (2, "", 0)
    assert last_word == "demo is the source of the invented runs of seed_demo_runs: choose another name."


@pytest.mark.django_db
def test_it_names_the_first_twenty_odd_runs(database):
    database.runs(25, tokens_total=-1)

    _, said, _ = failing_import(database)

    assert said.count("\n  run") == 20
    assert said.endswith("  and 5 more\n")


@pytest.mark.django_db
def test_it_rejects_a_second_row_with_the_same_id(tmp_path):
    database = ZosTestDatabase(tmp_path / "zos.db", LAX_SCHEMA)
    database.run("r1", insights_created=1)
    database.run("r1", insights_created=2)

    code, said, _ = failing_import(database)

    assert (code, "r1: another row has the same id" in said) == (1, True)
    assert LayerRun.objects.get().insights_created == 1


@pytest.mark.django_db
def test_it_writes_a_call_that_two_runs_claim_once(tmp_path):
    database = ZosTestDatabase(tmp_path / "zos.db", LAX_SCHEMA)
    for _ in range(2):
        database.call(database.run(), "c1")

    run_import(database)

    assert LlmCall.objects.count() == 1


# Files that cannot be read


@pytest.mark.django_db
def test_i22_it_exits_2_for_a_wrong_path(tmp_path):
    code, said, last_word = failing_import(tmp_path / "nowhere.db")

    assert (code, said, last_word) == (2, "", f"There is no file {tmp_path / 'nowhere.db'}.")
    assert list(tmp_path.iterdir()) == []
    assert not ImportLock.objects.exists()


@pytest.mark.django_db
def test_i25_it_exits_2_for_a_missing_table(database):
    database.execute("DROP TABLE llm_calls")

    code, _, last_word = failing_import(database)

    assert (code, last_word) == (2, f"{database} is no Zos database: it has no table llm_calls.")


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["a/b", "a:b", "x" * 31, "é"])
def test_it_exits_2_for_a_source_that_cannot_be_part_of_an_id(database, name):
    code, _, last_word = failing_import(database, source=name)

    assert (code, last_word[: len(name)]) == (2, name)


@pytest.mark.django_db
def test_i23_what_was_imported_before_the_damage_stays(database, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 100)
    database.runs(1_200)
    database.damage(database.path.stat().st_size * 6 // 10)

    code, said, last_word = failing_import(database)

    kept = LayerRun.objects.count()
    assert code == 2
    assert 100 <= kept < 1_200 and kept % 100 == 0
    assert f"{kept} new" in said or f"{kept:,} new" in said
    assert f"disk image is malformed. {kept} runs imported before that stay." in last_word
    assert not ImportLock.objects.exists()


# Dry runs, terminals and signals


@pytest.mark.django_db
def test_i30_a_dry_run_writes_nothing_and_says_what_would_happen(database, django_assert_num_queries):
    changed = database.run()
    run_import(database)
    database.change(changed, insights_created=3)
    database.call(database.run())
    before = everything()

    with django_assert_num_queries(4) as queries:
        said = run_import(database, dry_run=True)

    assert all(query["sql"].startswith("SELECT") for query in queries)
    assert everything() == before
    assert said.startswith("A dry run: nothing was written.\n")
    assert "2 runs read: 1 would be new, 1 would be updated, 0 unchanged" in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.django_db
def test_it_draws_its_progress_on_a_terminal(database, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 5)
    database.runs(10)
    terminal = Terminal()

    call_command("import_zos", str(database), stdout=io.StringIO(), stderr=terminal)

    half, whole = "#" * 15 + " " * 15, "#" * 30
    assert terminal.getvalue() == f"\r[{half}] 5 of 10 runs\r[{whole}] 10 of 10 runs\n"


@pytest.mark.django_db
def test_it_draws_no_progress_into_a_file(database):
    database.runs(2)
    log = io.StringIO()

    call_command("import_zos", str(database), stdout=io.StringIO(), stderr=log)

    assert log.getvalue() == ""


def signalling(*numbers: int) -> Callable[[importing.Difference], None]:
    """Return a `write` during which these signals arrive."""

    def write(difference: importing.Difference) -> None:
        importing.write(difference)
        for number in numbers:
            os.kill(os.getpid(), number)

    return write


@pytest.mark.django_db
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_i30_a_signal_ends_it_after_the_batch_in_hand(database, monkeypatch, number, code):
    monkeypatch.setattr(zos, "BATCH", 5)
    monkeypatch.setattr(import_zos, "write", signalling(number))
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    database.runs(20)

    returned, said, last_word = failing_import(database)

    assert (returned, last_word) == (code, f"Stopped by {signal.Signals(number).name}. Run it again to go on.")
    assert "5 runs read: 5 new" in said
    assert "0 LLM calls read.\n" in said
    assert LayerRun.objects.count() == 5
    assert not ImportLock.objects.exists()
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


@pytest.mark.django_db
def test_i30_a_second_signal_rolls_the_batch_in_hand_back(database, monkeypatch):
    monkeypatch.setattr(import_zos, "write", signalling(signal.SIGINT, signal.SIGINT))
    database.runs(5)

    with pytest.raises(KeyboardInterrupt):
        run_import(database)

    assert not LayerRun.objects.exists()
    assert not ImportLock.objects.exists()


@pytest.mark.django_db
def test_it_works_where_signals_cannot_be_heard(database):
    stopping = Stopping()
    entered = []

    def listen() -> None:
        with stopping.listening():
            entered.append(True)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()

    assert entered == [True]


@pytest.mark.django_db
def test_it_writes_nothing_of_a_batch_that_fails(database, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 5)
    database.runs(10, calls=1, errors=json.dumps(ERRORS))
    upsert = importing._upsert

    def fail_in_the_second_batch(*arguments: object) -> None:
        upsert(*arguments)
        if LayerRun.objects.count() > 5:
            raise RuntimeError("the disk is full")

    monkeypatch.setattr(importing, "_upsert", fail_in_the_second_batch)

    with pytest.raises(RuntimeError):
        run_import(database)

    assert (LayerRun.objects.count(), LlmCall.objects.count(), ErrorLine.objects.count()) == (5, 5, 5)
    assert RunUsage.objects.count() == 5


# One importer at a time


def lock_of(*, ago: timedelta = timedelta(0), source: str = "", host: str = "", pid: int = 0) -> ImportLock:
    moment = timezone.now() - ago
    return ImportLock.objects.create(
        source=source,
        host=host or socket.gethostname(),
        pid=pid or os.getppid(),
        taken_at=moment,
        beat_at=moment,
    )


def pid_of_the_dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.django_db
@pytest.mark.parametrize("host", ["", "elsewhere"])
def test_i27_it_exits_3_while_another_import_is_running(database, host):
    database.run()
    lock = lock_of(host=host)

    code, said, last_word = failing_import(database)

    assert (code, said) == (3, "")
    assert f"Another import of this source is running: process {lock.pid} on {lock.host}, since" in last_word
    assert not LayerRun.objects.exists()
    assert ImportLock.objects.count() == 1


@pytest.mark.django_db
def test_i27_a_process_of_another_user_is_alive(database, monkeypatch):
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    lock_of()

    assert failing_import(database)[0] == 3


@pytest.mark.django_db
def test_i27_it_takes_over_from_a_dead_process(database):
    database.run()
    lock_of(pid=pid_of_the_dead())

    assert "1 new" in run_import(database)
    assert not ImportLock.objects.exists()


@pytest.mark.django_db
def test_i27_it_takes_over_from_one_that_gave_no_sign_of_life_for_ten_minutes(database):
    database.run()
    lock_of(host="elsewhere", ago=timedelta(minutes=10, seconds=1))

    assert "1 new" in run_import(database)


@pytest.mark.django_db
def test_i27_it_leaves_one_that_gave_a_sign_of_life_within_ten_minutes(database):
    lock_of(host="elsewhere", ago=timedelta(minutes=9, seconds=50))

    assert failing_import(database)[0] == 3


@pytest.mark.django_db
def test_i27_another_source_does_not_wait(database):
    database.run()
    lock_of(source="rome")

    assert "1 new" in run_import(database, source="paris")


@pytest.mark.django_db
def test_i27_the_slower_of_two_that_saw_no_lock_gives_way(database, monkeypatch):
    lock_of()
    monkeypatch.setattr(models.QuerySet, "first", lambda self: None)

    code, _, last_word = failing_import(database)

    assert (code, last_word) == (3, "Another import of this source has just begun.")


@pytest.mark.django_db
def test_i27_one_that_was_replaced_writes_nothing_more(database, monkeypatch):
    monkeypatch.setattr(zos, "BATCH", 5)
    database.runs(10)

    def write_and_lose_the_lock(difference: importing.Difference) -> None:
        importing.write(difference)
        ImportLock.objects.update(pid=1)

    monkeypatch.setattr(import_zos, "write", write_and_lose_the_lock)

    code, _, last_word = failing_import(database)

    assert (code, LayerRun.objects.count()) == (3, 5)
    assert last_word.endswith("5 runs imported before that stay.")
    assert ImportLock.objects.get().pid == 1


@pytest.mark.django_db
def test_i27_it_shows_that_it_is_alive_while_it_has_nothing_to_write(database, monkeypatch):
    database.run()
    run_import(database)
    monkeypatch.setattr(import_zos, "BEAT_EVERY", timedelta(0))
    beats = []
    beat = importing.Importing.beat
    monkeypatch.setattr(importing.Importing, "beat", lambda self, **every: beats.append(every) or beat(self, **every))

    run_import(database)

    assert beats == [{"every": timedelta(0)}]


# Other processes


@pytest.fixture
def outside(transactional_db: None, tmp_path: Path) -> Iterator[OutsideWorld]:
    world = OutsideWorld(tmp_path / "copy.sqlite3")
    world.send()
    yield world


def test_i19_killed_at_any_moment_it_ends_with_all_runs_when_run_again(database, outside):
    database.runs(2_000, calls=2, errors=json.dumps(ERRORS))
    for kill in range(3):
        process = outside.start("import_zos", str(database))
        before = outside.count_runs()
        go(process)
        while outside.count_runs() == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.random() / 5)  # noqa: S311
        process.kill()
        process.communicate()
        assert outside.count_runs() % 500 == 0, f"kill {kill} left half a batch"

    process = outside.start("import_zos", str(database))
    said, complaint = process.communicate("go\n")

    assert (process.returncode, "Traceback" in complaint) == (0, False), complaint
    assert "2,000 runs read" in said
    outside.fetch()
    assert (LayerRun.objects.count(), LlmCall.objects.count(), ErrorLine.objects.count()) == (2_000, 4_000, 2_000)
    trail = list(AuditEvent.objects.order_by("id").values_list("runs", flat=True))
    assert (trail[0], trail[-1] is None, len(trail)) == (None, False, 4), "a killed import has no number"
    assert "2,000 unchanged" in run_import(database)


def test_i27_of_two_importers_started_together_one_wins(database, outside):
    # So many that the first is still at it when a busy machine gets round to the second.
    database.runs(5_000, calls=2)

    processes = [outside.start("import_zos", str(database)) for _ in range(2)]
    for process in processes:
        go(process)
    complaints = [process.communicate()[1] for process in processes]

    assert sorted(process.returncode for process in processes) == [0, 3], complaints
    outside.fetch()
    assert (LayerRun.objects.count(), LlmCall.objects.count()) == (5_000, 10_000)
    assert not ImportLock.objects.exists()


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint = 0")
connection.execute("UPDATE layer_runs SET status = 'failed', completed_at = '2026-11-01 10:05:00'")
connection.execute("BEGIN")
connection.execute("UPDATE layer_runs SET status = 'success'")
print("ready", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@pytest.mark.django_db
def test_i26_it_reads_what_another_process_committed_and_waits_for_nothing_else(tmp_path):
    database = ZosTestDatabase(tmp_path / "zos.db", wal=True)
    database.run("r1", status="dry", completed_at=None)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "ready\n"

    run_import(database)
    assert LayerRun.objects.get().status == "failed"

    writer.communicate("\n")
    run_import(database)
    assert LayerRun.objects.get().status == "success"


# Real data


@pytest.mark.django_db
def test_it_agrees_with_plain_sql_on_a_real_database():
    path = os.environ.get("ZOS_SAMPLE_DB", "")
    if not path:
        pytest.skip("ZOS_SAMPLE_DB names no real Zos database to compare with")
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as source:
        (runs, insights), (calls, tokens), (callless_tokens,) = (
            source.execute(sql).fetchone()
            for sql in (
                "SELECT count(*), sum(insights_created) FROM layer_runs",
                "SELECT count(*), sum(tokens_total) FROM llm_calls WHERE layer_run_id IN (SELECT id FROM layer_runs)",
                "SELECT coalesce(sum(tokens_total), 0) FROM layer_runs WHERE id NOT IN"
                " (SELECT layer_run_id FROM llm_calls WHERE layer_run_id IS NOT NULL)",
            )
        )
        statuses = dict(
            source.execute(
                "SELECT CASE WHEN status = 'dry' AND completed_at IS NULL THEN 'open' ELSE status END, count(*)"
                " FROM layer_runs GROUP BY 1"
            )
        )
        cost = sum(
            Decimal(str(cost))
            for (cost,) in source.execute(
                "SELECT estimated_cost_usd FROM llm_calls WHERE layer_run_id IN (SELECT id FROM layer_runs)"
                " UNION ALL SELECT estimated_cost_usd FROM layer_runs WHERE id NOT IN"
                " (SELECT layer_run_id FROM llm_calls WHERE layer_run_id IS NOT NULL)"
            )
            if cost is not None
        )

    said = run_import(path)

    assert f"{runs:,} runs read: {runs:,} new" in said
    assert LlmCall.objects.count() == calls
    sums = LayerRun.objects.aggregate(
        insights=Sum("insights_created"), tokens=Sum("tokens_total"), cost=Sum("estimated_cost_usd")
    )
    # A float of the source is kept to the nano-dollar, so thousands of them may differ by a few.
    assert abs(sums.pop("cost") - cost) < Decimal("0.000001")
    assert sums == {"insights": insights, "tokens": tokens + callless_tokens}
    found = dict(LayerRun.objects.values_list("status").annotate(number=models.Count("pk")))
    assert found.pop("running", 0) + found.pop("crashed", 0) == statuses.pop("open", 0)
    assert found == statuses
    assert f"{runs:,} unchanged" in run_import(path)
