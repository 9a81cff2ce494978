"""Runs in the built-in admin: evidence to search, filter, export and, by permission, delete; never to edit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import F, OrderBy, QuerySet
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from . import export, formatting
from .access import VIEW_DETAILS
from .columns import Look, RunColumn
from .filters import LayerRunFilterSet
from .lenses import run as run_lens
from .menus import menus
from .models import ErrorLine, LayerRun, LlmCall, RunUsage
from .tables import LayerRunTable
from .windows import PERIODS


def selection_of(given: dict[str, list[str]], runs: QuerySet) -> LayerRunFilterSet:
    """Return the selection of these parameters; the admin starts with all of time, the monitor with a week."""
    data = QueryDict(mutable=True)
    for name, values in given.items():
        data.setlist(name, values)
    if data.get("period") not in PERIODS:
        data["period"] = "all"
    return LayerRunFilterSet(data, runs)


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


class RunChangeList(ChangeList):
    def get_ordering(self, request: HttpRequest, queryset: QuerySet) -> list[Any]:
        """Say where NULLs go: the two databases differ when nobody does."""
        order = super().get_ordering(request, queryset)
        # A generated column's own `null` says nothing: what it makes has it.
        fields = LayerRun._meta.concrete_fields
        nullable = {field.name for field in fields if getattr(field, "output_field", field).null}
        return [_nulls_last(key) if key.removeprefix("-") in nullable else key for key in order]


def _nulls_last(key: str) -> OrderBy:
    field = F(key.removeprefix("-"))
    return field.desc(nulls_last=True) if key.startswith("-") else field.asc(nulls_last=True)


def _listed(name: str, column: RunColumn) -> Callable[[LayerRun], str]:
    """Return a changelist column that says what the same column says on the page."""

    @admin.display(description=column.verbose_name, ordering=str(column.accessor) if column.orderable else None)
    def text(run: LayerRun) -> str:
        return column.text(run, Look.at_once())

    text.__name__ = name  # the admin makes the cell's CSS class of it
    return text


LISTED = {name: _listed(name, column) for name, column in LayerRunTable.base_columns.items()}


@admin.register(LayerRun)
class LayerRunAdmin(admin.ModelAdmin):
    change_list_template = "layer_runs/admin_change_list.html"
    change_form_template = "layer_runs/admin_change_form.html"
    list_display = tuple(LISTED.values())
    list_display_links = (LISTED["started_at"], LISTED["layer_name"])
    list_filter = (StatusFilter, LayerFilter, ModelFilter, SourceFilter, PeriodFilter)
    search_fields = ("id",)  # shows the box; what it finds is get_search_results()
    search_help_text = _("Literal text in ids, error texts, topics and nodes.")
    ordering = ("-started_at", "-id")
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200
    actions = ("export_csv", "export_json")

    class Media:
        css = {"all": ["layer_runs/layer_runs.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: LayerRun | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        # Only the selection's parameters: a free lookup is a way to run any regex over any column.
        return lookup in LayerRunFilterSet.base_filters

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).for_list()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RunChangeList

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        hidden = () if request.user.has_perm(VIEW_DETAILS) else (LISTED["first_error"],)
        return tuple(column for column in self.list_display if column not in hidden)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        if not search_term:
            return queryset, False
        return queryset.search(search_term[:200], in_errors=request.user.has_perm(VIEW_DETAILS)), False

    def get_fields(self, request: HttpRequest, obj: LayerRun | None = None) -> list[str]:
        names = [field.name for field in LayerRun._meta.concrete_fields if field.name not in export.DETAILS]
        return [*names, "error_texts", "notes"] if request.user.has_perm(VIEW_DETAILS) else names

    def get_readonly_fields(self, request: HttpRequest, obj: LayerRun | None = None) -> list[str]:
        return self.get_fields(request, obj)

    @admin.display(description=_("errors"))
    def error_texts(self, run: LayerRun) -> str:
        errors_url = reverse("layer_runs:run_errors", args=[run.pk]) + "?"
        context = {"run": run, "errors": run_lens.error_page(run), "errors_url": errors_url}
        return render_to_string("layer_runs/_admin_errors.html", context) if run.error_count else formatting.NOTHING

    @admin.action(description=_("Export selected runs as CSV"))
    def export_csv(self, request: HttpRequest, queryset: QuerySet) -> HttpResponseBase:
        return self._export(request, queryset, "csv")

    @admin.action(description=_("Export selected runs as JSON lines"))
    def export_json(self, request: HttpRequest, queryset: QuerySet) -> HttpResponseBase:
        return self._export(request, queryset, "json")

    def _export(self, request: HttpRequest, queryset: QuerySet, kind: str) -> HttpResponseBase:
        with_details = request.user.has_perm(VIEW_DETAILS)
        # The list defers what is large; here that would be two queries a run.
        return export.response(queryset.defer(None).newest_first(), kind, with_details=with_details)

    def get_deleted_objects(self, objs: Iterable[LayerRun], request: HttpRequest) -> tuple[Any, ...]:
        # Errors and calls go with their run and are counted: listed, they would say what only some may read.
        runs = list(objs)
        counts = {
            model._meta.verbose_name_plural: model.objects.filter(run__in=objs).count()
            for model in (LlmCall, ErrorLine, RunUsage)
        }
        refused = set() if self.has_delete_permission(request) else {LayerRun._meta.verbose_name}
        return list(map(str, runs)), {LayerRun._meta.verbose_name_plural: len(runs)} | counts, refused, []

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        # What list this was opened from, as the admin itself remembers it.
        given = QueryDict(request.GET.get("_changelist_filters", ""))
        monitor = {"monitor_query": selection_of(dict(given.lists()), LayerRun.objects.all()).link("") if given else ""}
        return super().change_view(request, object_id, form_url, (extra_context or {}) | monitor)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        selection = selection_of(dict(request.GET.lists()), LayerRun.objects.all())
        monitor = {"monitor_url": selection.link(reverse("layer_runs:list"))}
        if request.method == "GET":
            for _name, label, message in LayerRunFilterSet(request.GET, LayerRun.objects.all()).complaints():
                said = {"filter": label, "message": message}
                messages.warning(request, _("%(filter)s: %(message)s This filter was left out.") % said)
        return super().changelist_view(request, (extra_context or {}) | monitor)
