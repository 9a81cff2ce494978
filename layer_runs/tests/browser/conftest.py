"""A real browser: Debian's Chromium, driven by Playwright, against a live server. Nothing is downloaded."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection

from layer_runs.tests.factories import StaffFactory

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The second half: no look-ups of its own while it waits, so that a closed network is no trouble.
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# Tells the page's own console about what a content security policy stopped, wherever it happens.
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP stopped ${event.effectiveDirective}: ${event.blockedURI || event.sample}`));
"""


REASONS: set[str] = set()


def left_out(reason: str) -> None:
    """Skip, and say once what was not run and how to get it; under REQUIRE_ALL=1, fail."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(reason)
    REASONS.add(reason)
    pytest.skip(reason)


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in REASONS:
        terminalreporter.write_line(reason)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep SQLite in a file: one in-memory connection shared by all threads of the server mixes up their queries."""
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "browser.sqlite3")


@pytest.fixture(scope="session")
def live_server(django_db_setup: None, live_server: Any) -> Any:
    """The server of pytest-django, started only when the database is the file: it looks at that once."""
    return live_server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        left_out("Not run in a browser: Chromium is not installed. Get it with: apt install chromium")
    if find_spec("playwright") is None:
        left_out("Not run in a browser: Playwright is not installed. Get it with: make test")
    if sys.platform == "linux" and not loads("libatomic.so.1"):
        left_out("Not run in a browser: Playwright's driver lacks a library. Get it with: apt install libatomic1")
    from playwright.sync_api import sync_playwright

    # Playwright keeps an event loop in this thread, and Django would take our plain queries for async ones.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, live_server: Any) -> Iterator[Page]:
    """A page of a visitor nobody knows. Anything in its console that is an error fails the test."""
    context = browser.new_context(base_url=live_server.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.add_init_script(REPORT_VIOLATIONS)
    troubles: list[str] = []
    page.on("console", lambda message: message.type == "error" and troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    yield page
    context.close()
    assert troubles == []


@pytest.fixture
def staff_page(page: Page, live_server: Any) -> Page:
    """The same page, of a staff user who may see runs and their details."""
    user = StaffFactory()
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session.session_key, "url": live_server.url}
    page.context.add_cookies([cookie])
    return page
