from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection

from layer_runs.models import LayerRun
from layer_runs.tests.factories import StaffFactory
from zos_site import run
from zos_site.databases import database, why_not
from zos_site.run import CannotRun

ROOT = Path(__file__).resolve().parents[2]
SERVE = "from zos_site.{0} import application"
NOBODY = 65_534


def command(*arguments: str, url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the site as it is deployed, on this database."""
    known = {"DJANGO_SECRET_KEY": "k" * 50, "DATABASE_URL": url, "PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=known | environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def migrated(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("site") / "runs.sqlite3"
    done = command("manage.py", "migrate", "--verbosity=0", url=f"sqlite:///{path}")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def served_as_deployed(monkeypatch) -> None:
    monkeypatch.delenv("DJANGO_CREATE_DATABASE")


# -- at the start


@pytest.mark.parametrize("left", [None, b""], ids=["gone", "empty"])
def test_o04_a_server_does_not_start_on_a_database_that_was_lost(tmp_path, left):
    path = tmp_path / "runs.sqlite3"
    if left is not None:
        path.write_bytes(left)
    done = command("-c", SERVE.format("wsgi"), url=f"sqlite:///{path}")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"There is no database {path}: `manage.py migrate` makes that of a new site" in last
    assert path.exists() is (left is not None)


def test_o04_a_command_says_so_in_one_sentence_and_makes_none(tmp_path):
    done = command("manage.py", "rebuild_derived", url=f"sqlite:///{tmp_path}/runs.sqlite3")
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert done.stderr.startswith(f"There is no database {tmp_path}/runs.sqlite3: `manage.py migrate` makes")
    assert len(done.stderr.splitlines()) == 1


def test_o04_what_is_no_database_is_said_in_one_sentence(tmp_path):
    (tmp_path / "runs.sqlite3").write_text("no database at all, " * 100)
    done = command("manage.py", "rebuild_derived", url=f"sqlite:///{tmp_path}/runs.sqlite3")
    assert (done.returncode, done.stderr) == (1, "The database does not answer: file is not a database\n")


def test_o04_a_postgresql_that_is_not_there_is_said_in_one_sentence():
    done = command("manage.py", "rebuild_derived", url="postgres://ada:hush@/runs?host=/nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("The database does not answer: ")
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_o04_a_server_starts_on_the_database_that_migrate_made(migrated, kind):
    done = command("-c", SERVE.format(kind), url=f"sqlite:///{migrated}")
    assert done.returncode == 0, done.stderr


def test_o04_a_database_that_goes_while_it_is_served_is_not_made_anew(migrated, tmp_path):
    moved = tmp_path / "moved.sqlite3"
    moved.write_bytes(migrated.read_bytes())
    code = (
        "from zos_site.wsgi import application; from pathlib import Path; from django.test import Client;"
        " from django.db import connections;"
        f" path = Path({str(moved)!r}); c = Client(HTTP_HOST='localhost'); first = c.get('/healthz').status_code;"
        " path.unlink(); connections.close_all(); print(first, c.get('/healthz').status_code, path.exists())"
    )
    done = command("-c", code, url=f"sqlite:///{moved}")
    assert done.stdout == "200 503 False\n", done.stderr


@pytest.mark.parametrize("odd", ["a b%20#?é.sqlite3", "a'b.sqlite3"])
def test_o04_any_character_in_a_path_is_meant(tmp_path, odd, served_as_deployed):
    path = tmp_path / odd
    sqlite3.connect(path).execute("CREATE TABLE here (id)")
    settings = database("") | {"NAME": path}
    name = database(f"sqlite:///{run.quote(str(path))}")["NAME"]
    with closing(sqlite3.connect(name, uri=True)) as there:
        assert there.execute("SELECT name FROM sqlite_master").fetchall() == [("here",)]
    assert why_not(settings | {"NAME": name}) == ""


def test_o04_debugging_may_make_a_database(monkeypatch, served_as_deployed):
    assert str(database("sqlite:////x/y.sqlite3")["NAME"]).endswith("?mode=rw")
    monkeypatch.setenv("DJANGO_DEBUG", "1")
    assert database("sqlite:////x/y.sqlite3")["NAME"] == "/x/y.sqlite3"


@pytest.fixture
def as_nobody(tmp_path) -> Iterator[Path]:
    """A folder with a database that this process may not write while this lasts: root may write everything."""
    folder = tmp_path / "data"
    folder.mkdir()
    sqlite3.connect(folder / "runs.sqlite3").execute("CREATE TABLE here (id)")
    for each in (tmp_path, *list(tmp_path.parents)[:2]):
        each.chmod(0o755)
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(was)
    folder.chmod(0o755)


def allow(folder: Path, *, file: int, here: int) -> None:
    me = os.geteuid()
    if me == NOBODY:
        os.seteuid(0)
    (folder / "runs.sqlite3").chmod(file)
    folder.chmod(here)
    os.seteuid(me)


@pytest.mark.parametrize(
    ("file", "here", "sentence"),
    [
        (0o444, 0o777, r"runs\.sqlite3 may not be written by \w+: it belongs to \w+\.$"),
        (0o666, 0o555, r"^The folder .*data may not be written by \w+, and SQLite keeps its journal beside"),
        (0o666, 0o000, r"data may not be opened by \w+\.$"),
    ],
    ids=["o04-read-only-file", "o04-read-only-folder", "o04-closed-folder"],
)
def test_o04_it_says_what_may_not_be_written(as_nobody, served_as_deployed, file, here, sentence, monkeypatch):
    # os.access() asks for the user who started the process, this test for the one it plays.
    monkeypatch.setattr(os, "access", effective_access)
    allow(as_nobody, file=file, here=here)
    reason = why_not(database(f"sqlite:///{as_nobody}/runs.sqlite3"))
    allow(as_nobody, file=0o666, here=0o755)
    assert re.search(sentence, reason), reason


really_access = os.access


def effective_access(path: object, mode: int) -> bool:
    return really_access(path, mode, effective_ids=True)


def test_o04_make_run_says_it_too(tmp_path, monkeypatch, settings):
    def refuse(*args: object, **options: object) -> None:
        raise OperationalError("unable to open database file")

    monkeypatch.setattr("django.core.management.call_command", refuse)
    gone = f"file:{tmp_path}/gone.sqlite3?mode=rw"
    monkeypatch.setitem(settings.DATABASES, "default", settings.DATABASES["default"] | {"NAME": gone})
    if "sqlite" not in settings.DATABASES["default"]["ENGINE"]:
        pytest.skip("a file is what SQLite has")
    with pytest.raises(CannotRun, match="There is no database"):
        run.prepare(None)


def test_o04_the_server_of_make_run_makes_no_database(monkeypatch):
    monkeypatch.setenv("DJANGO_CREATE_DATABASE", "1")
    monkeypatch.setattr(run.os, "execv", lambda *arguments: None)
    run.serve(8000)
    assert "DJANGO_CREATE_DATABASE" not in os.environ
    monkeypatch.setenv("DATABASE_URL", "sqlite:////x.sqlite3")
    run.configure(None)
    assert os.environ["DJANGO_CREATE_DATABASE"] == "1"


def test_o04_another_database_is_not_judged_by_a_file():
    assert why_not({"ENGINE": "django.db.backends.postgresql", "NAME": "runs"}) == ""
    assert why_not({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}) == ""
    with pytest.raises(ImproperlyConfigured):
        database("oops://x")


# -- under load


WRITERS = """
import threading
import django
django.setup()
from django.db import connection
from layer_runs.models import LayerRun
done = []
def write(name):
    for n in range(30):
        values = {"layer_name": f"by {name}", "errors": [{"n": n}]}
        LayerRun.objects.update_or_create(id=f"r{n % 7}", defaults=values)
        done.append(n)
    connection.close()
threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(done))
"""


def test_c01_four_writers_at_once_wait_for_each_other(migrated):
    done = command("-c", WRITERS, url=f"sqlite:///{migrated}", DJANGO_SETTINGS_MODULE="zos_site.settings")
    assert (done.stdout, done.stderr) == ("120\n", "")


@pytest.mark.django_db(transaction=True)
def test_t13_a_page_behind_a_locked_table_is_503_within_six_seconds(monkeypatch, client):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no locks on tables")
    name = connection.settings_dict["NAME"]
    monkeypatch.setenv("DJANGO_STATEMENT_TIMEOUT", "5")
    options = database(f"postgres:///{name}")["OPTIONS"]["options"]
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", connection.settings_dict["OPTIONS"] | {"options": options})
    connection.close()
    try:
        with closing(connection.copy()) as holder:
            holder.set_autocommit(False)
            holder.cursor().execute(f"LOCK TABLE {LayerRun._meta.db_table} IN ACCESS EXCLUSIVE MODE")
            client.force_login(StaffFactory())
            begun = time.monotonic()
            assert client.get("/layer-runs/").status_code == 503
            assert time.monotonic() - begun < 6
            holder.rollback()
        begun = time.monotonic()
        assert client.get("/layer-runs/").status_code == 200
        assert time.monotonic() - begun < 2
    finally:
        connection.close()


# -- a copy of it


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as there:
        assert there.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return there.execute("SELECT count(*) FROM layer_runs_layerrun").fetchone()[0]


INSERT = (
    "INSERT INTO layer_runs_layerrun (id, layer_name, source, started_at) VALUES (?, 'x', '', '2026-11-01 10:00:00')"
)


@pytest.fixture
def in_use(migrated, tmp_path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A database in use, with 300 runs that are committed and not yet moved from its journal into its file."""
    path = tmp_path / "live.sqlite3"
    path.write_bytes(migrated.read_bytes())
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("BEGIN")
    writer.executemany(INSERT, [(f"backup-{n}",) for n in range(300)])
    writer.execute("COMMIT")
    yield path, writer
    writer.close()


