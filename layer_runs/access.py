"""Who may see what: staff of the admin site in use, with the app's own permissions."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from .conf import get_config
from .models import LayerRun

VIEW_RUNS = "layer_runs.view_layerrun"
VIEW_DETAILS = "layer_runs.view_run_details"


def admin_site() -> AdminSite:
    """Return the admin site whose chrome and login the pages use."""
    return import_string(get_config()["ADMIN_SITE"])


def admin_link(page: str, *args: str) -> str:
    """Return a page of runs in the built-in admin, or an empty text where that does not show them."""
    site = admin_site()
    if not site.is_registered(LayerRun):
        return ""
    return reverse(f"admin:layer_runs_layerrun_{page}", args=[quote(arg) for arg in args], current_app=site.name)


def asked_from(request: HttpRequest) -> str:
    """Return the path and query of the page that htmx asks from, or an empty text where it names none of this site."""
    try:
        path = (request.htmx and request.htmx.current_url_abs_path) or ""
    except ValueError:  # It is what a stranger sends, and need be no address.
        return ""
    # Two slashes would lead to another site.
    return "" if path.startswith("//") else path


class StaffOnly:
    """Let in active staff who may view runs; send the nameless to the login, refuse the rest."""

    # What a view needs besides VIEW_RUNS, which every one of them needs.
    needs_details = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = request.user
        if not user.is_authenticated:
            return self.to_login(request)
        if not (user.is_active and user.is_staff and user.has_perm(VIEW_RUNS)):
            raise PermissionDenied(_("Viewing runs needs a staff account and the permission “Can view layer run”."))
        if self.needs_details and not self.sees_details:
            raise PermissionDenied(_("Error texts and LLM calls need the permission to view them."))
        # The admin's templates reverse "admin:..." for the site that this names.
        request.current_app = admin_site().name
        return super().dispatch(request, *args, **kwargs)

    @property
    def sees_details(self) -> bool:
        return self.request.user.has_perm(VIEW_DETAILS)

    def to_login(self, request: HttpRequest) -> HttpResponseBase:
        login = reverse("admin:login", current_app=admin_site().name)
        if not request.htmx:
            return redirect_to_login(request.get_full_path(), login)
        # A login form has no place inside a table: the whole page goes there, and comes back whole.
        whole_page = asked_from(request) or request.get_full_path()
        redirect = redirect_to_login(whole_page, login)
        return HttpResponse(status=401, headers={"HX-Redirect": redirect.url})
