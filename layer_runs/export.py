"""Runs as files: every column, streamed, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
import logging
import re
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from threading import BoundedSemaphore
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext as _

from .audit import Action, record, user_name
from .models import LayerRun
from .querysets import BATCH, LayerRunQuerySet

logger = logging.getLogger(__name__)

# A download holds a thread of its process for as long as somebody reads: some have to be left for the pages.
AT_ONCE = 2
RETRY_AFTER = 10
_turns = BoundedSemaphore(AT_ONCE)

# What only those may see who may view a run's details.
DETAILS = ("errors", "error_preview", "error_node", "notes")
# What makes a spreadsheet calculate (OWASP: CSV injection), in full width as well; a space, a mark of the byte order or
# another invisible letter before it is taken away by some of them.
_FORMULA = re.compile("[\\s\u200b-\u200f\u2060\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\\t\\r\\n]")


def columns(with_details: bool = True) -> list[str]:
    """Return the columns of an export: all there are, in the order of the model."""
    names = [field.attname for field in LayerRun._meta.concrete_fields]
    return names if with_details else [name for name in names if name not in DETAILS]


def row(record: Model, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Return a record as plain values. Money becomes a decimal text, so that no reader rounds it."""
    names = names or [field.attname for field in record._meta.concrete_fields]
    return {name: plain(getattr(record, name)) for name in names}


def plain(value: Any) -> Any:
    """Return money as a decimal text, so that no reader rounds it."""
    return f"{value:f}" if isinstance(value, Decimal) else value


def cell(value: Any) -> Any:
    """Return a CSV cell that no spreadsheet takes for a formula (OWASP: CSV injection). Numbers stay numbers."""
    if value is None:
        return ""
    if isinstance(value, (list, dict)):
        value = json.dumps(value, ensure_ascii=False, cls=DjangoJSONEncoder)
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return value.isoformat() if isinstance(value, datetime) else value


class _Line:
    """A file for csv.writer that hands each line on."""

    def write(self, line: str) -> str:
        return line


@dataclass(frozen=True)
class File:
    """A download: its name, and its lines, which are made while they are sent. The first `heads` of them are no row."""

    name: str
    content_type: str
    lines: Generator[str]
    heads: int = 0


def csv_lines(names: Sequence[str], rows: Iterable[dict[str, Any]]) -> Generator[str]:
    """Yield rows of plain values as CSV (RFC 4180), after a head of column names."""
    writer = csv.writer(_Line())
    yield writer.writerow(names)
    for values in rows:
        yield writer.writerow([plain(cell(values[name])) for name in names])


def json_lines(rows: Iterable[dict[str, Any]]) -> Generator[str]:
    """Yield rows as JSON, one object a line."""
    for values in rows:
        yield json.dumps(values, cls=DjangoJSONEncoder, ensure_ascii=False) + "\n"


KINDS = ("csv", "json")


def extent(with_details: bool) -> str:
    """Return what the trail says of an export of runs besides which runs they are."""
    return "with error texts" if with_details else "without error texts"


def table_file(name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> File:
    """Return a file of rows of plain values, in the order of the columns. Money becomes a decimal text."""
    return File(f"{name}.csv", "text/csv; charset=utf-8", csv_lines(columns, rows), heads=1)


def runs_file(runs: LayerRunQuerySet, kind: str, *, with_details: bool) -> File:
    """Return a file of the runs, the newest first, that is written while they are read."""
    names = columns(with_details)
    rows = (row(run, names) for run in _in_pieces(runs, names))
    if kind == "csv":
        return table_file("layer-runs", names, rows)
    return File("layer-runs.jsonl", "application/x-ndjson; charset=utf-8", json_lines(rows))


class Sent:
    """The lines of a file on their way to somebody, with a trail of how many rows went.

    Raises the database's error where there can be no trail: before the first line, so that none is sent.
    """

    def __init__(self, file: File, user: Any, what: str) -> None:
        self._file, self._lines = file, 0
        # Given back at the end, or by the garbage collector for a file that nobody ever reads.
        self._give_back = weakref.finalize(self, _turns.release)
        try:
            self._event = record(Action.EXPORT, actor=user_name(user), what=what)
        except BaseException:
            self._give_back()
            raise

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._file.lines)
        except BaseException:
            # The end, or what broke it off.
            self.close()
            raise
        self._lines += 1
        return line

    def close(self) -> None:
        """Say how many rows were sent. The server calls it as well, whatever became of its client."""
        self._give_back()
        if self._event.runs is not None:
            return
        # First, so that the reading is over when the writing begins: SQLite would refuse what others wrote since.
        self._file.lines.close()
        rows = max(0, self._lines - self._file.heads)
        try:
            self._event.count(rows)
        except DatabaseError:
            logger.exception("an export of %s rows could not be counted", rows)


def _in_pieces(runs: LayerRunQuerySet, names: list[str]) -> Iterator[LayerRun]:
    """Yield the runs that are selected now, a few of them in memory at once.

    A reader may take hours. One query that waits for it would keep SQLite's log from being emptied, and on PostgreSQL
    a copy of all its rows; so only the ids are read at once, and each run is there once whatever arrives meanwhile.
    """
    ids = runs.values_list("pk", flat=True).iterator()
    pieces: list[str] = []
    while piece := "\n".join(islice(ids, BATCH)):  # A third of what a list of them takes.
        pieces.append(piece)
    for piece in pieces:
        part = piece.split("\n")
        found = LayerRun.objects.using(runs.db).only(*names).in_bulk(part)
        # One that was deleted since is left out.
        yield from (found.pop(pk) for pk in part if pk in found)


def send(file: File, request: HttpRequest, *, what: str) -> HttpResponseBase:
    """Return a download that leaves a trail: that it was begun, and how many rows of it were written in the end.

    Whoever asks for the head alone is sent nothing, which leaves none. Raises the database's error where the trail
    cannot be kept: nothing is exported then. Beyond `AT_ONCE` of them the answer is 429.
    """
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"'}
    if request.method == "HEAD":
        return StreamingHttpResponse((), content_type=file.content_type, headers=headers)
    if not _turns.acquire(blocking=False):
        text = _("Others are downloading at the moment. Try again in a few seconds.")
        return HttpResponse(
            text, status=429, headers={"Retry-After": str(RETRY_AFTER)}, content_type="text/plain; charset=utf-8"
        )
    return StreamingHttpResponse(Sent(file, request.user, what), content_type=file.content_type, headers=headers)
