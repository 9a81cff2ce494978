"""Where the site keeps its runs: what a database URL means, and why a database cannot be used."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from .environment import env_bool, env_number

STATE_DIR = Path(__file__).resolve().parent.parent / "var"

# A GET must not take SQLite's write lock, and a writer should wait for another rather than fail:
# WAL, IMMEDIATE transactions and 20 seconds of patience do both. FULL: what was said to be stored
# is stored, also when the power goes.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
}
# Seconds until a PostgreSQL that does not answer is called down.
CONNECT_TIMEOUT = 5
LOCK_TIMEOUT_MS = 4_000
MUST_EXIST = "?mode=rw"


def database(url: str) -> dict[str, Any]:
    """Return Django's settings for a database URL; what its query says wins over what is said here."""
    if not url:
        STATE_DIR.mkdir(exist_ok=True)
        return _sqlite({"ENGINE": "django.db.backends.sqlite3", "NAME": STATE_DIR / "site.sqlite3"})
    try:
        settings: dict[str, Any] = dict(dj_database_url.parse(url))
    except ValueError as error:
        # Not the URL itself: it holds a password, and this line ends in logs.
        raise ImproperlyConfigured(f"DATABASE_URL is not understood: {error}") from None
    if settings["ENGINE"].endswith("sqlite3"):
        return _sqlite(settings)
    return settings | {
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": _postgresql_options(settings.get("OPTIONS", {})),
    }


def _sqlite(settings: dict[str, Any]) -> dict[str, Any]:
    name = str(settings["NAME"])
    may_create = env_bool("DJANGO_CREATE_DATABASE") or env_bool("DJANGO_DEBUG")
    if not may_create and name != ":memory:" and not name.startswith("file:"):
        # An empty database in place of one that was lost would look like a site without runs.
        name = f"file:{quote(name)}{MUST_EXIST}"
    options = SQLITE_OPTIONS | settings.get("OPTIONS", {})
    try:
        # SQLite takes no text, and a URL holds nothing else.
        options["timeout"] = float(options["timeout"])
    except (TypeError, ValueError):
        raise ImproperlyConfigured(f"DATABASE_URL has the timeout {options['timeout']!r}: say seconds.") from None
    return settings | {"NAME": name, "OPTIONS": options}


def _postgresql_options(said: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT}
    if seconds := env_number("DJANGO_STATEMENT_TIMEOUT", 0):
        # Waiting for a lock ends earlier: it is somebody else's work that takes so long, and the log says so.
        limits = f"-c statement_timeout={seconds * 1_000} -c lock_timeout={min(seconds * 800, LOCK_TIMEOUT_MS)}"
        options["options"] = " ".join(filter(None, (limits, said.get("options"))))
    return options | {name: value for name, value in said.items() if name != "options" or name not in options}


def why_not(settings: dict[str, Any]) -> str:
    """Return in a sentence why the file of an SQLite database cannot be used, or an empty text."""
    name = str(settings["NAME"])
    if not settings["ENGINE"].endswith("sqlite3") or "memory" in name:
        return ""
    must_exist = name.endswith(MUST_EXIST)
    path = Path(unquote(name.removeprefix("file:").removesuffix(MUST_EXIST)) if must_exist else name)
    folder = path.parent
    try:
        if must_exist and (not path.exists() or not path.stat().st_size):
            return (
                f"There is no database {path}: `manage.py migrate` makes that of a new site,"
                " that of an older one is restored from a backup."
            )
    except PermissionError:
        return f"The folder {folder} may not be opened by {_me()}."
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return f"The database {path} may not be written by {_me()}: it belongs to {_user(path.stat().st_uid)}."
    if not os.access(folder, os.W_OK):
        return f"The folder {folder} may not be written by {_me()}, and SQLite keeps its journal beside the database."
    return ""


def _me() -> str:
    return _user(os.geteuid())


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
