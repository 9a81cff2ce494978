"""What is different in a process that answers requests: its patience ends, and it never begins without its database."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .databases import why_not


def prepare() -> None:
    """Set up the environment of a web server. Raises ImproperlyConfigured where it could not serve."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zos_site.settings")
    # A page that waits longer is better told so. Commands have all the time they need.
    os.environ.setdefault("DJANGO_STATEMENT_TIMEOUT", "15")
    from django.conf import settings

    if reason := why_not(settings.DATABASES["default"]):
        raise ImproperlyConfigured(reason)


def in_utf8(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Let nothing that a request says of its character set reach Django, which reads it before any middleware.

    One that is none, as `hex`, would end in an error of the server, and so would more parameters than are allowed
    beside any.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        kind = environ.get("CONTENT_TYPE", "")
        return application(environ | {"CONTENT_TYPE": re.sub(r"(?i);\s*charset\s*=[^;]*", "", kind)}, start_response)

    return answer
