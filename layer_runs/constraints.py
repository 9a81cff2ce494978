"""Bounds as database CHECKs: they hold for every way of writing, raw SQL included."""

from __future__ import annotations

from typing import Any

from django.db.models import CheckConstraint, Q
from django.db.models.functions import Length
from django.db.models.lookups import LessThanOrEqual

from .expressions import IsInstant
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
    """Each text is at most so many characters. PostgreSQL bounds a varchar itself; SQLite takes any length."""
    return [
        CheckConstraint(condition=LessThanOrEqual(Length(field), length), name=f"{prefix}_{field}_fits")
        for field, length in lengths.items()
    ]
