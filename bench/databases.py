"""The benchmark's own databases: made once, topped up on later days, made again when the schema changes."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from layer_runs.models import ErrorLine, LayerRun

from . import runs

CHUNK = 20_000
TOO_OLD = timedelta(days=30)
MADE = "bench_made"


def use(alias: str) -> None:
    """Make this the default database of every query from here on."""
    connection = connections[alias]
    connection.alias = "default"  # Or Django takes a subquery for one of another database.
    connections["default"] = connection


def make_ready(alias: str, number: int) -> str:
    """Leave a database with `number` runs up to now behind, and say what that took."""
    start = time.perf_counter()
    use(alias)
    end = timezone.now()
    newest = _newest(number)
    if newest is None or end - newest > TOO_OLD:
        anew(alias)
        _fill(runs.runs_before(end, number))
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {MADE} (fingerprint varchar(64))")
            cursor.execute(f"INSERT INTO {MADE} VALUES (%s)", [_fingerprint(number)])
        how = "made"
    else:
        _fill(runs.runs_between(newest, end))
        surplus = LayerRun.objects.count() - number
        oldest = list(LayerRun.objects.order_by("started_at", "id").values_list("pk", flat=True)[: max(surplus, 0)])
        for some in range(0, len(oldest), 500):
            LayerRun.objects.filter(pk__in=oldest[some : some + 500]).delete()
        how = f"there already, topped up by {max(surplus, 0):,}"
    _tidy()
    return f"{number:,} runs: {how} in {time.perf_counter() - start:.0f} s"


def anew(alias: str) -> None:
    """Make an empty, migrated database in place of what was there, and use it."""
    use(alias)
    if connection.vendor == "sqlite":
        connection.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{connection.settings_dict['NAME']}{suffix}").unlink(missing_ok=True)
    else:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS bench_{alias} CASCADE")
            cursor.execute(f"CREATE SCHEMA bench_{alias}")
    call_command("migrate", verbosity=0)


def _newest(number: int) -> datetime | None:
    """Return when the newest run started, or None for a database that is not as it would be made today."""
    if MADE not in connection.introspection.table_names():
        return None
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT fingerprint FROM {MADE}")
        if cursor.fetchone() != (_fingerprint(number),):
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


def _fill(made: Iterable[runs.Run]) -> None:
    adapt, quote = connection.ops.adapt_datetimefield_value, connection.ops.quote_name

    def insert(model: type, columns: tuple[str, ...]) -> str:
        names, marks = ", ".join(map(quote, columns)), ", ".join(["%s"] * len(columns))
        return f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({marks})"

    insert_run, insert_line = insert(LayerRun, runs.RUN_COLUMNS), insert(ErrorLine, runs.LINE_COLUMNS)
    moments = {runs.RUN_COLUMNS.index("started_at"), runs.RUN_COLUMNS.index("completed_at")}
    made = iter(made)
    while chunk := list(islice(made, CHUNK)):
        rows = [[adapt(value) if n in moments else value for n, value in enumerate(row)] for row, _lines in chunk]
        lines = [(*line[:-1], adapt(line[-1])) for _row, its_lines in chunk for line in its_lines]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(insert_run, rows)
            if lines:
                cursor.executemany(insert_line, lines)


def _tidy() -> None:
    """Leave no write behind that the first reader would pay for. SQLite gets no ANALYZE: a site runs none either."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            cursor.execute("VACUUM ANALYZE")
