"""What Django's own checks do not see: settings with which the app cannot work (errors), or should not (warnings)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, SupportsFloat

from django.conf import settings
from django.contrib.admin import AdminSite
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import Error as DatabaseTrouble
from django.db import connections, router
from django.utils.module_loading import import_string

from .conf import DEFAULTS
from .health import database_file
from .models import LayerRun

# Not the app of the sessions: they may live in a cache or a cookie. Their middleware is what Django's admin asks for.
APPS = (
    *("django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages"),
    *("django.contrib.staticfiles", "django_htmx", "django_filters", "django_tables2"),
)
CONTEXT_PROCESSORS = (
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
)
HTMX = "django_htmx.middleware.HtmxMiddleware"
GUARD = "layer_runs.middleware.SiteGuardMiddleware"
OTHER_CSP = ("django.middleware.csp.", "csp.")
THIS_MACHINE = {"localhost", ".localhost", "127.0.0.1", "[::1]"}
# A writer may hold SQLite for half a second; several of them follow each other.
LEAST_TIMEOUT = 5
MOUNTS = Path("/proc/mounts")
NETWORK = re.compile(
    r"(nfs\d?|cifs|smb\w*|9p|afs|ceph|lustre|glusterfs|ncpfs|davfs|fuse\.(sshfs|s3fs|rclone|gluster\w*))"
)

Found = Iterator[CheckMessage]


def _is_span(value: Any) -> bool:
    return isinstance(value, timedelta) and value > timedelta(0)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


# What each setting may be, in words and as a test.
SHAPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "CRASHED_AFTER": ("a timedelta longer than nothing", _is_span),
    "ADMIN_SITE": ("a dotted path", _is_text),
    "CSP": ("a text or None", lambda value: value is None or _is_text(value)),
    "REDACT": ("True or False", lambda value: isinstance(value, bool)),
    "REDACT_ALSO": (
        "a list of texts",
        lambda value: isinstance(value, list | tuple) and all(_is_text(each) for each in value),
    ),
    "IMPORT_EVERY": (
        "a timedelta longer than nothing, or None",
        lambda value: value is None or _is_span(value),
    ),
}


@register()
def own_settings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    said = getattr(settings, "LAYER_RUNS", {})
    if not isinstance(said, dict):
        return [_error(1, "LAYER_RUNS is not a dict.", "Set LAYER_RUNS = {...} in the settings, or leave it out.")]
    return list(_own_settings(said))


def _own_settings(said: dict[Any, Any]) -> Found:
    for name, value in said.items():
        if name not in DEFAULTS:
            near = get_close_matches(str(name), DEFAULTS, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(DEFAULTS)}."
            yield _error(2, f"LAYER_RUNS has no setting {name!r}: it would do nothing.", hint)
            continue
        wanted, fits = SHAPES[name]
        if not fits(value):
            yield _error(3, f"LAYER_RUNS[{name!r}] is {value!r}, and not {wanted}.", f"Give it {wanted}.")
        elif name == "ADMIN_SITE":
            yield from _admin_site(value)
        elif name == "REDACT_ALSO":
            yield from _patterns(value)


def _admin_site(path: str) -> Found:
    try:
        site = import_string(path)
    except ImportError as error:
        yield _error(4, f"LAYER_RUNS['ADMIN_SITE'] cannot be imported: {error}.", "Name an AdminSite by its path.")
        return
    if not isinstance(site, AdminSite):
        hint = "Name the instance, such as 'django.contrib.admin.site'."
        yield _error(4, f"LAYER_RUNS['ADMIN_SITE'] is {path}, which is no AdminSite.", hint)


def _patterns(patterns: Any) -> Found:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            message = f"LAYER_RUNS['REDACT_ALSO'] holds {pattern!r}, which is no regular expression: {error}."
            yield _error(5, message, "Mend it: as it is, nothing would be replaced by it.")


@register()
def surroundings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    return list(_surroundings())


def _surroundings() -> Found:
    # An app may be listed by its config: `django.contrib.admin.apps.SimpleAdminConfig`.
    listed = tuple(f"{app}." for app in settings.INSTALLED_APPS)
    if missing := [app for app in APPS if not any(each.startswith(f"{app}.") for each in listed)]:
        yield _error(6, f"The pages need {', '.join(missing)}.", "Add it to INSTALLED_APPS.")
    if HTMX not in settings.MIDDLEWARE:
        yield _error(7, "The pages ask `request.htmx`, which nobody sets.", f'Add "{HTMX}" to MIDDLEWARE.')
    if missing := _missing_processors():
        hint = "Add it to `context_processors` in the OPTIONS of TEMPLATES."
        yield _error(8, f"The templates need the context processor {', '.join(missing)}.", hint)
    if not settings.USE_TZ:
        yield _error(9, "USE_TZ is False: times of runs would be ambiguous or wrong.", "Set USE_TZ = True.")
    theirs = [name for name in settings.MIDDLEWARE if str(name).startswith(OTHER_CSP)]
    said = getattr(settings, "LAYER_RUNS", {})
    if theirs and isinstance(said, dict) and "CSP" not in said:
        message = f"{theirs[0]} sends a policy, and the app's own comes first on its pages."
        yield _warning(
            6, message, 'Set LAYER_RUNS["CSP"] = None to leave it to your site, or a text to keep the app\'s.'
        )


def _missing_processors() -> list[str]:
    django = [each for each in settings.TEMPLATES if each["BACKEND"].endswith(".DjangoTemplates")]
    there = django[0].get("OPTIONS", {}).get("context_processors", []) if django else []
    return [name for name in CONTEXT_PROCESSORS if name not in there]


@register(Tags.compatibility)
def sqlite_locks(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    return list(_sqlite_locks())


def _sqlite_locks() -> Found:
    connection = _connection()
    if connection.vendor != "sqlite":
        return
    options = connection.settings_dict.get("OPTIONS", {})
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        message = "SQLite transactions that begin by reading fail with 'database is locked' when they come to write."
        yield _warning(1, message, 'Set "transaction_mode": "IMMEDIATE" in the OPTIONS of the database.')
    timeout = options.get("timeout", LEAST_TIMEOUT)
    if not isinstance(timeout, SupportsFloat):
        message = f"The `timeout` of the database is {timeout!r}, which is no number: SQLite cannot be opened with it."
        yield _error(10, message, 'Set "timeout": 20 in the OPTIONS of the database.')
    elif float(timeout) < LEAST_TIMEOUT:
        message = f"SQLite waits {timeout} seconds for another writer, and then fails."
        yield _warning(2, message, 'Set "timeout": 20 in the OPTIONS of the database.')


@register(Tags.database)
def sqlite_file(app_configs: Any = None, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    connection = _connection()
    if connection.vendor != "sqlite" or connection.alias not in (databases or ()):
        return []
    try:
        return list(_sqlite_file(connection))
    except (DatabaseTrouble, TypeError):
        return []  # One that cannot be opened has other troubles. The second is for options of a wrong type.


def _sqlite_file(connection: Any) -> Found:
    path = database_file(connection)
    if path is None:
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        mode = cursor.fetchone()[0]
    if mode != "wal":
        message = f"SQLite keeps a journal of mode {mode!r}: readers and writers wait for each other."
        hint = 'Set "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" in the OPTIONS of the database.'
        yield _warning(3, message, hint)
    kind = kind_of_mount(path)
    if NETWORK.fullmatch(kind):
        message = f"The SQLite file {path} is on a network file system ({kind}), where its locks are not to be trusted."
        yield _warning(4, message, "Move it to a local disk, or use PostgreSQL.")


def kind_of_mount(path: Path) -> str:
    """Return the type of the file system that holds a path, or an empty text where that cannot be told."""
    try:
        mounts = [line.split() for line in MOUNTS.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    found = {mount[1].replace("\\040", " "): mount[2] for mount in mounts if len(mount) > 2}
    return next((found[str(each)] for each in path.resolve().parents if str(each) in found), "")


@register(Tags.security, deploy=True)
def in_the_open(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    return list(_in_the_open())


def _in_the_open() -> Found:
    if GUARD not in settings.MIDDLEWARE:
        message = "Outside of the app's own pages a NUL in a request, or a lost database, is a server error."
        yield _warning(5, message, f'Put "{GUARD}" first in MIDDLEWARE.')
    if settings.DEBUG and not set(settings.ALLOWED_HOSTS) <= THIS_MACHINE:
        message = "DEBUG is on at a name that others can reach: errors would show them settings and run data."
        yield _warning(7, message, "Set DEBUG = False.")
    if "*" in settings.ALLOWED_HOSTS:
        message = "ALLOWED_HOSTS holds '*': links and redirects could be made to lead to any host."
        yield _warning(8, message, "Name the hosts that the site answers to.")
    connection = _connection()
    known = connection.settings_dict
    if connection.vendor == "postgresql" and known.get("CONN_MAX_AGE") != 0 and not known.get("CONN_HEALTH_CHECKS"):
        message = "Connections to PostgreSQL are kept and not tried: after its restart requests fail."
        yield _warning(9, message, 'Set "CONN_HEALTH_CHECKS": True in the settings of the database.')


def _connection() -> Any:
    return connections[router.db_for_write(LayerRun)]


def _message(kind: type[CheckMessage], letter: str, number: int, message: str, hint: str) -> CheckMessage:
    return kind(message, hint=hint, id=f"layer_runs.{letter}{number:03}")


_error = partial(_message, Error, "E")
_warning = partial(_message, Warning, "W")
