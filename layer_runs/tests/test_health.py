from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path, reverse
from django.utils import timezone

from layer_runs import health
from layer_runs.audit import Action, AuditEvent
from layer_runs.tests.conftest import client_of
from layer_runs.tests.factories import LayerRunFactory, StaffFactory
from layer_runs.views.health import HealthView

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]
# Its address in a site of any kind; only this module's tests mount it here.
urlpatterns = [path("ops/", include("layer_runs.ops_urls"))]
REASON = "the-password-of-the-database"


@pytest.fixture(autouse=True)
def mounted(settings, monkeypatch):
    settings.ROOT_URLCONF = __name__
    monkeypatch.setattr(HealthView, "said", [])


@pytest.fixture
def operator(staff):
    return client_of(staff)


def ask(client: Client | None = None, status: int = 200) -> dict:
    answer = (client or Client()).get(reverse("layer_runs_ops:healthz"))
    assert answer.status_code == status
    return answer.json()


def imported(source: str, ago: timedelta, runs: int | None = 3) -> None:
    AuditEvent.objects.create(
        action=Action.IMPORT, actor="cron", what=f"{source}: zos.db", runs=runs, at=timezone.now() - ago
    )


@pytest.fixture
def full_disk(monkeypatch):
    """Say how much is free on the disk of the database, which is a file for as long as this lasts."""
    monkeypatch.setattr(health, "database_file", lambda connection: Path(__file__))

    def leave(free: int, total: int) -> None:
        room = SimpleNamespace(f_bavail=free // 4096, f_blocks=total // 4096, f_frsize=4096)
        monkeypatch.setattr(os, "statvfs", lambda path: room)

    return leave


# -- for a load balancer


def test_o03_all_is_well():
    answer = Client().get("/ops/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert answer["Content-Type"] == "application/json"
    assert "no-store" in answer["Cache-Control"]
    assert "Retry-After" not in answer


def test_o03_it_is_cheap_for_a_stranger(django_assert_max_num_queries):
    ask()
    with django_assert_max_num_queries(4):
        ask()


def test_o03_the_database_has_two_seconds_and_its_own_patience_afterwards(transactional_db):
    with CaptureQueriesContext(connection) as queries:
        ask()
    said = " ".join(query["sql"] for query in queries)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            assert "SET LOCAL statement_timeout = 2000" in said
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)
        else:
            assert "PRAGMA busy_timeout = 2000" in said
            cursor.execute("PRAGMA busy_timeout")
            assert cursor.fetchone() == (20_000,)


def test_o03_a_database_that_is_gone_is_said_and_nothing_of_why(operator, caplog):
    def refuse(execute, sql, params, many, context):
        raise OperationalError(REASON)

    with connection.execute_wrapper(refuse):
        answer = operator.get("/ops/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
    assert int(answer["Retry-After"]) > 0
    assert "no-store" in answer["Cache-Control"]
    assert [record.getMessage() for record in caplog.records if record.name == "layer_runs.health"] == [
        f"Unavailable: The database does not answer: {REASON}"
    ]


def test_o03_a_migration_that_is_missing_is_said_to_an_operator(operator):
    *_, last = health._migrations()
    MigrationRecorder.Migration.objects.filter(app="layer_runs", name=last).delete()
    assert ask(status=503) == {"status": "unavailable"}
    found = ask(operator, status=503)
    assert found["status"] == "unavailable"
    assert found["migrations"] == {"pending": [last]}
    assert found["problems"] == [f"Migrations are pending: {last}. Run `manage.py migrate`."]


def test_o03_it_knows_every_migration_of_the_app_and_no_other_file():
    files = {path.stem for path in (ROOT / "layer_runs" / "migrations").glob("[0-9]*.py")}
    assert set(health._migrations()) == files
    assert len(files) > 2


def test_o03_a_host_may_keep_migrations_elsewhere_or_none(settings):
    settings.MIGRATION_MODULES = {"layer_runs": None}
    assert ask() == {"status": "ok"}


@pytest.mark.parametrize(
    ("free", "total", "status"),
    [
        pytest.param(100 * 2**30, 1000 * 2**30, 200, id="o03-tenth"),
        pytest.param(49 * 2**30, 1000 * 2**30, 503, id="o03-under-5-percent"),
        pytest.param(51 * 2**30, 1000 * 2**30, 200, id="o03-over-5-percent"),
        pytest.param(49 * 2**20, 100 * 2**20, 503, id="o03-under-50-mb"),
        pytest.param(51 * 2**20, 100 * 2**20, 200, id="o03-over-50-mb"),
        pytest.param(0, 2**30, 503, id="o03-full"),
    ],
)
def test_o03_a_disk_that_is_nearly_full_stops_it(operator, full_disk, free, total, status):
    full_disk(free, total)
    assert ask(status=status) == {"status": "ok" if status == 200 else "unavailable"}
    found = ask(operator, status=status)
    assert found["disk"]["free_bytes"] == free // 4096 * 4096
    assert bool(found["problems"]) is (status == 503)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "trace"])
