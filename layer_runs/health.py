"""Whether the monitor can do its work: its database answers, has its tables and room; and what else may be amiss."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from django.db import Error, connections, router, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from .audit import Action, AuditEvent
from .conf import get_config
from .formatting import relative, span
from .models import LayerRun, Status

APP = "layer_runs"
# Seconds that the database has to answer.
PATIENCE = 2
# Below either of these, SQLite may soon be unable to write.
FREE_SHARE = 0.05
FREE_BYTES = 50 * 1024**2
# Import events in which sources are looked for; those that have long been silent are looked up one by one.
RECENT = 200
_SOURCE = re.compile(r"(?P<source>[A-Za-z0-9_.-]{1,30}): ")


@dataclass
class Health:
    """What was found: `problems` keep the monitor from serving, `concerns` do not, `facts` are for an operator."""

    problems: list[str] = field(default_factory=list)
    concerns: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def check_up() -> Health:
    """Find what keeps the monitor from serving, in four statements at most."""
    health = Health()
    connection = connections[router.db_for_write(LayerRun)]
    begun = time.monotonic()
    try:
        with _patience(connection):
            path = database_file(connection)
            applied = _applied(connection)
    except Error as error:
        if not _is_empty(connection):
            health.problems.append(f"The database does not answer: {error}")
            return health
        path, applied = None, set()
    health.facts["database"] = {"vendor": connection.vendor, "ms": round((time.monotonic() - begun) * 1000, 1)}
    pending = [name for name in _migrations() if name not in applied]
    health.facts["migrations"] = {"pending": pending}
    if pending:
        health.problems.append(f"Migrations are pending: {', '.join(pending)}. Run `manage.py migrate`.")
    health.facts["disk"] = _disk(path, health.problems)
    return health


def look_closer(health: Health) -> None:
    """Add what does not stop the monitor, and costs some queries more."""
    now = timezone.now()
    using = router.db_for_write(LayerRun)
    health.facts["database"]["bytes"] = _size(connections[using])
    health.facts["imports"] = list(_imports(now, using, health.concerns))
    health.facts["oldest_running"] = _oldest_running(now, using, health.concerns)


@contextmanager
def _patience(connection: Any) -> Iterator[None]:
    """Give the database PATIENCE seconds for each statement, and then its own settings back."""
    if connection.vendor == "postgresql":
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {PATIENCE * 1000}")
            yield
    elif connection.vendor == "sqlite":
        usual = float(connection.settings_dict["OPTIONS"].get("timeout", 5))
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
            try:
                yield
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {int(usual * 1000)}")
    else:
        yield


def database_file(connection: Any) -> Path | None:
    """Return the file of an SQLite database; one in memory, and any other database, has none."""
    if connection.vendor != "sqlite":
        return None
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA database_list")
        name = next(file for _, schema, file in cursor.fetchall() if schema == "main")
    return Path(name) if name else None


def _applied(connection: Any) -> set[str]:
    return set(MigrationRecorder(connection).migration_qs.filter(app=APP).values_list("name", flat=True))


def _is_empty(connection: Any) -> bool:
    """Tell whether a database that refused a question is there and was never migrated."""
    try:
        return connection.connection is not None and not MigrationRecorder(connection).has_table()
    except Error:
        return False


def _migrations() -> list[str]:
    """Return the names of the app's migrations; the host may keep them elsewhere, or have none."""
    module, _ = MigrationLoader.migrations_module(APP)
    if module is None:
        return []
    return sorted(name for _, name, _ in iter_modules(import_module(module).__path__) if name[0] not in "_~")


def _disk(path: Path | None, problems: list[str]) -> dict[str, Any] | None:
    if path is None:
        return None
    room = os.statvfs(path.parent)
    free, share = room.f_bavail * room.f_frsize, room.f_bavail / (room.f_blocks or 1)
    if free < FREE_BYTES or share < FREE_SHARE:
        problems.append(f"The disk of the database is nearly full: {free // 1024**2:,} MB free, {share:.1%}.")
    return {"free_bytes": free, "free_percent": round(share * 100, 1)}


def _size(connection: Any) -> int | None:
    if path := database_file(connection):
        return sum(part.stat().st_size for part in (path, Path(f"{path}-wal")) if part.exists())
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return cursor.fetchone()[0]


def _imports(now: datetime, using: str, concerns: list[str]) -> Iterator[dict[str, Any]]:
    """Yield when each source was imported last, and whether the next import is overdue."""
    every = get_config()["IMPORT_EVERY"]
    last = _last_imports(using)
    if every and not last:
        concerns.append("Nothing was imported yet.")
    for source, at in sorted(last.items()):
        late = None if every is None else now - at > 2 * every
        if late:
            concerns.append(f"The last import of {source} was {relative(at, now)}.")
        yield {"source": source, "last": at.isoformat(), "late": late}


def _last_imports(using: str) -> dict[str, datetime]:
    """Return when each source was last imported to the end, by the name that the trail has for it."""
    events = AuditEvent.objects.using(using).filter(action=Action.IMPORT, runs__isnull=False).order_by("-at", "-id")
    last: dict[str, datetime] = {}
    for at, what in events.values_list("at", "what")[:RECENT]:
        if found := _SOURCE.match(what):
            last.setdefault(found["source"], at)
    for name in LayerRun.objects.using(using).values_of("source"):
        source = name or "default"
        if source not in last:
            named = events.filter(what__startswith=f"{source}: ").values_list("at", "what")
            # SQLite's LIKE takes A for a.
            at = next((at for at, what in named.iterator(10) if what.startswith(f"{source}: ")), None)
            last |= {source: at} if at else {}
    return last


def _oldest_running(now: datetime, using: str, concerns: list[str]) -> dict[str, Any] | None:
    running = LayerRun.objects.using(using).for_list().filter(status=Status.RUNNING)
    run = running.order_by("started_at", "id").first()
    if run is None:
        return None
    silence = run.silence(now)
    if silence > get_config()["CRASHED_AFTER"]:
        concerns.append(f"Run {run.pk} is running and has given no sign of life for {span(silence)}.")
    return {
        "id": run.pk,
        "layer": run.layer_name,
        "started_at": run.started_at.isoformat(),
        "silent_seconds": int(silence.total_seconds()),
    }
