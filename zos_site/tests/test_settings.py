from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ImproperlyConfigured, ValidationError

from zos_site import run
from zos_site.environment import env_bool, env_list, env_number
from zos_site.settings import database

ROOT = Path(__file__).resolve().parents[2]
KEY = {"DJANGO_SECRET_KEY": "k" * 50}
IN_THE_OPEN = {
    "DJANGO_SECRET_KEY": "0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "DJANGO_HTTPS": "1",
    "DJANGO_ALLOWED_HOSTS": "runs.example.org",
    "DJANGO_CSRF_TRUSTED_ORIGINS": "https://runs.example.org",
}


def read(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Import the site's settings in a process that knows nothing but this environment."""
    code = f"import json, zos_site.settings as s; print(json.dumps(s.{name}, default=str))"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)


def value(name: str, **environment: str) -> object:
    done = read(name, **KEY | environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_will_not_start_without_a_secret_key():
    assert "DJANGO_SECRET_KEY is not set" in read("DEBUG").stderr


def test_it_needs_no_secret_key_for_debugging():
    assert read("DEBUG", DJANGO_DEBUG="1").returncode == 0


def test_it_reads_hosts_and_origins_as_lists():
    assert value("ALLOWED_HOSTS", DJANGO_ALLOWED_HOSTS="a.example, b.example,") == ["a.example", "b.example"]
    assert value("CSRF_TRUSTED_ORIGINS", DJANGO_CSRF_TRUSTED_ORIGINS="https://a.example") == ["https://a.example"]


def test_it_serves_only_this_machine_unless_told_otherwise():
    assert set(value("ALLOWED_HOSTS")) == {"localhost", "127.0.0.1", "[::1]"}


@pytest.mark.parametrize("said", ["1", "true", "YES", " on "])
def test_it_understands_a_yes(monkeypatch, said):
    monkeypatch.setenv("DJANGO_DEBUG", said)
    assert env_bool("DJANGO_DEBUG") is True


@pytest.mark.parametrize("said", ["0", "false", "No", "off", ""])
def test_it_understands_a_no(monkeypatch, said):
    monkeypatch.setenv("DJANGO_DEBUG", said)
    assert env_bool("DJANGO_DEBUG") is False


def test_it_names_a_switch_that_is_neither_on_nor_off(monkeypatch):
    monkeypatch.setenv("DJANGO_DEBUG", "maybe")
    with pytest.raises(ImproperlyConfigured, match="DJANGO_DEBUG is 'maybe': say 1 or 0"):
        env_bool("DJANGO_DEBUG")


@pytest.mark.parametrize("said", ["-1", "one", "1.5", "٣", "9" * 5_000])
def test_it_names_a_number_that_is_none(monkeypatch, said):
    monkeypatch.setenv("DJANGO_TRUSTED_PROXIES", said)
    with pytest.raises(ImproperlyConfigured, match="say a whole number"):
        env_number("DJANGO_TRUSTED_PROXIES", 0)


def test_it_reads_no_list_as_an_empty_one(monkeypatch):
    monkeypatch.delenv("DJANGO_ALLOWED_HOSTS", raising=False)
    assert env_list("DJANGO_ALLOWED_HOSTS") == []


def test_c01_it_waits_for_other_writers_on_sqlite():
    options = database("sqlite:////somewhere/x.sqlite3")["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert options["timeout"] == 20
    assert "journal_mode=WAL" in options["init_command"]
    assert "synchronous=FULL" in options["init_command"]


def test_it_lets_the_url_override_one_sqlite_option_and_keeps_the_others():
    options = database("sqlite:////somewhere/x.sqlite3?timeout=5")["OPTIONS"]
    assert (options["timeout"], options["transaction_mode"]) == (5, "IMMEDIATE")


@pytest.mark.parametrize(("said", "seconds"), [("7", 7), ("2.5", 2.5)])
def test_c01_it_waits_as_long_as_the_url_says(said, seconds):
    assert database(f"sqlite:////runs.sqlite3?timeout={said}")["OPTIONS"]["timeout"] == seconds
    with sqlite3.connect(":memory:", timeout=database(f"sqlite:////x?timeout={said}")["OPTIONS"]["timeout"]) as there:
        assert there.execute("PRAGMA busy_timeout").fetchone() == (seconds * 1_000,)


def test_c01_a_patience_that_is_no_number_is_named_before_anything_is_opened():
    with pytest.raises(ImproperlyConfigured, match="the timeout 'long': say seconds"):
        database("sqlite:////runs.sqlite3?timeout=long")


def test_it_keeps_what_the_url_says_about_postgresql():
    found = database("postgres://ada@/runs?host=/run/pg&sslmode=require")
    assert found["ENGINE"] == "django.db.backends.postgresql"
    assert found["OPTIONS"] == {"host": "/run/pg", "sslmode": "require", "connect_timeout": 5}
    assert found["CONN_HEALTH_CHECKS"] is True


def test_t13_only_a_web_server_loses_patience_with_postgresql(monkeypatch):
    url = "postgres://ada@/runs?options=-c%20search_path%3Dx"
    assert database(url)["OPTIONS"]["options"] == "-c search_path=x"
    monkeypatch.setenv("DJANGO_STATEMENT_TIMEOUT", "5")
    limited = database(url)["OPTIONS"]
    assert limited["options"] == "-c statement_timeout=5000 -c lock_timeout=4000 -c search_path=x"
    code = "import zos_site.{0}; from django.conf import settings as s; print(s.DATABASES['default']['OPTIONS'])"
    for server in ("wsgi", "asgi"):
        environment = IN_THE_OPEN | {"DATABASE_URL": "postgres://ada@/runs"}
        said = subprocess.run(
            [sys.executable, "-c", code.format(server)], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert "statement_timeout=15000 -c lock_timeout=4000" in said.stdout, said.stderr


@pytest.mark.parametrize("nothing", [{}, {"DATABASE_URL": ""}])
def test_it_falls_back_to_sqlite_in_its_state_directory(nothing):
    found = value("DATABASES", **nothing)["default"]
    assert found["NAME"] == f"file:{ROOT}/var/site.sqlite3?mode=rw"
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_it_refuses_a_database_url_without_showing_the_password_in_it():
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL is not understood") as refusal:
        database("oops://ada:hush@db/runs")
    assert "hush" not in str(refusal.value)


SECURITY = """
{name: getattr(s, name) for name in dir(s) if name.startswith(("SECURE_", "SESSION_", "CSRF_COOKIE", "TRUSTED_"))}
"""


def security(**environment: str) -> dict[str, object]:
    code = f"import json, zos_site.settings as s; print(json.dumps({SECURITY.strip()}, default=str))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=KEY | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_uses_secure_cookies_and_hsts_only_under_https():
    plain, https = security(), security(DJANGO_HTTPS="1")
    for name in ("SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT"):
        assert (plain[name], https[name]) == (False, True)
    assert (plain["SECURE_HSTS_SECONDS"], https["SECURE_HSTS_SECONDS"]) == (0, 365 * 24 * 3_600)
    assert (plain["SECURE_HSTS_INCLUDE_SUBDOMAINS"], https["SECURE_HSTS_INCLUDE_SUBDOMAINS"]) == (False, True)
    assert (plain["SESSION_COOKIE_NAME"], https["SESSION_COOKIE_NAME"]) == ("sessionid", "__Host-sessionid")
    assert (plain["CSRF_COOKIE_NAME"], https["CSRF_COOKIE_NAME"]) == ("csrftoken", "__Host-csrftoken")
    for found in (plain, https):
        assert (found["SESSION_COOKIE_AGE"], found["SESSION_EXPIRE_AT_BROWSER_CLOSE"]) == (8 * 3_600, True)
        for cookie in ("SESSION_COOKIE", "CSRF_COOKIE"):
            assert (found[f"{cookie}_HTTPONLY"], found[f"{cookie}_SAMESITE"]) == (True, "Lax")


def test_it_believes_a_proxy_only_where_there_is_one():
    for environment, proxies, believes in (
        ({}, 0, False),
        ({"DJANGO_HTTPS": "1"}, 1, True),
        ({"DJANGO_HTTPS": "1", "DJANGO_TRUSTED_PROXIES": "0"}, 0, False),
        ({"DJANGO_TRUSTED_PROXIES": "2"}, 2, False),
    ):
        found = security(**environment)
        assert (found["TRUSTED_PROXIES"], found["SECURE_PROXY_SSL_HEADER"] is not None) == (proxies, believes)


@pytest.mark.parametrize("url", ["postgres://ada@/runs", "sqlite:////somewhere/x.sqlite3"])
def test_o02_the_check_for_deployment_has_nothing_to_complain_about(url):
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    environment = IN_THE_OPEN | {"DATABASE_URL": url}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    # Leaving the browsers' own list alone is the one decision that Django asks for.
    assert done.stdout == "System check identified no issues (1 silenced).\n"


@pytest.mark.parametrize(
    ("bad", "id"),
    [
        ({"DJANGO_SECRET_KEY": "short"}, "security.W009"),
        ({"DJANGO_HTTPS": "0"}, "security.W012"),
        ({"DJANGO_ALLOWED_HOSTS": "*"}, "layer_runs.W008"),
        ({"DJANGO_DEBUG": "1"}, "layer_runs.W007"),
        ({"DATABASE_URL": "sqlite:////somewhere/x.sqlite3?timeout=1"}, "layer_runs.W002"),
    ],
    ids=["o02-short-secret", "o02-insecure-cookies", "o02-a14-any-host", "o02-debug", "o02-impatient"],
)
def test_o02_the_check_for_deployment_finds_what_is_not_fit_for_it(bad, id):
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, cwd=ROOT, env=IN_THE_OPEN | bad, capture_output=True, text=True)
    assert done.returncode == 1
    assert id in done.stderr


def test_it_knows_how_often_it_imports_if_it_is_told():
    assert value("LAYER_RUNS") == {"IMPORT_EVERY": None}
    assert value("LAYER_RUNS", DJANGO_IMPORT_EVERY="15") == {"IMPORT_EVERY": "0:15:00"}


def test_it_asks_for_long_passwords_and_keeps_to_that_itself():
    with pytest.raises(ValidationError, match="at least 15 characters"):
        validate_password("correct horse!")
    validate_password("correct horse b")


@pytest.mark.django_db
def test_the_password_that_it_makes_itself_is_long_enough():
    validate_password(run.create_user()[1])


def test_it_serves_hashed_files_and_plain_ones_for_debugging():
    assert "Manifest" in value("STORAGES")["staticfiles"]["BACKEND"]
    assert "Manifest" not in value("STORAGES", DJANGO_DEBUG="1")["staticfiles"]["BACKEND"]


def test_its_tests_do_not_depend_on_the_shell_around_them():
    assert (settings.DEBUG, settings.SECURE_SSL_REDIRECT, settings.TIME_ZONE) == (False, False, "UTC")


def test_the_readme_names_every_variable_that_the_site_reads():
    code = "".join(path.read_text() for path in (ROOT / "zos_site").glob("*.py"))
    read_here = set(re.findall(r'(?:os\.environ\.get\(|env_(?:bool|list|number)\()"([A-Z_]+)"', code)) - {"CALLED_FROM"}
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"DATABASE_URL", "PORT", "DJANGO_HTTPS", "DJANGO_TRUSTED_PROXIES"} <= read_here <= named
