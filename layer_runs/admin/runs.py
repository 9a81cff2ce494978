"""Runs in the built-in admin: evidence to search, filter, export and, by permission, delete; never to edit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db import transaction
from django.db.models import F, OrderBy, QuerySet
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _

from .. import export, formatting
from ..access import VIEW_DETAILS
from ..audit import Action, record, user_name
from ..columns import Look, RunColumn
from ..filters import LayerRunFilterSet
from ..forms import LONGEST_SEARCH
from ..guard import dressed
from ..lenses import run as run_lens
from ..models import ErrorLine, LayerRun, LlmCall, RunUsage
from ..pages import readable
from ..tables import LayerRunTable
from .deleting import ask_or_delete
from .filters import LayerFilter, ModelFilter, PeriodFilter, RestFilter, SourceFilter, StatusFilter, selection_of
from .selecting import Selected


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
@method_decorator(readable, name="changelist_view")
@method_decorator(readable, name="changeform_view")
@method_decorator(readable, name="delete_view")
@method_decorator(readable, name="history_view")
class LayerRunAdmin(admin.ModelAdmin):
    change_list_template = "layer_runs/admin_change_list.html"
    change_form_template = "layer_runs/admin_change_form.html"
    list_display = tuple(LISTED.values())
    list_display_links = (LISTED["started_at"], LISTED["layer_name"])
    list_filter = (StatusFilter, LayerFilter, ModelFilter, SourceFilter, PeriodFilter, RestFilter)
    search_fields = ("id",)  # shows the box; what it finds is get_search_results()
    search_help_text = _("Literal text in ids, error texts, topics and nodes.")
    ordering = ("-started_at", "-id")
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200
    actions = ("export_csv", "export_json", "delete_selected")

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
        if not search_term or len(search_term) > LONGEST_SEARCH:
            return queryset, False  # The page says that it was left out, as the monitor does.
        return queryset.search(search_term, in_errors=request.user.has_perm(VIEW_DETAILS)), False

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

    def _export(self, request: HttpRequest, queryset: QuerySet, kind: str) -> HttpResponseBase | None:
        selected = Selected.of(request, queryset)
        if refusal := selected.refusal:
            messages.error(request, refusal)
            return None
        # The list defers what is large; here that would be two queries a run.
        runs = selected.runs.defer(None).newest_first()
        with_details = request.user.has_perm(VIEW_DETAILS)
        file = export.runs_file(runs, kind, with_details=with_details)
        what = f"{kind} {selected.name()}, {export.extent(with_details)}"
        return dressed(export.send(file, request, what=what))

    # Named as the admin's own, whose place it takes: that one posts every id, and a thousand are too many.
    @admin.action(permissions=["delete"], description=_("Delete selected runs …"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet) -> HttpResponseBase | None:
        return ask_or_delete(self, request, queryset)

    def delete_model(self, request: HttpRequest, obj: LayerRun) -> None:
        record(Action.DELETE, actor=user_name(request.user), what=f"run {obj.pk}", runs=1)
        super().delete_model(request, obj)

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

    # An export reads and a deletion writes in short steps, not in one transaction of the whole request.
    @method_decorator(transaction.non_atomic_requests)
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        sees_errors = request.user.has_perm(VIEW_DETAILS)
        selection = selection_of(dict(request.GET.lists()), LayerRun.objects.all(), sees_errors=sees_errors)
        monitor = {"monitor_url": selection.link(reverse("layer_runs:list"))}
        if request.method == "GET":
            asked = LayerRunFilterSet(request.GET, LayerRun.objects.all(), sees_errors=sees_errors)
            for _name, label, message in asked.complaints():
                said = {"filter": label, "message": message}
                messages.warning(request, _("%(filter)s: %(message)s This filter was left out.") % said)
        return super().changelist_view(request, (extra_context or {}) | monitor)
