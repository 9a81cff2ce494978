"""Bounds as database CHECKs: they hold for every way of writing, raw SQL included."""

from __future__ import annotations

from typing import Any

from django.db.models import CheckConstraint, Q
from django.db.models.functions import Length
from django.db.models.lookups import LessThanOrEqual

from .expressions import IsInstant, IsStoredAs
from .windows import EARLIEST, LATEST

MAX_TOKENS = 10**12
MAX_COUNT = 2**31 - 1


def in_range(name: str, low: Any, high: Any, *fields: str) -> CheckConstraint:
    """Each field is empty, or at least `low` and below `high`."""
    condition = Q()
    for field in fields:
        condition &= Q(**{f"{field}__isnull": True}) | Q(**{f"{field}__gte": low, f"{field}__lt": high})
    return CheckConstraint(condition=condition, name=name)


def times(prefix: str, *fields: str) -> list[CheckConstraint]:
    """Each field is empty, or a moment that can be read back, from 2000 to 2200."""
    readable = [CheckConstraint(condition=IsInstant(field), name=f"{prefix}_{field}_is_a_time") for field in fields]
    return [*readable, in_range(f"{prefix}_times_in_range", EARLIEST, LATEST, *fields)]


def fits(prefix: str, **lengths: int) -> list[CheckConstraint]:
    """Each is a text of at most so many characters. PostgreSQL bounds a varchar itself; SQLite takes anything."""
    return [
        CheckConstraint(condition=IsStoredAs(*lengths, kind="text"), name=f"{prefix}_texts_are_text"),
        *(
            CheckConstraint(condition=LessThanOrEqual(Length(field), length), name=f"{prefix}_{field}_fits")
            for field, length in lengths.items()
        ),
    ]


def whole(prefix: str, *fields: str) -> CheckConstraint:
    """Each field is empty or a whole number, which SQLite would not see to by itself."""
    return CheckConstraint(condition=IsStoredAs(*fields, kind="integer"), name=f"{prefix}_numbers_are_whole")
