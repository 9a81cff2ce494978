"""The query string is the selection: from it to a queryset, and back to chips and links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Self
from urllib.parse import urlencode

import django_filters
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import windows
from .forms import InstantField, PeriodField, SelectionForm, StatusField, ValuesField
from .models import LayerRun, Status
from .querysets import LayerRunQuerySet
from .windows import Window


class ValuesFilter(django_filters.Filter):
    """A repeatable parameter over a column of text; its menu is read from the data."""

    field_class = ValuesField

    def __init__(self, field_name: str, **kwargs: Any) -> None:
        super().__init__(field_name, lookup_expr="in", **kwargs)


class StatusFilter(ValuesFilter):
    field_class = StatusField


class PeriodFilter(django_filters.Filter):
    field_class = PeriodField


class InstantFilter(django_filters.Filter):
    field_class = InstantField


@dataclass(frozen=True)
class Chip:
    """One part of the selection, and the link that takes it away."""

    label: str
    text: str
    url: str


@dataclass(frozen=True)
class Menu:
    """The choices of a repeatable parameter, with those that are taken."""

    name: str
    label: str
    options: list[tuple[str, bool]]

    @property
    def taken(self) -> int:
        return sum(selected for _value, selected in self.options)


class LayerRunFilterSet(django_filters.FilterSet):
    """The selection. A bad value drops its own filter and leaves a message in `complaints()`; the rest holds."""

    layer_name = ValuesFilter("layer_name", label=_("Layer"))
    status = StatusFilter("status", label=_("Status"))
    model_name = ValuesFilter("model_name", label=_("Model"))
    source = ValuesFilter("source", label=_("Source"))
    period = PeriodFilter(label=_("Period"), choices=list(windows.PERIODS.items()), method="in_period")
    since = InstantFilter(label=_("From"), parse=windows.parse_since, method="in_window")
    until = InstantFilter(label=_("Until"), parse=windows.parse_until, method="in_window")
    q = django_filters.CharFilter(label=_("Search"), max_length=200, method="matching")

    class Meta:
        model = LayerRun
        fields: list[str] = []
        form = SelectionForm

    def __init__(
        self,
        data: QueryDict,
        queryset: LayerRunQuerySet,
        *,
        path: str = "",
        sees_errors: bool = True,
        now: datetime | None = None,
    ) -> None:
        """Read `data`. `path` is where links lead; `sees_errors` lets `q` look beyond ids."""
        super().__init__(data, queryset)
        self.path = path
        self.sees_errors = sees_errors
        self.now = now or timezone.now()
        # What a page adds to the links of the selection: its sort and page size.
        self.carried: dict[str, str] = {}

    def get_form_class(self) -> type[SelectionForm]:
        # The fields follow from the class alone; django-filter would build a form class at every request.
        if "form_class" not in type(self).__dict__:
            type(self).form_class = super().get_form_class()
        return type(self).form_class

    # -- query string to queryset

    @cached_property
    def values(self) -> dict[str, Any]:
        """The parameters that are given and make sense."""
        self.form.is_valid()
        return {name: value for name, value in self.form.cleaned_data.items() if value}

    @cached_property
    def window(self) -> Window:
        since, until = self.values.get("since"), self.values.get("until")
        if since or until:
            return Window(since, until)
        return windows.of_period(self.named_period, self.now, timezone.get_default_timezone())

    @property
    def named_period(self) -> str:
        """The named period in force, or an empty text for a range of one's own."""
        if "since" in self.values or "until" in self.values:
            return ""
        return self.values.get("period", windows.DEFAULT_PERIOD)

    def filter_queryset(self, queryset: LayerRunQuerySet) -> LayerRunQuerySet:
        queryset = queryset.within(self.window)
        for name, value in self.values.items():
            queryset = self.filters[name].filter(queryset, value)
        return queryset

    def in_period(self, queryset: LayerRunQuerySet, name: str, value: str) -> LayerRunQuerySet:
        return queryset  # the window is one thing, made of three parameters

    in_window = in_period

    def matching(self, queryset: LayerRunQuerySet, name: str, value: str) -> LayerRunQuerySet:
        return queryset.search(value, in_errors=self.sees_errors, window=self.window)

    def complaints(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, label and message of each parameter that made no sense."""
        for name, messages in self.errors.items():
            for message in messages:
                yield name, self.filters[name].label, message

    # -- and back

    def parameters(self) -> dict[str, list[str]]:
        """Return the selection as parameters: only what makes sense, and no defaults."""
        given = {name: self._given(name) for name in self.filters if name in self.values}
        if not self.named_period or given.get("period") == [windows.DEFAULT_PERIOD]:
            given.pop("period", None)
        return given | {name: [value] for name, value in self.carried.items()}

    def link(self, path: str | None = None, **changes: Any) -> str:
        """Return the URL of this selection with parameters changed: a text, a list, or None to drop one."""
        parameters: dict[str, Any] = self.parameters() | changes
        query = urlencode({name: value for name, value in parameters.items() if value}, doseq=True)
        where = self.path if path is None else path
        return f"{where}?{query}" if query else where

    def cleared(self) -> str:
        """Return the URL of all runs of the same period."""
        return self.link(**{name: None for name in self.filters if name != "period"})

    def variant(self, **changes: list[str] | None) -> Self:
        """Return the same selection with parameters changed, to count what a wider one holds."""
        data = QueryDict(mutable=True)
        for name, value in (self.parameters() | changes).items():
            if value:
                data.setlist(name, value)
        return type(self)(data, self.queryset, path=self.path, sees_errors=self.sees_errors, now=self.now)

    def chips(self) -> Iterator[Chip]:
        """Yield each part of the selection but the period, which has its own switch."""
        for name, given in self.parameters().items():
            if name == "period" or name not in self.filters:
                continue
            for text in given:
                rest = [other for other in given if other != text]
                yield Chip(self.filters[name].label, text, self.link(**{name: rest}))

    def menus(self, only: str = "") -> Iterator[Menu]:
        """Yield the menus of the repeatable parameters, or one. Sources are a choice only where there are several."""
        for name, item in self.filters.items():
            if not isinstance(item, ValuesFilter) or only not in ("", name):
                continue
            taken = self._given(name) if name in self.values else []
            known = [value for value in self.queryset.model.objects.values_of(item.field_name) if value]
            if name == "status":
                known = [*Status.values, *(value for value in known if value not in Status.values)]
            if name == "source" and len(known) < 2 and not taken:
                continue
            options = [*known, *(value for value in taken if value not in known)]
            yield Menu(name, item.label, [(value, value in taken) for value in options])

    @property
    def typed(self) -> dict[str, str]:
        """What was typed into the single-valued filters, to be shown again beside its message."""
        single = (name for name, item in self.filters.items() if not isinstance(item, ValuesFilter))
        return {name: self.data.get(name, "") for name in single}

    def _given(self, name: str) -> list[str]:
        value = self.values[name]
        return list(value) if isinstance(value, list) else [self.data.get(name, "").strip()]
