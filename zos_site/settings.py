"""Settings of the example site, read from the environment. It knows `layer_runs` only as an installed app."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from .databases import STATE_DIR, database
from .environment import env_bool, env_list, env_number
from .logs import REFUSED_IN_SILENCE, is_ours

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = env_bool("DJANGO_DEBUG")
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or ("only-for-debugging-" * 3 if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "DJANGO_SECRET_KEY is not set: give it a random text of 50 characters or more, or set DJANGO_DEBUG=1."
    )
ALLOWED_HOSTS = env_list("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env_list("DJANGO_CSRF_TRUSTED_ORIGINS")

# Off for `make run`, which serves plain HTTP on this machine: a Secure cookie would never come back there.
HTTPS = env_bool("DJANGO_HTTPS")
# How many proxies in front add to X-Forwarded-For. HTTPS is done by one, unless said otherwise.
TRUSTED_PROXIES = env_number("DJANGO_TRUSTED_PROXIES", int(HTTPS))
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
# A load balancer asks from inside, by plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS and TRUSTED_PROXIES else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
# The browsers' own list is for whoever owns the domain to decide on, and takes months to leave.
SECURE_HSTS_PRELOAD = False
SILENCED_SYSTEM_CHECKS = ["security.W021"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# `__Host-`: no other host of the domain can set it, and it travels by HTTPS alone.
SESSION_COOKIE_NAME = "__Host-sessionid" if HTTPS else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if HTTPS else "csrftoken"
# Forms carry the token: no script reads a cookie.
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 8 * 3_600
SESSION_EXPIRE_AT_BROWSER_CLOSE = True

# What a request may bring: more is answered with 400.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1_000
DATA_UPLOAD_MAX_NUMBER_FILES = 1

INSTALLED_APPS = [
    "layer_runs",
    "django_htmx",
    "django_filters",
    "django_tables2",
    "axes",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "layer_runs.middleware.SiteGuardMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    # Last: it puts its page in the place of what a login that is refused would answer.
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "zos_site.urls"
WSGI_APPLICATION = "zos_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": database(os.environ.get("DATABASE_URL", ""))}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        ("UserAttributeSimilarityValidator", {}),
        ("MinimumLengthValidator", {"min_length": 15}),
        ("CommonPasswordValidator", {}),
        ("NumericPasswordValidator", {}),
    )
]
# Where a login leads that was told to lead elsewhere.
LOGIN_REDIRECT_URL = "admin:index"
# Five failures of a name from an address, then 429 for a quarter of an hour: see login.py.
AUTHENTICATION_BACKENDS = ["zos_site.login.Backend"]
AXES_HANDLER = "zos_site.login.Handler"
AXES_CLIENT_IP_CALLABLE = "zos_site.login.client_ip"
AXES_LOCKOUT_CALLABLE = "zos_site.login.locked_out"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
# Trying on does not prolong it: nobody can keep another out for ever.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
# The log says who came and went: no table of it.
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = AXES_VERBOSE = False

LANGUAGE_CODE = "en-us"
TIME_ZONE = os.environ.get("DJANGO_TIME_ZONE", "UTC")
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = STATE_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        # Hashed names need collectstatic; with DEBUG the files are served as they are.
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
# What went wrong goes to stderr, DEBUG or not: a 500 that leaves no trace cannot be mended. So does the trail
# of who came in and of what was exported, imported and deleted.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "zos_site.logs.OneLine"}},
    "filters": {"ours": {"()": "django.utils.log.CallbackFilter", "callback": is_ours}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
        "django.request": {"filters": ["ours"]},
        # Whoever knocks with a name that is not ours, or asks the admin for a filter or a field that it does not offer,
        # is answered 400: that is enough said.
        **dict.fromkeys(map("django.security.{}".format, REFUSED_IN_SILENCE), {"level": "CRITICAL"}),
        "axes": {"level": "ERROR"},
        "layer_runs.audit": {"level": "INFO"},
        "zos_site.login": {"level": "INFO"},
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

IMPORT_EVERY = env_number("DJANGO_IMPORT_EVERY", 0)
LAYER_RUNS: dict[str, object] = {"IMPORT_EVERY": timedelta(minutes=IMPORT_EVERY) or None}
