"""The selection's parameters as filters of the admin's list: same names, same values, same runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext_lazy as _

from ..access import VIEW_DETAILS
from ..fields import clean_text
from ..filters import LayerRunFilterSet
from ..lines import visible
from ..menus import menus
from ..models import LayerRun
from ..windows import PERIODS

LONGEST_CHOICE = 60


def selection_of(given: dict[str, list[str]], runs: QuerySet, *, sees_errors: bool = True) -> LayerRunFilterSet:
    """Return the selection of these parameters; the admin starts with all of time, the monitor with a week."""
    data = QueryDict(mutable=True)
    for name, values in given.items():
        data.setlist(name, values)
    if data.get("period") not in PERIODS:
        data["period"] = "all"
    return LayerRunFilterSet(data, runs, sees_errors=sees_errors)


class SelectionFilter(admin.SimpleListFilter):
    """One parameter of the selection as an admin filter: same name, same values, same runs."""

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: type, model_admin: Any) -> None:
        self.given = list(params.get(self.parameter_name, []))
        super().__init__(request, params, model, model_admin)

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return selection_of({self.parameter_name: self.given}, queryset).qs if self.given else queryset


class PeriodFilter(SelectionFilter):
    """Windows that end in the index, in place of a date hierarchy that reads the whole table."""

    title = _("period")
    parameter_name = "period"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: type, model_admin: Any) -> None:
        # A range of one's own has no choice here; a link from the monitor brings it along.
        self.range = {name: params.pop(name) for name in ("since", "until") if name in params}
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, label) for value, label in PERIODS.items() if value != "all"]

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        # A range goes before a period, so that choosing a period has to end it.
        for choice in super().choices(changelist):
            chosen = QueryDict(choice["query_string"].removeprefix("?"), mutable=True)
            for name in self.range:
                chosen.pop(name, None)
            yield choice | {
                "query_string": f"?{chosen.urlencode()}",
                "selected": choice["selected"] and not self.range,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        given = {self.parameter_name: self.given} | self.range
        return selection_of(given, queryset).qs if any(given.values()) else queryset


class ValuesFilter(SelectionFilter):
    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        selection = selection_of({self.parameter_name: self.given}, LayerRun.objects.all())
        shown = menus(selection, only=self.parameter_name)
        return [(choice.value, choice.value) for menu in shown for choice in menu.choices]


class StatusFilter(ValuesFilter):
    title = _("status")
    parameter_name = "status"


class LayerFilter(ValuesFilter):
    title = _("layer")
    parameter_name = "layer_name"


class ModelFilter(ValuesFilter):
    title = _("model")
    parameter_name = "model_name"


class SourceFilter(ValuesFilter):
    title = _("source")
    parameter_name = "source"


class RestFilter(admin.ListFilter):
    """What of the selection has no filter here: the monitor's link brings it along, a click takes it away.

    The last of the filters, since it takes what the others leave.
    """

    title = _("what else is selected")

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: type, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.given = {name: list(params.pop(name)) for name in LayerRunFilterSet.base_filters if name in params}
        self.sees_errors = request.user.has_perm(VIEW_DETAILS)

    def has_output(self) -> bool:
        return bool(self.given)

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        for name, values in self.given.items():
            label = LayerRunFilterSet.base_filters[name].label
            text = visible(clean_text(", ".join(values), LONGEST_CHOICE))
            without = changelist.get_query_string(remove=[name])
            yield {"selected": True, "query_string": without, "display": f"{label}: {text} ✕"}

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return selection_of(self.given, queryset, sees_errors=self.sees_errors).qs

    def expected_parameters(self) -> list[str]:
        return list(self.given)
