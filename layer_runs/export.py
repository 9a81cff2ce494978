"""Runs as files: every column, streamed, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model
from django.http import StreamingHttpResponse

from .models import LayerRun
from .querysets import LayerRunQuerySet

# What only those may see who may view a run's details.
DETAILS = ("errors", "error_preview", "error_node", "notes")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


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
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value.isoformat() if isinstance(value, datetime) else value


class _Line:
    """A file for csv.writer that hands each line on."""

    def write(self, line: str) -> str:
        return line


def csv_lines(runs: Iterable[LayerRun], names: list[str]) -> Iterator[str]:
    """Yield the runs as CSV (RFC 4180), after a head of column names."""
    writer = csv.writer(_Line())
    yield writer.writerow(names)
    for run in runs:
        yield writer.writerow(map(cell, row(run, names).values()))


def json_lines(runs: Iterable[LayerRun], names: list[str]) -> Iterator[str]:
    """Yield the runs as JSON, one object a line."""
    for run in runs:
        yield json.dumps(row(run, names), cls=DjangoJSONEncoder, ensure_ascii=False) + "\n"


def table(name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> StreamingHttpResponse:
    """Return a download of rows of plain values, in the order of the columns. Money becomes a decimal text."""

    def lines() -> Iterator[str]:
        writer = csv.writer(_Line())
        yield writer.writerow(columns)
        for values in rows:
            yield writer.writerow([plain(cell(values[column])) for column in columns])

    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8", headers=headers)


KINDS = {
    "csv": (csv_lines, "text/csv; charset=utf-8", "csv"),
    "json": (json_lines, "application/x-ndjson; charset=utf-8", "jsonl"),
}


def response(runs: LayerRunQuerySet, kind: str, *, with_details: bool) -> StreamingHttpResponse:
    """Return a download of the runs that is written while they are read."""
    lines, content_type, suffix = KINDS[kind]
    names = columns(with_details)
    streamed = lines(runs.only(*names).iterator(chunk_size=500), names)
    headers = {"Content-Disposition": f'attachment; filename="layer-runs.{suffix}"'}
    return StreamingHttpResponse(streamed, content_type=content_type, headers=headers)