def test_o03_q21_it_answers_only_to_reading(method):
    answer = getattr(Client(), method)("/ops/healthz")
    assert answer.status_code == 405
    assert "GET" in answer["Allow"]


def test_o03_it_answers_to_head_without_a_body():
    answer = Client().head("/ops/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("user", [{"can": []}, {"is_staff": False}], ids=str)
def test_o03_whoever_may_not_view_runs_learns_as_much_as_a_stranger(user):
    assert ask(client_of(StaffFactory(**user))) == {"status": "ok"}


def test_o03_it_needs_no_session_storage(operator, monkeypatch):
    def refuse(self):
        raise ConnectionError("no cache server")

    monkeypatch.setattr(SessionStore, "load", refuse)
    assert ask(operator) == {"status": "ok"}


def test_o03_it_needs_no_login_where_the_host_asks_for_one_everywhere(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert ask() == {"status": "ok"}


def test_o03_o06_it_logs_a_trouble_once_and_its_end(full_disk, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("django"), "propagate", True)
    full_disk(0, 2**30)
    for _ in range(3):
        ask(status=503)
    full_disk(2**30, 2**30)
    for _ in range(3):
        ask()
    assert [record.getMessage() for record in caplog.records] == [
        "Unavailable: The disk of the database is nearly full: 0 MB free, 0.0%.",
        "Available again.",
    ]


@pytest.mark.parametrize("url", ["postgres://ada@/runs?host=/nowhere", "sqlite:////nowhere/runs.sqlite3"])
def test_o03_a_real_database_that_is_not_there_is_503_in_time(url):
    code = (
        "import django; django.setup(); from django.test import Client;"
        " c = Client(HTTP_HOST='localhost'); c.cookies['sessionid'] = 'x' * 32; a = c.get('/healthz');"
        " print(a.status_code, a.content.decode())"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "zos_site.settings", "DJANGO_SECRET_KEY": "k" * 50, "DATABASE_URL": url}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=15
    )
    assert done.stdout == '503 {"status": "unavailable"}\n', done.stderr
    assert "Unavailable: The database does not answer" in done.stderr


def test_o03_a_database_that_was_never_migrated_is_503(tmp_path):
    code = (
        "import django; django.setup(); from layer_runs.health import check_up; import json;"
        " print(json.dumps(check_up().problems))"
    )
    environment = {
        **{"DJANGO_SETTINGS_MODULE": "zos_site.settings", "DJANGO_SECRET_KEY": "k" * 50},
        **{"DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3", "DJANGO_CREATE_DATABASE": "1"},
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    (problem,) = json.loads(done.stdout)
    assert problem.startswith("Migrations are pending: 0001_initial")


# -- for an operator


def test_o03_o05_an_operator_sees_how_it_is(operator):
    found = ask(operator)
    assert found["status"] == "ok"
    assert found["problems"] == found["concerns"] == found["imports"] == []
    assert found["database"]["vendor"] == connection.vendor
    assert found["database"]["ms"] >= 0
    assert found["migrations"] == {"pending": []}
    assert found["oldest_running"] is None
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            assert found["database"]["bytes"] == pytest.approx(cursor.fetchone()[0], rel=0.1)


def test_o05_the_size_of_an_sqlite_database_counts_what_is_not_written_back_yet(tmp_path, monkeypatch):
    (tmp_path / "a.sqlite3").write_bytes(b"x" * 1_000)
    (tmp_path / "a.sqlite3-wal").write_bytes(b"x" * 234)
    monkeypatch.setattr(health, "database_file", lambda connection: tmp_path / "a.sqlite3")
    assert health._size(connection) == 1_234


def test_o03_an_import_that_is_late_is_a_concern_and_not_a_failure(operator, settings):
    settings.LAYER_RUNS = {"IMPORT_EVERY": timedelta(hours=1)}
    imported("default", timedelta(hours=1, minutes=59))
    imported("berlin", timedelta(hours=2, minutes=1))
    imported("berlin", timedelta(days=3))
    # Begun and not yet ended, or killed: no import that brought in everything.
    imported("berlin", timedelta(minutes=5), runs=None)
    found = ask(operator)
    assert found["status"] == "degraded"
    assert {each["source"]: each["late"] for each in found["imports"]} == {"berlin": True, "default": False}
    assert found["concerns"] == ["The last import of berlin was 2 hours ago."]
    assert ask() == {"status": "ok"}


def test_o03_a_source_that_fell_silent_long_ago_is_found_behind_many_imports_of_another(operator, monkeypatch):
    monkeypatch.setattr(health, "RECENT", 3)
    LayerRunFactory(source="berlin", id="berlin:1")
    imported("berlin", timedelta(days=300))
    imported("BERLIN", timedelta(days=30))
    for hours in range(5):
        imported("default", timedelta(hours=hours))
    found = {each["source"]: each["last"] for each in ask(operator)["imports"]}
    assert set(found) == {"berlin", "default"}
    at = AuditEvent.objects.get(what__startswith="berlin: ", at__lt=timezone.now() - timedelta(days=100)).at
    assert found["berlin"] == at.isoformat()


def test_o03_without_an_interval_no_import_is_late(operator):
    imported("default", timedelta(days=300))
    found = ask(operator)
    assert found["status"] == "ok"
    assert [each["late"] for each in found["imports"]] == [None]


def test_o03_a_site_that_should_import_and_never_did_is_a_concern(operator, settings):
    settings.LAYER_RUNS = {"IMPORT_EVERY": timedelta(hours=1)}
    assert ask(operator)["concerns"] == ["Nothing was imported yet."]


def test_o03_the_oldest_running_run_is_named_with_its_silence(operator):
    LayerRunFactory(id="young", under_way=True, ago=timedelta(minutes=1))
    found = ask(operator)
    assert (found["status"], found["oldest_running"]["id"]) == ("ok", "young")
    LayerRunFactory(id="old", under_way=True, ago=timedelta(hours=5))
    LayerRunFactory(id="older-and-ended", ago=timedelta(hours=9))
    found = ask(operator)
    assert (found["status"], found["oldest_running"]["id"]) == ("degraded", "old")
    assert found["oldest_running"]["silent_seconds"] == pytest.approx(5 * 3_600, abs=60)
    assert found["concerns"] == ["Run old is running and has given no sign of life for 5 hours."]


def test_o07_a_clock_that_was_set_back_makes_nothing_late(operator, settings):
    settings.LAYER_RUNS = {"IMPORT_EVERY": timedelta(hours=1)}
    imported("default", timedelta(hours=-1))
    LayerRunFactory(under_way=True, ago=timedelta(hours=-1))
    found = ask(operator)
    assert (found["status"], found["concerns"]) == ("ok", [])
    assert found["oldest_running"]["silent_seconds"] == 0
