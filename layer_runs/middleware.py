"""The guard for the rest of the site, the admin included: one line of MIDDLEWARE, and optional."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from .guard import (
    has_unreadable_field,
    is_storage_failure,
    is_too_long,
    is_unreadable,
    refusal,
    too_long,
    unavailable,
)


class SiteGuardMiddleware(MiddlewareMixin):
    """Refuse what is no text, say when the storage is away, and let a log-out leave nothing behind."""

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        if is_too_long(request):
            return too_long()
        return refusal() if is_unreadable(request) else None

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        # Reading a form early takes nothing away from a view that Django's CSRF middleware reads it for as well.
        # A view that is exempt from that is a way in for machines: it reads its body itself.
        is_exempt = getattr(view, "csrf_exempt", False)
        return refusal() if not is_exempt and has_unreadable_field(request) else None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        return unavailable(request, exception) if is_storage_failure(exception) else None

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.status_code == 500 and getattr(request, "lost_its_storage", False):
            return unavailable(request)
        match = getattr(request, "resolver_match", None)
        if match and "admin" in match.app_names and match.url_name == "logout" and response.status_code < 400:
            # Whoever sits down next finds nothing that runs said, in no cache and in no store of the browser.
            response.headers.setdefault("Clear-Site-Data", '"cache", "storage"')
        return response


@receiver(got_request_exception)
def remember_lost_storage(request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Note a failure outside of the view, as of a session to be saved: no `process_exception` hears of it."""
    if request is not None and is_storage_failure(sys.exc_info()[1]):
        request.lost_its_storage = True