def test_o01_a_copy_of_the_file_loses_what_vacuum_into_keeps(in_use, tmp_path):
    path, writer = in_use
    stored = writer.execute("SELECT count(*) FROM layer_runs_layerrun").fetchone()[0]
    copied = tmp_path / "copied.sqlite3"
    copied.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(path)) as other:
        other.execute("VACUUM INTO ?", [str(tmp_path / "backup.sqlite3")])
    assert count(copied) < stored
    assert count(tmp_path / "backup.sqlite3") == stored


def test_o01_t21_a_backup_holds_all_that_was_stored_before_it_began_and_can_be_served(in_use, tmp_path):
    path, writer = in_use
    before = {row[0] for row in writer.execute("SELECT id FROM layer_runs_layerrun")}
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as mine:
            for n in range(10_000):
                mine.execute(INSERT, [f"during-{n}"])
                if stop.is_set():
                    return

    under_load = threading.Thread(target=write)
    under_load.start()
    restored = tmp_path / "elsewhere" / "runs.sqlite3"
    restored.parent.mkdir()
    try:
        with closing(sqlite3.connect(path)) as other:
            other.execute("VACUUM INTO ?", [str(restored)])
    finally:
        stop.set()
        under_load.join()
    with closing(sqlite3.connect(restored)) as there:
        assert before <= {row[0] for row in there.execute("SELECT id FROM layer_runs_layerrun")}
    healthy = (
        "from zos_site.wsgi import application; from layer_runs.health import check_up; print(check_up().problems)"
    )
    assert command("-c", healthy, url=f"sqlite:///{restored}").stdout == "[]\n"
