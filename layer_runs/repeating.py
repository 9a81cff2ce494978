"""One query, asked for many windows of time at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import QuerySet, Value

from .windows import EARLIEST, Window

# SQLite joins 500 queries and takes 32,766 values at most.
QUERIES_AT_MOST, VALUES_AT_MOST = 400, 30_000
_INSTANT = timedelta(microseconds=1)
# Stands for the place of a window; no parameter of ours is such a number.
_PLACE = -7_205_759_403_792_793


def each(
    windows: Sequence[Window], of: Window, ask: Callable[[Window, Value], QuerySet[Any, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query for every window, one UNION ALL of them all.

    `ask` makes the query for a window and its place among them; all of the windows lie in the window `of`.
    It is called, and its SQL compiled, just once: Django would spend more time on compiling a query for
    each window than the database on answering them.
    """
    model = _stand_in(of)
    queryset = ask(model, Value(_PLACE))
    connection = connections[queryset.db]
    compiler = queryset.query.get_compiler(connection=connection)
    try:
        sql, parameters = compiler.as_sql()
    except EmptyResultSet:
        return
    names = list(queryset.query.selected or (*queryset.query.values_select, *queryset.query.annotation_select))
    converters = compiler.get_converters([column for column, _sql, _alias in compiler.select])
    adapt: Callable[[datetime], Any] = connection.ops.adapt_datetimefield_value
    since, until = adapt(model.since), adapt(model.until)
    at_once = max(min(QUERIES_AT_MOST, VALUES_AT_MOST // max(len(parameters), 1)), 1)
    numbered = enumerate(windows)
    while some := list(islice(numbered, at_once)):
        values: list[Any] = []
        for place, window in some:
            put = {since: adapt(window.since), until: adapt(window.until), _PLACE: place}
            values += [put.get(value, value) for value in parameters]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join([sql] * len(some)), values)
            rows = cursor.fetchall()
        if converters:
            rows = compiler.apply_converters(rows, converters)
        yield from (dict(zip(names, row, strict=True)) for row in rows)


def _stand_in(window: Window) -> Window:
    """Return a window to be replaced by others: of moments that lie in the given one and are not its edges."""
    start = window.since or (window.until - 3 * _INSTANT if window.until else EARLIEST)
    return Window(start + _INSTANT, start + 2 * _INSTANT)
