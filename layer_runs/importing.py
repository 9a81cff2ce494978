"""Bringing the runs of a source in: compare with what is stored, write what differs, one importer a source."""

from __future__ import annotations

import json
import os
import socket
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, Self

from django.db import IntegrityError, connections, router, transaction
from django.db.models import DateTimeField, JSONField, Model
from django.utils import timezone

from .fields import UsdField
from .models import ErrorLine, ImportLock, LayerRun, LlmCall, PruneMark, RemovedRun, RunUsage, Status
from .retention import FAILURES
from .sources.zos_rows import CALL_FIELDS, ZosRun

STALE_AFTER = timedelta(minutes=10)
BEAT_EVERY = timedelta(seconds=30)
RUN_FIELDS = tuple(field.name for field in LayerRun._meta.concrete_fields if not field.generated)


class ImportRunning(Exception):
    """Another importer of the same source is at work. The text says who."""


@dataclass
class Difference:
    """What an import of some runs changes. The runs of `new` and `updated` are yet to be written."""

    new: list[ZosRun] = field(default_factory=list)
    updated: list[ZosRun] = field(default_factory=list)
    # Not stored, and deleted or pruned here on purpose.
    left_out: list[ZosRun] = field(default_factory=list)
    unchanged: int = 0


def compare(runs: Sequence[ZosRun], *, bring_back: bool = False) -> Difference:
    """Tell new runs from changed and equal ones, by every column of theirs and of their calls.

    With `bring_back`, what was deleted or pruned here is as new as what was never here.
    """
    # Where it will be written: a replica may not have seen the last import yet.
    using = router.db_for_write(LayerRun)
    rows = LayerRun.objects.using(using).filter(pk__in=[run.id for run in runs]).values_list("pk", *RUN_FIELDS)
    stored = {row[0]: row[1:] for row in rows}
    calls = LlmCall.objects.using(using).filter(run__in=list(stored))
    stored_calls = defaultdict(set)
    for run_id, *call in calls.values_list("run_id", *CALL_FIELDS):
        stored_calls[run_id].add(tuple(call))
    difference = Difference()
    for run in runs:
        if run.id not in stored:
            difference.new.append(run)
        elif _same(stored[run.id], run) and stored_calls[run.id] == set(run.calls):
            difference.unchanged += 1
        else:
            difference.updated.append(run)
    if difference.new and not bring_back:
        # After what is stored was read: whoever deletes a run leaves word of it in the same transaction.
        _leave_out(difference, "new", _unwanted(difference.new, using))
    return difference


def _unwanted(runs: Sequence[ZosRun], using: str) -> set[str]:
    """Return the ids of those of these runs that were deleted here, or that a mark says were pruned."""
    ids = [run.id for run in runs]
    removed = set(RemovedRun.objects.using(using).filter(pk__in=ids).values_list("pk", flat=True))
    marks = PruneMark.objects.using(using).in_bulk({run.values["source"] for run in runs})
    for run in runs:
        mark, status = marks.get(run.values["source"]), run.values["status"]
        # One that is still running is never pruned, however long ago it began.
        if mark and status != Status.RUNNING and mark.covers(run.values, failure=status in FAILURES):
            removed.add(run.id)
    return removed


def _leave_out(difference: Difference, name: str, ids: Collection[str]) -> None:
    """Take these runs out of the `new` or the `updated` ones."""
    if ids:
        runs = getattr(difference, name)
        difference.left_out += [run for run in runs if run.id in ids]
        setattr(difference, name, [run for run in runs if run.id not in ids])


def write(difference: Difference) -> None:
    """Make the stored runs, their calls and what follows from both equal to what was read, or nothing at all.

    What was deleted since the comparison is taken out of `updated`.
    """
    using = router.db_for_write(LayerRun)
    with transaction.atomic(using=using):
        if changed := {run.id for run in difference.updated}:
            stored = LayerRun.objects.using(using).select_for_update(no_key=True).filter(pk__in=changed)
            _leave_out(difference, "updated", changed - set(stored.order_by("pk").values_list("pk", flat=True)))
        runs = difference.new + difference.updated
        _upsert(LayerRun, RUN_FIELDS, [[run.values[name] for name in RUN_FIELDS] for run in runs], using)
        indexed = [run for run in difference.new if run.values["errors"] != []] + difference.updated
        ErrorLine.objects.using(using).rewrite(
            [LayerRun(id=run.id, errors=run.values["errors"], started_at=run.values["started_at"]) for run in indexed]
        )
        gone = LlmCall.objects.using(using).filter(run__in=[run.id for run in difference.updated])
        gone._raw_delete(using)  # And not delete(): what the runs used is added up once, below.
        # By id, so that one that two runs claim is written once; it may be stored under a third.
        calls = {call[0]: [*call, run.id] for run in runs for call in run.calls}
        users = {run.id for run in runs} | _runs_of(calls, using)
        _upsert(LlmCall, (*CALL_FIELDS, "run"), list(calls.values()), using)
        RunUsage.objects.using(using).rewrite(users)


