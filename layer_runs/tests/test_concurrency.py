"""Several at once: processes that write one database, wait for one another, and are killed while they write."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction

from layer_runs.management.commands import import_zos
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory
from layer_runs.tests.outside import OutsideWorld
from layer_runs.tests.zos_database import ZosTestDatabase

# One process: it says that it is ready, waits for a line, works for a while, and says as JSON how that went.
AT_WORK = """
import json, sys, time, django
django.setup()
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from layer_runs.models import LayerRun

role, seconds = sys.argv[1], float(sys.argv[2])
client = Client()
done = locked = 0
statuses = set()
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        if role == "write":
            LayerRun.objects.update_or_create(id=f"shared{done % 5}", defaults={"layer_name": f"layer {done}"})
        else:
            if not statuses:
                client.force_login(User.objects.get())
            statuses.add(client.get("/layer-runs/").status_code)
        done += 1
    except OperationalError as error:
        assert "locked" in str(error), error
        locked += 1
print(json.dumps({"done": done, "locked": locked, "statuses": sorted(statuses)}))
"""

# One process that creates runs for ever, and says the id of each once the database keeps it.
WRITING = """
import django
django.setup()
from layer_runs.models import LayerRun, LlmCall

print("ready", flush=True)
number = 0
while True:
    run = LayerRun.objects.create(id=f"acked{number}", layer_name="nightly", errors=[{"error": "a", "topic": "t"}])
    LlmCall.objects.create(id=f"acked{number}-0", run=run, call_type="reflection", model_name="m")
    print(run.pk, flush=True)
    number += 1
"""


def start(world: OutsideWorld, code: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=world.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process


def all_at_work(world: OutsideWorld, roles: list[str], seconds: float) -> list[dict[str, Any]]:
    """Let processes begin together, and return what each of them says in the end."""
    started = [start(world, AT_WORK, role, str(seconds)) for role in roles]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate(timeout=60)[0]) for process in started]


@pytest.fixture
def outside(transactional_db: None, staff: Any, tmp_path: Path) -> OutsideWorld:
    world = OutsideWorld(tmp_path / "copy.sqlite3")
    world.send()
    return world


only_sqlite = pytest.mark.skipif(
    "postgres" in settings.DATABASES["default"]["ENGINE"],
    reason="PostgreSQL locks rows: there is no lock of a whole file that a writer could meet",
)


@pytest.fixture
def file_site(outside: OutsideWorld) -> Iterator[Any]:
    """Put a file in the place of the test's database in memory, with the options of the site."""
    memory = connections["default"]
    file = connections.create_connection("default")
    file.settings_dict = deepcopy(memory.settings_dict) | {"NAME": str(outside.file)}
    connections["default"] = file
    yield file
    file.close()
    connections["default"] = memory


# Writers beside writers and readers


def test_c01_t04_writers_and_readers_never_meet_a_locked_database(outside):
    *writers, reader = all_at_work(outside, ["write", "write", "read"], 1.5)

    assert [writer["locked"] for writer in writers] == [0, 0]
    assert min(writer["done"] for writer in writers) > 0
    assert reader["statuses"] == [200]


@only_sqlite
@pytest.mark.parametrize("mode", ["IMMEDIATE", "DEFERRED"])
def test_c01_a_transaction_that_reads_before_it_writes_is_refused_unless_it_says_so_at_once(file_site, outside, mode):
    usual = file_site.settings_dict["OPTIONS"]
    assert usual["transaction_mode"] == "IMMEDIATE"
    file_site.settings_dict["OPTIONS"] = usual | {"transaction_mode": mode}
    LayerRunFactory(id="shared")

    with closing(sqlite3.connect(outside.file, isolation_level=None, timeout=0)) as stranger:

        def read_then_write() -> None:
            with transaction.atomic():
                run = LayerRun.objects.get(pk="shared")
                with suppress(sqlite3.OperationalError):
                    stranger.execute("UPDATE layer_runs_layerrun SET status = 'failed'")
                run.layer_name = "another"
                run.save()

        if mode == "IMMEDIATE":
            read_then_write()
            assert LayerRun.objects.get().layer_name == "another"
        else:
            # What Django does unless it is told otherwise, and no patience helps.
            with pytest.raises(OperationalError, match="locked"):
                read_then_write()


