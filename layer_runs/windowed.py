"""Rows that started in a window of time, and their sums a bucket of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from typing import Any, Self

from django.db import models
from django.db.models import Q

from .buckets import Bucket
from .repeating import each
from .windows import EVER, Window


def in_utc(window: Window) -> Window:
    """Return the same window in UTC: moments of one zone are compared by their wall clocks, which repeat an hour."""
    return Window(*(edge and edge.astimezone(UTC) for edge in (window.since, window.until)))


class WindowedQuerySet(models.QuerySet):
    """Rows with a `started_at`. They know their window, so that it can be cut into smaller ones."""

    window: Window = EVER
    # The same rows of any time, and what narrows them in a way that itself depends on the time.
    _any_time: Self | None = None
    _conditions: tuple[Callable[[Window], Q], ...] = ()

    def _clone(self) -> Self:
        clone = super()._clone()
        clone.window, clone._any_time, clone._conditions = self.window, self._any_time, self._conditions
        return clone

    @property
    def any_time(self) -> Self:
        return self if self._any_time is None else self._any_time

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the window narrows these rows."""
        return bool(self.any_time.query.where or self._conditions)

    @property
    def narrowed_by(self) -> set[str]:
        """The columns that narrow these rows besides the window; what is no plain column is an empty text."""
        lookups = [getattr(child, "lhs", None) for child in self.any_time.query.where.children]
        columns = {getattr(getattr(lookup, "target", None), "name", "") for lookup in lookups}
        return columns | ({""} if self._conditions else set())

    def within(self, window: Window) -> Self:
        """Return the rows of this window that lie in their own as well."""
        # From the rows of any time: of two bounds of one column a planner may take the wider for its index.
        whole, window = self.any_time, self.window & in_utc(window)
        bounded = whole.all()
        if window.since is not None:
            bounded = bounded.filter(started_at__gte=window.since)
        if window.until is not None:
            bounded = bounded.filter(started_at__lt=window.until)
        for condition in self._conditions:
            bounded = bounded.filter(condition(window))
        bounded.window, bounded._any_time = window, whole
        return bounded

    def narrowed(self, condition: Callable[[Window], Q]) -> Self:
        """Narrow by rows of another table, which then need to be read of the same window only."""
        rows = self.any_time.all()
        rows._conditions = (*rows._conditions, condition)
        rows.window = EVER
        return rows.within(self.window)

    def of_runs(self, runs: WindowedQuerySet) -> Self:
        """Return the rows that belong to these runs; the runs are only looked at where more than time narrows them."""
        mine = self.within(runs.window)
        if not runs.is_narrowed:
            return mine
        return mine.narrowed(lambda window: Q(run__in=runs.within(window).order_by().values("pk")))

    def filter(self, *args: Any, **kwargs: Any) -> Self:
        return self._and_at_any_time("filter", args, kwargs)

    def exclude(self, *args: Any, **kwargs: Any) -> Self:
        return self._and_at_any_time("exclude", args, kwargs)

    def annotate(self, *args: Any, **kwargs: Any) -> Self:
        return self._and_at_any_time("annotate", args, kwargs)

    def none(self) -> Self:
        return self._and_at_any_time("none", (), {})

    def _and_at_any_time(self, how: str, args: Any, kwargs: Any) -> Self:
        narrowed = getattr(super(), how)(*args, **kwargs)
        # Groups (`values`) are no rows any more: they are of this window for good.
        if self._any_time is not None and self._fields is None:
            narrowed._any_time = getattr(self._any_time, how)(*args, **kwargs)
        return narrowed

    def per(self, key: str, *keys: str, **sums: Any) -> models.QuerySet[Any, Any]:
        """Return a dict for each combination of the keys, with these sums of its rows."""
        return self.led_by(key).order_by().values(key, *keys).annotate(**sums)

    def per_bucket(self, buckets: Sequence[Bucket], *keys: str, **sums: Any) -> Iterator[dict[str, Any]]:
        """Yield a dict for each bucket and combination of the keys: `bucket` is its place, then keys and sums.

        One short range of an index for each bucket, joined to one query: a GROUP BY over a CASE of all edges
        takes three to eight times as long, most of it for sorting.
        """
        rows = self.led_by(*keys[:1])
        windows = [in_utc(Window(bucket.start, bucket.end)) & self.window for bucket in buckets]
        yield from each(
            windows,
            self.window,
            lambda window, place: (
                rows.within(window).order_by().annotate(bucket=place).values("bucket", *keys).annotate(**sums)
            ),
        )

    def led_by(self, *key: str) -> Self:
        """Say nothing new, but so that a planner takes the index that begins with this column."""
        return self
