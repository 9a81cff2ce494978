from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from zos_site.settings import database, env_bool, env_list

ROOT = Path(__file__).resolve().parents[2]
KEY = {"DJANGO_SECRET_KEY": "k" * 50}


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


def test_it_reads_no_list_as_an_empty_one(monkeypatch):
    monkeypatch.delenv("DJANGO_ALLOWED_HOSTS", raising=False)
    assert env_list("DJANGO_ALLOWED_HOSTS") == []


def test_it_waits_for_other_writers_on_sqlite():
    options = database("sqlite:////somewhere/x.sqlite3")["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE"
    assert options["timeout"] == 20
    assert "journal_mode=WAL" in options["init_command"]


def test_it_lets_the_url_override_one_sqlite_option_and_keeps_the_others():
    options = database("sqlite:////somewhere/x.sqlite3?timeout=5")["OPTIONS"]
    assert (options["timeout"], options["transaction_mode"]) == (5, "IMMEDIATE")


def test_it_keeps_what_the_url_says_about_postgresql():
    found = database("postgres://ada@/runs?host=/run/pg&sslmode=require")
    assert found["ENGINE"] == "django.db.backends.postgresql"
    assert found["OPTIONS"] == {"host": "/run/pg", "sslmode": "require"}
    assert found["CONN_HEALTH_CHECKS"] is True


@pytest.mark.parametrize("nothing", [{}, {"DATABASE_URL": ""}])
def test_it_falls_back_to_sqlite_in_its_state_directory(nothing):
    found = value("DATABASES", **nothing)["default"]
    assert Path(found["NAME"]) == ROOT / "var" / "site.sqlite3"
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_it_refuses_a_database_url_without_showing_the_password_in_it():
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL is not understood") as refusal:
        database("oops://ada:hush@db/runs")
    assert "hush" not in str(refusal.value)


def test_it_uses_secure_cookies_and_hsts_only_under_https():
    assert value("SESSION_COOKIE_SECURE") is False
    assert value("SECURE_HSTS_SECONDS") == 0
    assert value("CSRF_COOKIE_SECURE", DJANGO_HTTPS="1") is True
    assert value("SECURE_HSTS_SECONDS", DJANGO_HTTPS="1") > 0


def test_it_serves_hashed_files_and_plain_ones_for_debugging():
    assert "Manifest" in value("STORAGES")["staticfiles"]["BACKEND"]
    assert "Manifest" not in value("STORAGES", DJANGO_DEBUG="1")["staticfiles"]["BACKEND"]


def test_its_tests_do_not_depend_on_the_shell_around_them():
    assert (settings.DEBUG, settings.SECURE_SSL_REDIRECT, settings.TIME_ZONE) == (False, False, "UTC")


def test_the_readme_names_every_variable_that_the_site_reads():
    code = (ROOT / "zos_site" / "settings.py").read_text() + (ROOT / "zos_site" / "run.py").read_text()
    read_here = set(re.findall(r'(?:environ\.get\(|env_bool\(|env_list\()"([A-Z_]+)"', code)) - {"CALLED_FROM"}
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"DATABASE_URL", "PORT", "DJANGO_HTTPS"} <= read_here <= named
