"""The app's settings: one dict, `LAYER_RUNS`, over visible defaults."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

DEFAULTS: dict[str, Any] = {
    # A running run that gave no sign of life for this long is stored as crashed.
    "CRASHED_AFTER": timedelta(minutes=60),
    # Dotted path of the AdminSite whose chrome and login the pages use.
    "ADMIN_SITE": "django.contrib.admin.site",
    # The Content-Security-Policy of the pages; {static} is the origin of STATIC_URL. None leaves it to the site.
    "CSP": (
        "default-src 'none'; script-src 'self' {static}; style-src 'self' {static}; img-src 'self' data: {static};"
        " font-src 'self' {static}; connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none';"
        " frame-ancestors 'none'"
    ),
    # Whether keys, tokens and passwords in error texts are replaced before they are stored.
    "REDACT": True,
    # Regular expressions of what else is replaced there, as a list of texts.
    "REDACT_ALSO": (),
    # How often a source is imported, as a timedelta: twice as long without an import is said by `healthz`.
    "IMPORT_EVERY": None,
}


@cache
def get_config() -> dict[str, Any]:
    """Return the settings in force: `DEFAULTS`, overridden by `settings.LAYER_RUNS`."""
    return DEFAULTS | getattr(settings, "LAYER_RUNS", {})


@receiver(setting_changed)
def forget_config(*, setting: str, **kwargs: Any) -> None:
    if setting == "LAYER_RUNS":
        get_config.cache_clear()
