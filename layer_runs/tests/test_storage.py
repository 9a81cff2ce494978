"""A storage that fails: a full disk, a server that is gone, a schema of another day."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, close_old_connections, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.test import Client

from layer_runs.audit import Action, record
from layer_runs.models import LayerRun, LlmCall, RunUsage
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

ON_POSTGRESQL = "postgres" in settings.DATABASES["default"]["ENGINE"]
LIST = "/layer-runs/"
EXPORT = "/layer-runs/export/csv/"

# A full disk


class SmallDisk:
    """A file of the site's that cannot grow: every connection to it is told so when it begins."""

    def __init__(self, path: Path) -> None:
        self.path, self._memory = path, connections["default"]
        self._memory.ensure_connection()
        with closing(sqlite3.connect(path)) as copy:
            self._memory.connection.backup(copy)
        self.file = connections.create_connection("default")
        self.file.settings_dict = deepcopy(self._memory.settings_dict) | {"NAME": str(path)}
        self._usual = self.file.settings_dict["OPTIONS"]["init_command"]
        connections["default"] = self.file

    def may_have(self, pages: int) -> None:
        self.file.close()
        self.file.settings_dict["OPTIONS"]["init_command"] = f"{self._usual} PRAGMA max_page_count={pages};"

    def pages(self) -> int:
        with closing(sqlite3.connect(self.path)) as stranger:
            return stranger.execute("PRAGMA page_count").fetchone()[0]

    def close(self) -> None:
        self.file.close()
        connections["default"] = self._memory


@pytest.fixture
def small_disk(transactional_db: None, tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "site.sqlite3")
    yield disk
    disk.close()


@pytest.mark.skipif(ON_POSTGRESQL, reason="only SQLite lets a test make the disk small; test_guard.py has 53100")
def test_c05_t11_a_full_disk_refuses_what_writes_shows_what_is_there_and_works_again(small_disk, staff_client):
    run = LayerRunFactory()
    small_disk.may_have(small_disk.pages() + 20)
    kept = [run.pk]
    with pytest.raises(OperationalError, match="full"):
        while len(kept) < 10_000:
            kept.append(LayerRunFactory(errors=[{"topic": "t", "error": "x" * 500, "node": "n"}]).pk)
    # The last bytes of the trail's own pages, too: large acts, then small ones.
    for what in ("x" * 2_000, ""):
        with suppress(OperationalError):
            for _ in range(10_000):
                record(Action.EXPORT, actor="ada", what=what)
    assert len(kept) > 5

    answer = staff_client.get(EXPORT)
    assert (answer.status_code, answer.headers["Retry-After"].isdigit()) == (503, True)
    looked = [staff_client.get(path).status_code for path in (LIST, f"{LIST}{run.pk}/", f"{LIST}stats/")]
    assert (looked, Client().get("/admin/login/").status_code) == ([200, 200, 200], 200)
    # What was said to be kept is kept, and nothing else.
    assert set(LayerRun.objects.values_list("pk", flat=True)) == set(kept)
    with closing(sqlite3.connect(small_disk.path)) as stranger:
        assert stranger.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    small_disk.may_have(small_disk.pages() + 10_000)

    answer = staff_client.get(EXPORT)
    assert answer.status_code == 200
    assert len(answer.getvalue().splitlines()) == len(kept) + 1
    LayerRunFactory(id="again")
    assert LayerRun.objects.filter(pk="again").exists()


# A server that is gone


only_a_server = pytest.mark.skipif(not ON_POSTGRESQL, reason="SQLite has no server that could end a connection")


def get(client: Client, path: str = LIST) -> Any:
    """Get a page as a server does: connections are looked at before, which the test client leaves out."""
    close_old_connections()
    return client.get(path)


def end_our_connection() -> None:
    ours = connection.connection.info
    with psycopg.connect(ours.dsn, password=ours.password, autocommit=True) as stranger:
        # It waits until the process is gone, 2 seconds at most.
        stranger.execute("SELECT pg_terminate_backend(%s, 2000)", [ours.backend_pid])


@contextmanager
def ended_at(query: int) -> Iterator[list[str]]:
    """End the connection before so many queries were asked; the list holds those that came."""
    asked: list[str] = []

    def ask(execute: Any, sql: str, *args: Any) -> Any:
        asked.append(sql)
        if len(asked) == query:
            end_our_connection()
        return execute(sql, *args)

    with connection.execute_wrapper(ask):
        yield asked


@only_a_server
def test_c06_t12_a_server_that_was_restarted_between_two_requests_is_not_noticed(transactional_db, staff_client):
    LayerRunFactory()
    for _ in range(3):
        connection.ensure_connection()
        end_our_connection()
        assert get(staff_client).status_code == 200


@only_a_server
@pytest.mark.parametrize("path", [LIST, f"{LIST}stats/", "/admin/", EXPORT])
def test_c06_t12_a_server_that_goes_in_the_middle_of_a_request_is_said_and_the_next_one_works(
    transactional_db, staff_client, path
):
    LayerRunFactory()
    met = 0
    for query in (1, 2, 3, 4, 6, 9):
        with ended_at(query) as asked:
            answer = get(staff_client, path)
        # A page of fewer queries never met the end.
        if len(asked) < query:
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.headers["Retry-After"].isdigit()) == (503, True), f"query {query}"
            met += 1
        assert get(staff_client).status_code == 200
    assert met >= 3


# A schema of another day

APP = "layer_runs"
STEPS = sorted(name for app, name in MigrationLoader(None).disk_migrations if app == APP)
# What code that runs on does not survive: an older process asks for a column or a table by its name.
TAKES_AWAY = {"RemoveField", "DeleteModel", "RenameField", "RenameModel", "AlterModelTable"}


def migrate_to(name: str) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate([(APP, name)])


def rows(table: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {APP}_{table} ORDER BY id")
        return cursor.fetchall()


@pytest.fixture
def stored(transactional_db: None) -> Iterator[None]:
    for n in range(20):
        LlmCallFactory(run=LayerRunFactory(failing=n % 3 == 0))
    yield
    migrate_to(STEPS[-1])


@pytest.mark.parametrize("step", STEPS[:-1])
def test_c15_going_back_to_a_step_and_forward_again_keeps_every_run_and_call(stored, step):
    before = {table: rows(table) for table in ("layerrun", "llmcall", "errorline")}
    usage = list(RunUsage.objects.order_by("run_id").values_list("run_id", "tokens_total", "calls"))

    migrate_to(step)
    assert {table: len(rows(table)) for table in before} == {table: len(found) for table, found in before.items()}
    migrate_to(STEPS[-1])

    assert {table: rows(table) for table in before} == before
    assert (LayerRun.objects.count(), LlmCall.objects.count()) == (20, 20)
    # What follows from the rows is there again, too.
    assert list(RunUsage.objects.order_by("run_id").values_list("run_id", "tokens_total", "calls")) == usage
    call_command("rebuild_derived", check=True)


@pytest.mark.parametrize("step", STEPS)
def test_c15_no_step_takes_away_what_a_process_of_the_day_before_asks_for(step):
    migration = MigrationLoader(None).disk_migrations[APP, step]

    assert {type(operation).__name__ for operation in migration.operations} & TAKES_AWAY == set()
    assert all(operation.reversible for operation in migration.operations)