def _same(stored: tuple[Any, ...], run: ZosRun) -> bool:
    return all(
        old == new or (name in ("errors", "notes") and _canonical(old) == _canonical(new))
        for name, old, new in zip(RUN_FIELDS, stored, (run.values[name] for name in RUN_FIELDS), strict=True)
    )


def _canonical(value: Any) -> Any:
    """Return JSON with exact numbers: PostgreSQL gives 1e300 back as the whole number it is."""
    return json.loads(json.dumps(value), parse_int=Decimal, parse_float=Decimal)


def _upsert(model: type[Model], names: Sequence[str], rows: list[list[Any]], using: str) -> None:
    """Insert rows of clean values in the order of `names`, or update those whose id is stored.

    Many a statement and without objects: those would take most of an import's time.
    """
    connection = connections[using]
    fields = [model._meta.get_field(name) for name in names]
    for place, model_field in enumerate(fields):
        if isinstance(model_field, (DateTimeField, JSONField, UsdField)):
            for row in rows:
                row[place] = model_field.get_db_prep_save(row[place], connection)
    columns = [connection.ops.quote_name(model_field.column) for model_field in fields]
    table = connection.ops.quote_name(model._meta.db_table)
    insert = f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 (names from the model, quoted)
    update = " ON CONFLICT (id) DO UPDATE SET " + ", ".join(f"{column} = excluded.{column}" for column in columns)
    with connection.cursor() as cursor:
        for source, parameters in _row_sources(rows, fields, connection):
            cursor.execute(insert + source + update, parameters)


def _runs_of(call_ids: Iterable[str], using: str) -> set[str]:
    """Return the ids of the runs under which these calls are stored."""
    connection, key = connections[using], LlmCall._meta.pk
    found: set[str] = set()
    with connection.cursor() as cursor:
        for source, parameters in _row_sources([[call_id] for call_id in call_ids], [key], connection):
            # A name from the model, and placeholders.
            sql = f"SELECT DISTINCT run_id FROM {LlmCall._meta.db_table} WHERE id IN ({source})"  # noqa: S608
            cursor.execute(sql, parameters)
            found.update(run_id for (run_id,) in cursor.fetchall())
    return found


def _row_sources(rows: list[list[Any]], fields: list[Any], connection: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield SQL that stands for the rows, in as many pieces as the database needs, each with its parameters."""
    if not rows:
        return
    if connection.vendor == "postgresql":
        # One array a column: psycopg takes longer over thousands of placeholders than the server over the rows.
        arrays = ", ".join(f"%s::{field.rel_db_type(connection)}[]" for field in fields)
        columns = [list(column) for column in zip(*rows, strict=True)]
        yield f"SELECT * FROM unnest({arrays})", columns  # noqa: S608 (types from the model)
        return
    at_once = connection.ops.bulk_batch_size(fields, rows)
    places = f"({', '.join(['%s'] * len(fields))})"
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        yield "VALUES " + ", ".join([places] * len(some)), list(chain.from_iterable(some))


class Importing:
    """The right to import a source: held by one importer at a time, and lost by one that stopped breathing."""

    def __init__(self, source: str) -> None:
        self._me = {"source": source, "host": socket.gethostname()[:200], "pid": os.getpid()}

    def __enter__(self) -> Self:
        try:
            with transaction.atomic(using=router.db_for_write(ImportLock)):
                holder = ImportLock.objects.select_for_update().filter(source=self._me["source"]).first()
                if holder is not None:
                    if self._is_alive(holder):
                        raise ImportRunning(self._who(holder))
                    holder.delete()
                self._lock = ImportLock.objects.create(**self._me)
        except IntegrityError:
            # Between our look and our entry somebody else came in: the key lets one win.
            raise ImportRunning("Another import of this source has just begun.") from None
        return self

    def __exit__(self, *exception: Any) -> None:
        self._mine().delete()

    def beat(self, *, every: timedelta = timedelta(0)) -> None:
        """Show that this importer is alive, unless it just did. Raises ImportRunning when it was replaced."""
        now = timezone.now()
        if now - self._lock.beat_at >= every:
            if not self._mine().update(beat_at=now):
                raise ImportRunning("Another import took over, since this one had given no sign of life.")
            self._lock.beat_at = now

    def _mine(self) -> Any:
        return ImportLock.objects.filter(**self._me, taken_at=self._lock.taken_at)

    def _is_alive(self, holder: ImportLock) -> bool:
        if timezone.now() - holder.beat_at > STALE_AFTER:
            return False
        return holder.host != self._me["host"] or _is_running(holder.pid)

    def _who(self, holder: ImportLock) -> str:
        return (
            f"Another import of this source is running: process {holder.pid} on {holder.host},"
            f" since {holder.taken_at:%Y-%m-%d %H:%M:%S} UTC."
        )


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # It runs, but for another user.
    return True
