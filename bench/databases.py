"""The benchmark's own databases: made once, topped up on later days, made again when the schema changes."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.models import Model
from django.utils import timezone

from layer_runs.models import ErrorLine, LayerRun, LlmCall, RunUsage

from . import runs

CHUNK = 5_000
TOO_OLD = timedelta(days=30)
MADE = "bench_made"


def use(alias: str) -> None:
    """Make this the default database of every query from here on."""
    connection = connections[alias]
    connection.alias = "default"  # Or Django takes a subquery for one of another database.
    connections["default"] = connection


def server() -> str:
    """Return what is measured: the database, its version, and whether it writes safely."""
    if connection.vendor == "sqlite":
        return f"SQLite {_run('SELECT sqlite_version()')}"
    return f"PostgreSQL {_run('SHOW server_version')}, fsync {_run('SHOW fsync')}"


def make_ready(alias: str, number: int) -> str:
    """Leave a database with `number` runs up to now behind, and say what that took and how large it is."""
    start = time.perf_counter()
    use(alias)
    end = timezone.now()
    newest = _newest(number)
    if newest is None or end - newest > TOO_OLD:
        anew(alias)
        with unchecked():
            fill(runs.runs_before(end, number))
        _run(f"CREATE TABLE {MADE} (fingerprint varchar(64))")
        _run(f"INSERT INTO {MADE} VALUES (%s)", [_fingerprint(number)])
        how = "made"
    else:
        fill(runs.runs_between(newest, end))
        surplus = LayerRun.objects.count() - number
        oldest = list(LayerRun.objects.order_by("started_at", "id").values_list("pk", flat=True)[: max(surplus, 0)])
        for some in range(0, len(oldest), 500):
            LayerRun.objects.filter(pk__in=oldest[some : some + 500]).delete()
        how = f"there already, topped up by {max(surplus, 0):,}"
    tidy()
    return f"{number:,} runs: {how} in {time.perf_counter() - start:.0f} s, {_size() / 1e9:.1f} GB"


def anew(alias: str) -> None:
    """Make an empty, migrated database in place of what was there, and use it."""
    use(alias)
    if connection.vendor == "sqlite":
        connection.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{connection.settings_dict['NAME']}{suffix}").unlink(missing_ok=True)
    else:
        _run(f"DROP SCHEMA IF EXISTS bench_{alias} CASCADE")
        _run(f"CREATE SCHEMA bench_{alias}")
    call_command("migrate", verbosity=0)


def _newest(number: int) -> datetime | None:
    """Return when the newest run started, or None for a database that is not as it would be made today."""
    if MADE not in connection.introspection.table_names():
        return None
    if _run(f"SELECT fingerprint FROM {MADE}") != _fingerprint(number):
        return None
    return LayerRun.objects.newest_first().values_list("started_at", flat=True).first()


def _fingerprint(number: int) -> str:
    """Return a digest of everything a database follows from: its size, the app's SQL, and how runs are made up."""
    said = io.StringIO()
    migrations = sorted(key for key in MigrationLoader(None).disk_migrations if key[0] == "layer_runs")
    for app, name in migrations:
        call_command("sqlmigrate", app, name, no_color=True, stdout=said)
    parts = [str(number), said.getvalue(), Path(runs.__file__).read_text()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def fill(made: Iterable[runs.Run]) -> None:
    """Write runs past the models, and add their calls up as those would."""
    write = _copy if connection.vendor == "postgresql" else _insert
    made = iter(made)
    while chunk := list(islice(made, CHUNK)):
        with transaction.atomic():
            write(LayerRun, runs.RUN_COLUMNS, [run.row for run in chunk])
            write(ErrorLine, runs.LINE_COLUMNS, [line for run in chunk for line in run.lines])
            write(LlmCall, runs.CALL_COLUMNS, [call for run in chunk for call in run.calls])
            RunUsage.objects.rewrite([run.row[0] for run in chunk if run.calls], is_first=True)


@contextmanager
def unchecked() -> Iterator[None]:
    """Write without the checks that what is made up passes (topping up leaves them on), in half the time."""
    if connection.vendor == "sqlite":
        for setting in ("synchronous=OFF", "foreign_keys=OFF", "ignore_check_constraints=ON", "cache_size=-100000"):
            _run(f"PRAGMA {setting}")
    elif _run("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        _run("SET session_replication_role = replica")
    yield
    # Its successor has the settings of the site again.
    connection.close()


def _run(sql: str, params: Sequence[Any] = ()) -> Any:
    """Run a statement and return the first value of its answer, if it has one."""
    with connection.cursor() as cursor:
        # Without parameters a per cent sign is one.
        cursor.execute(sql, params or None)
        return cursor.fetchone()[0] if cursor.description else None


def _size() -> int:
    """Return the bytes of the database on disk."""
    if connection.vendor == "sqlite":
        return Path(connection.settings_dict["NAME"]).stat().st_size
    return int(
        _run(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = "
            "current_schema()::regnamespace"
        )
    )


def _insert(model: type[Model], columns: tuple[str, ...], rows: list[runs.Row]) -> None:
    marks = ", ".join(["%s"] * len(columns))
    adapted = (
        [str(value).removesuffix("+00:00") if type(value) is datetime else value for value in row] for row in rows
    )
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {_named(model, columns)} VALUES ({marks})", adapted)


def _copy(model: type[Model], columns: tuple[str, ...], rows: list[runs.Row]) -> None:
    lines = ("\t".join(["\\N" if value is None else str(value) for value in row]) for row in rows)
    with connection.cursor() as cursor, cursor.copy(f"COPY {_named(model, columns)} FROM STDIN") as copy:
        copy.write("\n".join(lines))


def _named(model: type[Model], columns: tuple[str, ...]) -> str:
    quote = connection.ops.quote_name
    return f"{quote(model._meta.db_table)} ({', '.join(map(quote, columns))})"


def tidy() -> None:
    """Leave no write behind that the first reader would pay for. SQLite gets no ANALYZE: a site runs none either."""
    _run("PRAGMA wal_checkpoint(TRUNCATE)" if connection.vendor == "sqlite" else "VACUUM ANALYZE")
