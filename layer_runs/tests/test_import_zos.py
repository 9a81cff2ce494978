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
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.db.models import Sum
from django.utils import timezone

from layer_runs import importing
from layer_runs.management.commands import import_zos
from layer_runs.models import ErrorLine, ImportLock, LayerRun, LlmCall, RunUsage
from layer_runs.sources import zos
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

    with django_assert_num_queries(7) as queries:
        run_import(database)

    written = [query["sql"] for query in queries if query["sql"].startswith(("INSERT", "UPDATE", "DELETE"))]
    assert all("importlock" in sql for sql in written)


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
def test_it_says_what_was_odd_in_a_run_on_one_line(database):
    database.run("r1", layer_name=b"\x01", tokens_input="lots", tokens_output="a\nb\x1b[2J", completed_at="late")
    database.run("r2", tokens_output="a\nb\x1b[2J")

    _, said, _ = failing_import(database)

    assert (
        "  r1: layer_name could not be read: “1 bytes: b'\\x01'”; completed_at could not be read: “late”; and 2 more\n"
        "  r2: tokens_output could not be read: “a b\ufffd[2J”\n"
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

    with django_assert_num_queries(2) as queries:
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
    command = import_zos.Command()
    entered = []

    def listen() -> None:
        with command.listening_to_signals():
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


IMPORTER = """
import sys
import django
from django.core.management import execute_from_command_line
django.setup()
print("ready", flush=True)
sys.stdin.readline()
execute_from_command_line(["manage.py", "import_zos", sys.argv[1]])
"""


def go(process: subprocess.Popen[str]) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


@dataclass
class OutsideWorld:
    """The test's database, for processes of their own. An SQLite test database lives in memory: a copy stands in."""

    file: Path

    @property
    def environment(self) -> dict[str, str]:
        url = f"sqlite:///{self.file}"
        if connection.vendor == "postgresql":
            name = connection.settings_dict["NAME"]
            url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()
        path = os.pathsep.join(sys.path)
        return os.environ | {
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "zos_site.settings_test",
            "PYTHONPATH": path,
        }

    def send(self) -> None:
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            with closing(sqlite3.connect(self.file)) as copy:
                connection.connection.backup(copy)

    def fetch(self) -> None:
        if connection.vendor == "sqlite":
            with closing(sqlite3.connect(self.file)) as copy:
                copy.backup(connection.connection)

    def start(self, database: ZosTestDatabase) -> subprocess.Popen[str]:
        """Start an importer that is ready to go and waits for a line before it does."""
        process = subprocess.Popen(
            [sys.executable, "-c", IMPORTER, str(database)],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        return process

    def count_runs(self) -> int:
        if connection.vendor == "postgresql":
            return LayerRun.objects.count()
        with closing(sqlite3.connect(self.file)) as copy:
            return copy.execute(f"SELECT count(*) FROM {LayerRun._meta.db_table}").fetchone()[0]


@pytest.fixture
def outside(transactional_db: None, tmp_path: Path) -> Iterator[OutsideWorld]:
    world = OutsideWorld(tmp_path / "copy.sqlite3")
    world.send()
    yield world


def test_i19_killed_at_any_moment_it_ends_with_all_runs_when_run_again(database, outside):
    database.runs(2_000, calls=2, errors=json.dumps(ERRORS))
    for kill in range(2):
        process = outside.start(database)
        before = outside.count_runs()
        go(process)
        while outside.count_runs() == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.random() / 5)  # noqa: S311
        process.kill()
        process.communicate()
        assert outside.count_runs() % 500 == 0, f"kill {kill} left half a batch"

    process = outside.start(database)
    said, complaint = process.communicate("go\n")

    assert (process.returncode, complaint) == (0, "")
    assert "2,000 runs read" in said
    outside.fetch()
    assert (LayerRun.objects.count(), LlmCall.objects.count(), ErrorLine.objects.count()) == (2_000, 4_000, 2_000)
    assert "2,000 unchanged" in run_import(database)


def test_i27_of_two_importers_started_together_one_wins(database, outside):
    database.runs(1_500, calls=2)

    processes = [outside.start(database) for _ in range(2)]
    for process in processes:
        go(process)
    complaints = [process.communicate()[1] for process in processes]

    assert sorted(process.returncode for process in processes) == [0, 3], complaints
    outside.fetch()
    assert (LayerRun.objects.count(), LlmCall.objects.count()) == (1_500, 3_000)
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
