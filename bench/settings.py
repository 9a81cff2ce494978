"""The site's settings for its benchmark: as it is served, on databases of the benchmark's own."""

from __future__ import annotations

import os
from typing import Any

# Whatever the shell around says about the site, the benchmark measures the same one.
for name in ("DJANGO_DEBUG", "DJANGO_HTTPS", "DJANGO_TIME_ZONE", "DATABASE_URL"):
    os.environ.pop(name, None)
os.environ["DJANGO_SECRET_KEY"] = "bench " * 10

from zos_site.settings import *  # noqa: E402, F403
from zos_site.settings import STATE_DIR, database  # noqa: E402

BENCH_DIR = STATE_DIR / "bench"
BENCH_DIR.mkdir(parents=True, exist_ok=True)
BENCH_DATABASE_URL = os.environ.get("BENCH_DATABASE_URL", "")


def own_database(name: str) -> dict[str, Any]:
    """Return the settings of one database of the benchmark: a file, or on PostgreSQL a schema."""
    if not BENCH_DATABASE_URL:
        return database("") | {"NAME": BENCH_DIR / f"{name}.sqlite3"}
    settings = database(BENCH_DATABASE_URL)
    return settings | {"OPTIONS": settings.get("OPTIONS", {}) | {"options": f"-c search_path=bench_{name}"}}


# `default` is whichever of the others is being measured: see databases.use().
DATABASES = {name: own_database(name) for name in ("large", "small", "imported")}
DATABASES["default"] = DATABASES["small"]

ROOT_URLCONF = "bench.urls"
ALLOWED_HOSTS = ["localhost"]
STATIC_ROOT = BENCH_DIR / "static"
