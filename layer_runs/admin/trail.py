"""The trail in the built-in admin: who exported, deleted, pruned, rescued and imported what. To read only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _

from .. import formatting
from ..models import AuditEvent
from ..pages import readable

# The list shows the beginning of what an event was about; its own page shows all that was kept.
SHOWN = 120


@admin.register(AuditEvent)
@method_decorator(readable, name="changelist_view")
@method_decorator(readable, name="changeform_view")
@method_decorator(readable, name="history_view")
class AuditEventAdmin(admin.ModelAdmin):
    list_display = ("when", "action", "how_many", "actor", "about")
    list_filter = ("action",)
    search_fields = ("actor",)  # shows the box; what it finds is get_search_results()
    search_help_text = _("Literal text in who it was and what it was about.")
    ordering = ("-at", "-id")
    sortable_by = ("when",)
    actions = None
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200
    fields = ("when", "action", "actor", "what", "how_many")

    @admin.display(description=_("at"), ordering="at")
    def when(self, event: AuditEvent) -> str:
        return f"{event.at.astimezone(timezone.get_default_timezone()):%Y-%m-%d %H:%M:%S %Z}"

    @admin.display(description=_("what"))
    def about(self, event: AuditEvent) -> str:
        return event.what if len(event.what) <= SHOWN else f"{event.what[:SHOWN]} …"

    @admin.display(description=_("how many"))
    def how_many(self, event: AuditEvent) -> str:
        return formatting.count(event.runs)

    # Nobody: not even whoever may do everything else.
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        # A free lookup is a way to run any regex over any column.
        return lookup == "action__exact"

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        if not search_term:
            return queryset, False
        text = search_term[:200]
        return queryset.filter(Q(actor__contains_ascii=text) | Q(what__contains_ascii=text)), False
