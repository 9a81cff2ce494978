"""The site's settings for its tests: plain static files, fast passwords, a database of their own."""

import os

os.environ.setdefault("DJANGO_SECRET_KEY", "tests " * 10)
os.environ.setdefault("DATABASE_URL", "sqlite:///:memory:")

from .settings import *  # noqa: E402, F403
from .settings import STORAGES  # noqa: E402

DEBUG = False
STORAGES = STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
