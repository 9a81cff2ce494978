"""The kinds of parameters a selection has: each narrows runs in its own way."""

from __future__ import annotations

from typing import Any

import django_filters

from .forms import AmountField, DurationField, FlagField, InstantField, PeriodField, StatusField, ValuesField
from .querysets import LayerRunQuerySet


class ValuesFilter(django_filters.Filter):
    """A repeatable parameter over a column of text. `has_menu` where its values can be read from an index."""

    field_class = ValuesField

    def __init__(self, field_name: str, *, has_menu: bool = False, **kwargs: Any) -> None:
        super().__init__(field_name, lookup_expr="in", **kwargs)
        self.has_menu = has_menu


class StatusFilter(ValuesFilter):
    field_class = StatusField


class RelatedFilter(ValuesFilter):
    """A repeatable parameter over what belongs to a run: its errors, or what its LLM calls used."""

    def __init__(self, name: str, field_name: str, *, needs_details: bool = False, **kwargs: Any) -> None:
        super().__init__(field_name, **kwargs)
        self.name, self.needs_details = name, needs_details

    def filter(self, runs: LayerRunQuerySet, values: list[str]) -> LayerRunQuerySet:
        # What is asked for of one table is asked for together, by the selection: alone, only what to leave out.
        return runs.without_related(self.name, **{self.field_name: values})


class PeriodFilter(django_filters.Filter):
    field_class = PeriodField


class InstantFilter(django_filters.Filter):
    field_class = InstantField


class FlagFilter(django_filters.Filter):
    field_class = FlagField


class HasErrorsFilter(FlagFilter):
    def filter(self, runs: LayerRunQuerySet, wanted: str) -> LayerRunQuerySet:
        return runs.filter(error_count__gt=0) if wanted == FlagField.YES else runs.filter(error_count=0)


class UnpricedFilter(FlagFilter):
    """Whether a run used tokens that have no price, and so are not in its cost."""

    def filter(self, runs: LayerRunQuerySet, wanted: str) -> LayerRunQuerySet:
        return runs.filter(unpriced_tokens__gt=0) if wanted == FlagField.YES else runs.filter(unpriced_tokens=0)


class MinimumCostFilter(django_filters.Filter):
    field_class = AmountField


class MinimumDurationFilter(django_filters.Filter):
    field_class = DurationField
