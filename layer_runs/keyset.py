"""Orders of runs that can go on from any row, so that what arrives meanwhile shifts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import F, OrderBy, Q

from .windowed import WindowedQuerySet
from .windows import Window

INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Order:
    """By one column, empty values last both ways; then the newest first, then by id, so that no two rows are equal."""

    column: str = "started_at"
    descending: bool = True

    @property
    def by_time(self) -> bool:
        return self.column == "started_at"

    @property
    def terms(self) -> tuple[OrderBy | str, ...]:
        if self.by_time:
            return ("-started_at", "-id") if self.descending else ("started_at", "id")
        # Said, since the two databases differ when nobody does.
        key = F(self.column)
        first = key.desc(nulls_last=True) if self.descending else key.asc(nulls_last=True)
        return first, "-started_at", "-id"

    def following(self, rows: WindowedQuerySet, row: Any) -> WindowedQuerySet:
        """Return the rows beyond this one, the nearest first. The row itself need not be among them any more."""
        if self.by_time:
            return self._sooner_or_later(rows, row, earlier=self.descending).order_by(*self.terms)
        value, is_equal, later = self._compared(row, earlier=True)
        if value is None:
            return rows.filter(later, is_equal).order_by(*self.terms)
        further = Q(**{f"{self.column}__{'lt' if self.descending else 'gt'}": value})
        is_empty = Q(**{f"{self.column}__isnull": True})
        return rows.filter(further | is_empty | (is_equal & later)).order_by(*self.terms)

    def preceding(self, rows: WindowedQuerySet, row: Any) -> WindowedQuerySet:
        """Return the rows ahead of this one, the nearest first."""
        if self.by_time:
            return self._sooner_or_later(rows, row, earlier=not self.descending).order_by(*self.terms).reverse()
        value, is_equal, sooner = self._compared(row, earlier=False)
        ahead = (
            Q(**{f"{self.column}__isnull": False})
            if value is None
            else Q(**{f"{self.column}__{'gt' if self.descending else 'lt'}": value})
        )
        return rows.filter(ahead | (is_equal & sooner)).order_by(*self.terms).reverse()

    def _sooner_or_later(self, rows: WindowedQuerySet, row: Any, *, earlier: bool) -> WindowedQuerySet:
        # The bound as the rows' window: one range of the index, and what narrows them is read of it alone.
        moment = row.started_at
        window = Window(until=moment + INSTANT) if earlier else Window(since=moment)
        return rows.within(window).filter(_beside(row, earlier=earlier))

    def _compared(self, row: Any, *, earlier: bool) -> tuple[Any, Q, Q]:
        value = getattr(row, self.column)
        is_equal = Q(**({f"{self.column}__isnull": True} if value is None else {self.column: value}))
        return value, is_equal, _beside(row, earlier=earlier)


def _beside(row: Any, *, earlier: bool) -> Q:
    """Return what is true of the rows before a moment, or after it, the id deciding within the same one."""
    how = "lt" if earlier else "gt"
    return Q(**{f"started_at__{how}": row.started_at}) | Q(started_at=row.started_at, **{f"id__{how}": row.pk})
