"""Who may try to log in, and how often: five failures of a name from an address, then a quarter of an hour of rest."""

from __future__ import annotations

import logging
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers

# What an IPv6 connection gives to one customer: whoever has one address has all of these.
IPV6_CUSTOMER = 64

logger = logging.getLogger(__name__)


def client_ip(request: HttpRequest) -> str | None:
    """Return where a request comes from, as far as it can be believed; for IPv6, the first address of its network.

    Each of `TRUSTED_PROXIES` proxies adds to the right of X-Forwarded-For what it saw; what stands
    further left was said by the visitor and is not read. Nothing else is decided by this address.
    """
    seen = [request.META.get("REMOTE_ADDR", "")]
    if settings.TRUSTED_PROXIES:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        seen.insert(0, forwarded[-settings.TRUSTED_PROXIES] if len(forwarded) >= settings.TRUSTED_PROXIES else "")
    for text in seen:
        try:
            address = ip_address(text.strip())
        except ValueError:
            continue
        if isinstance(address, IPv6Address):
            if address.ipv4_mapped:
                return str(address.ipv4_mapped)
            return str(ip_network((int(address), IPV6_CUSTOMER), strict=False).network_address)
        return str(address)
    return None


class Backend(AxesStandaloneBackend, ModelBackend):
    """Users and permissions as Django knows them, with a rest after too many failures."""

    def authenticate(self, request: HttpRequest | None, username: str | None = None, **credentials: Any) -> Any:
        if request is not None:
            # Raises PermissionDenied where a rest is due. Without a request there is nobody to hold off.
            super().authenticate(request, username=username, **credentials)
        return ModelBackend.authenticate(self, request, username=username, **credentials)


class Handler(AxesDatabaseHandler):
    """Counts failures, keeps nothing else of the visitor, and says in the log who came in and who did not."""

    def user_login_failed(self, sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
        if request is None:
            return
        request.axes_user_agent = request.axes_http_accept = ""
        super().user_login_failed(sender, credentials, request, **kwargs)
        outcome = "Refused for a while" if request.axes_locked_out else "Failed login"
        logger.warning("%s: %s from %s", outcome, credentials.get("username", ""), request.axes_ip_address)

    def user_logged_in(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        super().user_logged_in(sender, request, user, **kwargs)
        logger.info("Login: %s from %s", user.get_username(), request.axes_ip_address)

    def user_logged_out(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        super().user_logged_out(sender, request, user, **kwargs)
        logger.info("Logout: %s from %s", user.get_username() if user else "nobody", request.axes_ip_address)


def locked_out(request: HttpRequest, *args: Any) -> HttpResponse:
    """Answer 429 in the admin's look."""
    minutes = settings.AXES_COOLOFF_TIME // timedelta(minutes=1)
    context = admin.site.each_context(request) | {"title": "", "minutes": minutes}
    response = render(request, "admin/locked_out.html", context, status=429)
    response.headers["Retry-After"] = str(minutes * 60)
    add_never_cache_headers(response)
    return response
