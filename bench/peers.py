"""What the pages are measured against: the same base without content, and the admin as most people set it up."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template import engines
from django.views.generic import TemplateView

from layer_runs.access import StaffOnly, admin_site
from layer_runs.models import LayerRun

EMPTY = """{% extends "layer_runs/base.html" %}{% block content %}{% endblock %}"""


class EmptyPage(StaffOnly, TemplateView):
    """The base template of the pages, with the same access checks and the same admin around it, and no content."""

    template = engines["django"].from_string(EMPTY)

    def get_template_names(self) -> Any:
        return self.template

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        chrome = admin_site().each_context(self.request) | {"is_nav_sidebar_enabled": False}
        return super().get_context_data(**chrome, title="Empty", **kwargs)


class PlainAdmin(admin.ModelAdmin):
    list_display = (
        *("id", "layer_name", "status", "started_at", "duration_ms", "model_name"),
        *("insights_created", "tokens_total", "estimated_cost_usd", "error_preview"),
    )
    list_filter = ("status", "layer_name", "model_name")
    date_hierarchy: str | None = "started_at"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class PlainAdminWithoutHierarchy(PlainAdmin):
    date_hierarchy = None


plain_site = admin.AdminSite("plain")
plain_site.register(LayerRun, PlainAdmin)
plain_site_without_hierarchy = admin.AdminSite("plain-without-hierarchy")
plain_site_without_hierarchy.register(LayerRun, PlainAdminWithoutHierarchy)
