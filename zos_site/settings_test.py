"""The site's settings for its tests: plain static files, fast passwords, a database of their own."""

from __future__ import annotations

import os

# Whatever the shell around says about the site, its tests run on the same one.
for name in (
    *("DJANGO_DEBUG", "DJANGO_HTTPS", "DJANGO_TIME_ZONE", "DJANGO_TRUSTED_PROXIES", "DJANGO_STATEMENT_TIMEOUT"),
    "DJANGO_IMPORT_EVERY",
):
    os.environ.pop(name, None)
os.environ["DJANGO_SECRET_KEY"] = "tests " * 10
os.environ["DJANGO_CREATE_DATABASE"] = "1"
os.environ.setdefault("DATABASE_URL", "sqlite:///:memory:")

from .settings import *  # noqa: E402, F403
from .settings import STORAGES  # noqa: E402

STORAGES = STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# Static files come from where they are written: there is no collectstatic before a test.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
