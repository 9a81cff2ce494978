from __future__ import annotations

import socket
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import dj_database_url
import pytest
from django.contrib.auth import authenticate
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from gunicorn.config import Config

from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory
from zos_site import run
from zos_site.run import CannotRun


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(run, "STATE_DIR", tmp_path)
    return tmp_path


def test_it_takes_a_free_port():
    with socket.socket() as probe:
        probe.bind((run.HOST, 0))
        port = probe.getsockname()[1]
    assert run.free_port(str(port)) == port


def test_it_says_that_a_port_is_taken():
    with socket.create_server((run.HOST, 0)) as other, pytest.raises(CannotRun, match="is taken by another program"):
        run.free_port(str(other.getsockname()[1]))


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1", "8000.5", "٨٠٠٠"])
def test_it_refuses_what_is_no_port(text):
    with pytest.raises(CannotRun, match="give a number from 1 to 65535"):
        run.free_port(text)


def test_it_says_that_a_port_is_not_for_this_user(monkeypatch):
    def refuse(*args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(CannotRun, match="may not be used"):
        run.free_port("80")


def test_it_finds_a_zos_database_from_where_make_was_called(tmp_path, monkeypatch):
    (tmp_path / "zos.db").touch()
    monkeypatch.setenv("CALLED_FROM", str(tmp_path))
    assert run.find_zos_db("zos.db") == (tmp_path / "zos.db").resolve()
    assert run.find_zos_db("") is None


def test_it_stops_when_there_is_no_such_zos_database():
    with pytest.raises(CannotRun, match=r"no file nowhere\.db") as stop:
        run.find_zos_db("nowhere.db")
    assert stop.value.code == 2


def test_it_keeps_one_secret_key_that_only_its_owner_reads(tmp_path):
    path = tmp_path / "secret-key"
    key = run.secret_key(path)
    assert len(key) >= 50
    assert run.secret_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_makes_a_secret_key_anew_when_a_kill_cut_it_off(tmp_path):
    path = tmp_path / "secret-key"
    path.write_text("short")
    assert len(run.secret_key(path)) >= 50


def test_it_keeps_each_zos_database_apart(tmp_path, state):
    urls = {run.sqlite_url(path) for path in (None, tmp_path / "zos.db", tmp_path / "other" / "zos.db")}
    assert len(urls) == 3


def test_it_survives_any_character_in_a_path(monkeypatch, tmp_path):
    odd = tmp_path / "a b%20#?é"
    monkeypatch.setattr(run, "STATE_DIR", odd)
    assert dj_database_url.parse(run.sqlite_url(None))["NAME"] == str(odd / "demo.sqlite3")


def test_it_leaves_the_users_own_settings_alone(state, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "zos_site.settings_test")
    monkeypatch.setenv("DJANGO_SECRET_KEY", "theirs")
    monkeypatch.setenv("DATABASE_URL", "postgres://theirs")
    run.configure(None)
    kept = [run.os.environ[name] for name in ("DATABASE_URL", "DJANGO_SECRET_KEY")]
    assert kept == ["postgres://theirs", "theirs"]


def test_it_fills_in_what_the_user_has_not_set(state, monkeypatch):
    for name in ("DJANGO_SETTINGS_MODULE", "DJANGO_SECRET_KEY", "DATABASE_URL"):
        monkeypatch.setenv(name, "")
    run.configure(None)
    assert run.os.environ["DATABASE_URL"].endswith("demo.sqlite3")
    assert len(run.os.environ["DJANGO_SECRET_KEY"]) >= 50


@pytest.mark.django_db
def test_it_sets_a_new_password_at_every_start(monkeypatch):
    monkeypatch.delenv("DJANGO_SUPERUSER_USERNAME", raising=False)
    name, first = run.create_user()
    _, second = run.create_user()
    assert (name, first == second) == ("admin", False)
    assert authenticate(username=name, password=first) is None
    user = authenticate(username=name, password=second)
    assert user.is_staff
    assert user.is_superuser


@pytest.mark.django_db
def test_it_names_the_user_as_told(monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_USERNAME", "ada")
    assert run.create_user()[0] == "ada"


@pytest.fixture
def prepared(monkeypatch):
    """Which commands `prepare` calls; collecting static files is left out."""
    called: list[str] = []
    monkeypatch.setattr("django.core.management.call_command", lambda name, *args, **options: called.append(name))
    return called


@pytest.mark.django_db
def test_it_fills_an_empty_database_with_demo_runs(prepared):
    run.prepare(None)
    assert prepared == ["migrate", "collectstatic", "seed_demo_runs"]


@pytest.mark.django_db
def test_it_never_mixes_invented_runs_with_the_users_own(prepared):
    LayerRunFactory(source="")
    run.prepare(None)
    assert "seed_demo_runs" not in prepared
    assert LayerRun.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(("id", "source", "invented"), [("x", "demo", False), ("demo:x", "demo", True)])
def test_it_tells_invented_runs_by_source_and_id(id, source, invented):
    LayerRunFactory(id=id, source=source)
    assert run.may_hold_demo_runs() is invented


@pytest.mark.django_db
@pytest.mark.parametrize("code", [0, 1])
def test_it_goes_on_when_an_import_had_odd_rows(prepared, monkeypatch, tmp_path, code):
    asked: list[list[str]] = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: asked.append(command) or SimpleNamespace(returncode=code)
    )
    run.prepare(tmp_path / "zos.db")
    assert asked[0][-2:] == ["import_zos", str(tmp_path / "zos.db")]
    assert "seed_demo_runs" not in prepared


@pytest.mark.django_db
@pytest.mark.parametrize("code", [2, 3])
def test_it_stops_when_an_import_could_not_read_the_database(prepared, monkeypatch, tmp_path, code):
    monkeypatch.setattr(subprocess, "run", lambda *args, **_: SimpleNamespace(returncode=code))
    with pytest.raises(CannotRun) as stop:
        run.prepare(tmp_path / "zos.db")
    assert stop.value.code == code


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OperationalError("connection refused"), "The database does not answer: connection refused"),
        (ImproperlyConfigured("DJANGO_DEBUG is 'maybe': say 1 or 0."), "DJANGO_DEBUG is 'maybe'"),
    ],
)
def test_it_says_in_a_sentence_what_it_cannot_start_with(monkeypatch, error, sentence):
    def refuse(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("django.core.management.call_command", refuse)
    with pytest.raises(CannotRun, match=sentence):
        run.prepare(None)


@pytest.fixture
def started(monkeypatch, state):
    """Everything of a start but the slow parts and the server itself."""
    monkeypatch.setattr(run, "prepare", lambda zos_db: None)
    monkeypatch.setattr(run, "create_user", lambda: ("admin", "hush"))
    monkeypatch.setattr(run.os, "umask", lambda mask: None)
    monkeypatch.setattr(run, "free_port", lambda text: int(text))
    monkeypatch.setenv("PORT", "8123")
    monkeypatch.delenv("ZOS_DB", raising=False)
    for name in ("DJANGO_SETTINGS_MODULE", "DJANGO_SECRET_KEY", "DATABASE_URL"):
        monkeypatch.setenv(name, "kept")
    commands: list[list[str]] = []
    monkeypatch.setattr(run.os, "execv", lambda path, command: commands.append(command))
    return commands


def test_it_prints_where_it_is_and_who_may_enter_and_becomes_the_server(started, capsys):
    run.main()
    assert capsys.readouterr().out == "URL: http://127.0.0.1:8123/layer-runs/\nUser: admin\nPassword: hush\n"
    assert "--bind=127.0.0.1:8123" in started[0]


@pytest.mark.parametrize("flags", [["--no-control-socket"], None])
def test_the_server_opens_no_socket_in_the_users_home(started, monkeypatch, flags):
    setting = SimpleNamespace(cli=flags)
    monkeypatch.setattr("gunicorn.config.make_settings", lambda: {"one": setting})
    run.main()
    assert ("--no-control-socket" in started[0]) is bool(flags)


def test_the_server_knows_the_options_it_is_given(started):
    run.main()
    parsed = Config().parser().parse_args(started[0][3:])
    # No header of a request says where the site is mounted.
    assert parsed.forwarder_headers == ""


def test_it_says_in_a_sentence_why_it_cannot_run(started, monkeypatch, capsys):
    monkeypatch.setenv("ZOS_DB", "nowhere.db")
    with pytest.raises(SystemExit) as stop:
        run.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "There is no file nowhere.db: ZOS_DB is the path of a Zos database.\n"
    assert started == []
