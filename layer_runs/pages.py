"""What every page is made of: access, the selection, and one rule for fragments."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import SimpleTemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import TemplateView, View

from .access import StaffOnly, admin_site
from .columns import Look
from .filters import LayerRunFilterSet
from .guard import GuardedTemplateResponse, guarded
from .lines import spelled_out
from .models import LayerRun


def readable(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let the pages of a view show what would hide in a text or turn it around. Here once, not in each template."""

    @wraps(view)
    def inner(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if isinstance(response, SimpleTemplateResponse):
            response.add_post_render_callback(_spell_out)
        return response

    return inner


def _spell_out(response: HttpResponse) -> None:
    response.content = spelled_out(response.content.decode(response.charset))


# Nothing here listens to more than GET, so that a POST is told so (405) and not asked for a token; and a GET must not
# open a transaction: on SQLite that would take the write lock.
@method_decorator(csrf_exempt, name="dispatch")
@method_decorator(transaction.non_atomic_requests, name="dispatch")
@method_decorator(guarded, name="dispatch")
@method_decorator(readable, name="dispatch")
class MonitorView(StaffOnly, View):
    """A view over the selection that the query string means."""

    http_method_names = ["get", "head", "options"]
    url_name = "layer_runs:list"

    @cached_property
    def selection(self) -> LayerRunFilterSet:
        runs = LayerRun.objects.for_list()
        path = reverse(self.url_name)
        return LayerRunFilterSet(self.request.GET, runs, path=path, sees_errors=self.sees_details)


class PageView(MonitorView, TemplateView):
    """A whole page in the host's admin, or its fragment for a request that names it."""

    fragment_id = ""
    fragment_template_name = ""
    title = gettext_lazy("Layer runs")
    response_class = GuardedTemplateResponse

    @property
    def fragment_wanted(self) -> str:
        """The id of the element that htmx asks for, if it does: history restores and boosted links want the page."""
        htmx = self.request.htmx
        return "" if not htmx or htmx.boosted or htmx.history_restore_request else htmx.target or ""

    def get_template_names(self) -> list[str]:
        return [self.fragment_template_name if self.fragment_wanted == self.fragment_id else self.template_name]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        chrome = admin_site().each_context(self.request) | {"is_nav_sidebar_enabled": False}
        here = {
            "title": self.title,
            "selection": self.selection,
            "sees_details": self.sees_details,
            "now": self.look.now,
            "list_url": self.selection.link(reverse("layer_runs:list")),
        }
        return super().get_context_data(**(chrome | here | kwargs))

    @cached_property
    def look(self) -> Look:
        return Look.at_once()
