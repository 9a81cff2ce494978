"""The query string is the selection: from it to a queryset, and back to chips and links."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlencode

import django_filters
from django.http import QueryDict
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from . import formatting, windows
from .forms import LONGEST_SEARCH, FlagField, SelectionForm
from .models import ErrorLine, LayerRun
from .parameters import (
    FlagFilter,
    HasErrorsFilter,
    InstantFilter,
    MinimumCostFilter,
    MinimumDurationFilter,
    PeriodFilter,
    RelatedFilter,
    StatusFilter,
    UnpricedFilter,
    ValuesFilter,
)
from .querysets import LayerRunQuerySet
from .windows import Window

# Each is a query; beyond them an error goes by its fingerprint.
TITLES_AT_MOST = 5


@dataclass(frozen=True)
class Chip:
    """One part of the selection, and the link that takes it away."""

    label: str
    text: str
    url: str


class LayerRunFilterSet(django_filters.FilterSet):
    """The selection. A bad value drops its own filter and leaves a message in `complaints()`; the rest holds."""

    layer_name = ValuesFilter("layer_name", label=_("Layer"), has_menu=True)
    status = StatusFilter("status", label=_("Status"), has_menu=True)
    model_name = ValuesFilter("model_name", label=_("Model"), has_menu=True)
    source = ValuesFilter("source", label=_("Source"), has_menu=True)
    layer_hash = ValuesFilter("layer_hash", label=_("Version"))
    model_profile = ValuesFilter("model_profile", label=_("Profile"))
    call_type = RelatedFilter("usage", "call_type", label=_("Call type"))
    called = RelatedFilter("usage", "model_name", label=_("Model called"))
    node = RelatedFilter("error_lines", "node", label=_("Node"), needs_details=True)
    topic = RelatedFilter("error_lines", "topic", label=_("Failed target"), needs_details=True)
    error = RelatedFilter("error_lines", "fingerprint", label=_("Error"), needs_details=True)
    exclude_layer = ValuesFilter("layer_name", label=_("Without layer"), exclude=True)
    exclude_error = RelatedFilter(
        "error_lines", "fingerprint", label=_("Without error"), needs_details=True, exclude=True
    )
    has_errors = HasErrorsFilter(label=_("Has errors"))
    unpriced = UnpricedFilter(label=_("Unpriced"))
    min_cost = MinimumCostFilter("estimated_cost_usd", "gte", label=_("Costs at least"))
    min_duration = MinimumDurationFilter("duration_ms", "gte", label=_("Takes at least"))
    period = PeriodFilter(label=_("Period"), choices=list(windows.PERIODS.items()), method="in_period")
    since = InstantFilter(label=_("From"), parse=windows.parse_since, method="in_window")
    until = InstantFilter(label=_("Until"), parse=windows.parse_until, method="in_window")
    q = django_filters.CharFilter(label=_("Search"), max_length=LONGEST_SEARCH, method="matching")

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
        given = self.form.cleaned_data.items()
        return {name: value for name, value in given if value and not self._is_withheld(name)}

    def _is_withheld(self, name: str) -> bool:
        """Whether a parameter asks for what this reader may not see: its answer would tell."""
        return not self.sees_errors and getattr(self.filters[name], "needs_details", False)

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
        related: dict[str, dict[str, list[str]]] = defaultdict(dict)
        for name, value in self.values.items():
            item = self.filters[name]
            if isinstance(item, RelatedFilter) and not item.exclude:
                # Together: a node and an error mean one line that is both.
                related[item.name][item.field_name] = value
            else:
                queryset = item.filter(queryset, value)
        for name, values in related.items():
            queryset = queryset.with_related(name, **values)
        return queryset.within(self.window)

    def in_period(self, queryset: LayerRunQuerySet, name: str, value: str) -> LayerRunQuerySet:
        return queryset  # the window is one thing, made of three parameters

    in_window = in_period

    def matching(self, queryset: LayerRunQuerySet, name: str, value: str) -> LayerRunQuerySet:
        return queryset.search(value, in_errors=self.sees_errors)

    def complaints(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, label and message of each parameter that made no sense."""
        for name, messages in self.errors.items():
            for message in messages:
                yield name, self.filters[name].label, message
        for name, value in self.form.cleaned_data.items():
            if value and self._is_withheld(name):
                yield name, self.filters[name].label, _("This needs the permission to view run details.")

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

    def previous(self) -> Self | None:
        """Return the same selection in the window of the same length just before, or None where there is none."""
        earlier = windows.before(self.window, self.now, timezone.get_default_timezone())
        if earlier is None:
            return None
        edges = {"since": [earlier.since.isoformat()], "until": [earlier.until.isoformat()]}
        return self.variant(period=None, **edges)

    def chips(self) -> Iterator[Chip]:
        """Yield each part of the selection but the period, which has its own switch."""
        titles = dict(self._titles())
        for name, given in self.parameters().items():
            if name == "period" or name not in self.filters:
                continue
            for text in given:
                rest = [other for other in given if other != text]
                spoken = titles.get(text) or self._spoken(name, text)
                yield Chip(self.filters[name].label, spoken, self.link(**{name: rest}))

    def _spoken(self, name: str, text: str) -> str:
        """Return a value as people call it."""
        if name == "layer_hash":
            return text[:8]
        if isinstance(self.filters[name], FlagFilter):
            return gettext("yes") if self.values[name] == FlagField.YES else gettext("no")
        return text

    def _titles(self) -> Iterator[tuple[str, str]]:
        """Yield what the first few of the selected errors are called: their newest text."""
        chosen = [text for name in ("error", "exclude_error") for text in self.values.get(name, ())]
        for fingerprint in chosen[:TITLES_AT_MOST]:
            lines = ErrorLine.objects.filter(fingerprint=fingerprint).order_by("-started_at", "-run")
            newest = lines.values_list("message", "node").first()
            if newest:
                yield fingerprint, ", ".join(filter(None, [formatting.error_title(newest[0]), newest[1]]))

    @property
    def unseen(self) -> Iterator[tuple[str, str]]:
        """Yield what a form must carry along: parameters without a control, and what the page adds."""
        for name, given in self.parameters().items():
            item = self.filters.get(name)
            if name != "live" and (item is None or self._has_no_control(name)):
                yield from ((name, text) for text in given)

    def _has_no_control(self, name: str) -> bool:
        item = self.filters[name]
        if name == "layer_hash":
            return len(self.values[name]) > 1
        return name == "unpriced" or isinstance(item, ValuesFilter) and not (item.has_menu or name == "exclude_layer")

    @property
    def typed(self) -> dict[str, str]:
        """What was typed into the single-valued filters, to be shown again beside its message."""
        single = (name for name, item in self.filters.items() if not isinstance(item, ValuesFilter))
        return {name: self.data.get(name, "") for name in single}

    def _given(self, name: str) -> list[str]:
        value = self.values[name]
        if isinstance(self.filters[name], FlagFilter):
            return ["1" if value == FlagField.YES else "0"]
        return list(value) if isinstance(value, list) else [self.data.get(name, "").strip()]