@pytest.mark.django_db(transaction=True)
def test_c02_c03_i26_an_import_holds_the_database_for_a_batch_and_never_while_it_reads(tmp_path, monkeypatch):
    database = ZosTestDatabase(tmp_path / "zos.db")
    database.runs(1_200, calls=1)
    batches, held_while_reading = [], []
    write, read = import_zos.write, import_zos.ZosDatabase.batches

    def watched_write(difference: Any) -> None:
        batches.append(len(difference.new) + len(difference.updated))
        write(difference)

    def watched_read(*args: Any) -> Iterator[Any]:
        for batch in read(*args):
            held_while_reading.append(connection.in_atomic_block)
            yield batch

    monkeypatch.setattr(import_zos, "write", watched_write)
    monkeypatch.setattr(import_zos.ZosDatabase, "batches", watched_read)
    call_command("import_zos", str(database), verbosity=0)

    assert batches == [500, 500, 200]
    assert held_while_reading == [False, False, False]


# A stranger who holds the lock


@only_sqlite
def test_t14_a_write_waits_for_a_stranger_who_holds_the_lock_and_readers_do_not(file_site, outside, staff_client):
    with closing(sqlite3.connect(outside.file, isolation_level=None, check_same_thread=False)) as stranger:
        LayerRunFactory(id="before")  # From here on the file is in WAL mode.
        stranger.execute("BEGIN IMMEDIATE")
        # One that waited for the lock would wait for ever, and be told so.
        assert staff_client.get("/layer-runs/").status_code == 200
        release = threading.Timer(0.5, stranger.execute, ["ROLLBACK"])
        begun = time.monotonic()
        release.start()
        LayerRunFactory(id="after")
        assert time.monotonic() - begun >= 0.4
        release.join()

    assert set(LayerRun.objects.values_list("pk", flat=True)) == {"before", "after"}


@only_sqlite
def test_t14_a_write_that_waits_too_long_fails_cleanly_and_so_does_a_page_that_has_to_write(
    file_site, outside, staff_client
):
    LayerRunFactory(id="before")
    file_site.close()
    file_site.settings_dict["OPTIONS"]["timeout"] = 0.2
    with closing(sqlite3.connect(outside.file, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            LayerRun.objects.create(id="never")
        # What leaves no trail is not done: an export writes before it reads.
        answer = staff_client.get("/layer-runs/export/csv/")
        assert (answer.status_code, answer.headers["Retry-After"].isdigit()) == (503, True)
        assert staff_client.get("/layer-runs/").status_code == 200
        stranger.execute("ROLLBACK")

    assert staff_client.get("/layer-runs/export/csv/").status_code == 200
    assert list(LayerRun.objects.values_list("pk", flat=True)) == ["before"]


# Writers that are killed, and copies of what they wrote


def acked(process: subprocess.Popen[str], number: int) -> list[str]:
    """Return the first ids that a writing process says are kept."""
    assert process.stdout.readline() == "ready\n"
    return [process.stdout.readline().strip() for _ in range(number)]


def test_c04_t08_what_a_killed_process_was_told_is_kept_is_there(outside):
    writer = start(outside, WRITING)
    first = acked(writer, 20)
    writer.kill()
    # The end of the line may be cut off: then it was not said.
    rest = [line.strip() for line in writer.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]

    outside.fetch()
    with transaction.atomic(), connection.cursor() as cursor:
        stored = set(LayerRun.objects.values_list("pk", flat=True))
        assert set(first + rest) <= stored
        # At most one that nobody was told of: it was written when the kill came.
        assert len(stored) <= len(first + rest) + 1
        for table in ("llmcall", "runusage"):
            cursor.execute(f"SELECT count(DISTINCT run_id) FROM layer_runs_{table}")
            assert len(first + rest) <= cursor.fetchone()[0] <= len(stored)
        # A run and its error lines are written together or not at all.
        cursor.execute("SELECT count(*) FROM layer_runs_errorline")
        assert cursor.fetchone()[0] == len(stored)
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA integrity_check")
            assert cursor.fetchall() == [("ok",)]


@pytest.mark.skipif(
    "postgres" in settings.DATABASES["default"]["ENGINE"],
    reason="VACUUM INTO is how an SQLite file is copied; PostgreSQL has pg_dump, which is not ours",
)
def test_t21_a_backup_made_while_a_process_writes_holds_all_it_was_told_is_kept(outside, tmp_path):
    backup = tmp_path / "backup.sqlite3"
    writer = start(outside, WRITING)
    try:
        before = acked(writer, 20)
        with closing(sqlite3.connect(outside.file, timeout=20)) as live:
            live.execute("VACUUM INTO ?", [str(backup)])
        after = writer.stdout.readline().strip()
    finally:
        writer.kill()
        writer.communicate()

    with closing(sqlite3.connect(backup)) as restored:
        stored = {id for (id,) in restored.execute("SELECT id FROM layer_runs_layerrun")}
        assert set(before) <= stored
        assert restored.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert after.startswith("acked"), "the writer was stopped by the backup"
