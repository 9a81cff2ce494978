from __future__ import annotations

import io
import logging
import os
import re
import time

import pytest
import time_machine
from django.conf import settings as site
from django.http import HttpResponse
from django.test import Client
from django.utils.log import log_response

from layer_runs.audit import Action, record
from layer_runs.tests.factories import LayerRunFactory, StaffFactory
from zos_site.logs import OneLine


@pytest.fixture
def log():
    """A logger as the site sets it up, and what it wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine())
    logger = logging.Logger("odd")
    logger.addHandler(handler)
    return logger, stream


def test_d26_one_event_is_one_line_that_a_terminal_obeys_in_nothing(log):
    logger, stream = log
    logger.warning("a\r\n2026-11-22T00:00:00Z ERROR root: forged\x1b[2J\u2028\u202e%s", "\x00")
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue().rstrip("\n").isprintable()
    assert r"\r\n" in stream.getvalue()


def test_d26_a_traceback_goes_on_in_lines_that_cannot_be_taken_for_events(log):
    logger, stream = log
    try:
        raise ValueError("first\n2026-11-22T00:00:00Z ERROR root: forged\x1b[2J")
    except ValueError:
        logger.exception("It broke")
    first, *others = stream.getvalue().splitlines()
    assert first.endswith("odd: It broke")
    assert others
    assert all(line.startswith("  ") and line.isprintable() for line in others)


def test_o07_the_log_is_in_utc_wherever_the_site_is(log, monkeypatch):
    logger, stream = log
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        with time_machine.travel("2026-06-15T03:30:00+00:00", tick=False):
            logger.warning("x")
    finally:
        os.environ["TZ"] = site.TIME_ZONE
        time.tzset()
    assert stream.getvalue().startswith("2026-06-15T03:30:00Z WARNING odd: x")


@pytest.mark.django_db
def test_the_trail_is_in_the_log(capfd):
    handlers = logging.getLogger().handlers
    assert any(isinstance(handler.formatter, OneLine) for handler in handlers)
    logger = logging.getLogger("layer_runs.audit")
    assert logger.isEnabledFor(logging.INFO)
    assert logger.propagate
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append
    logging.getLogger().addHandler(handler)
    try:
        record(Action.EXPORT, actor="ada", what="status=failed", runs=3)
    finally:
        logging.getLogger().removeHandler(handler)
    (entry,) = seen
    assert entry.getMessage().startswith("export by ada: status=failed (3 ")


@pytest.mark.django_db
def test_o06_a_run_with_many_errors_is_no_flood_in_the_log(staff_pages):
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append
    names = ("", "django", "layer_runs.audit", "layer_runs.storage")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        errors = [{"topic": f"user:{n}", "error": f"refused\n{n}", "node": "n"} for n in range(2_000)]
        run = LayerRunFactory(errors=errors)
        for page in ("", f"{run.pk}/", f"{run.pk}/errors/", "errors/", "export/csv/"):
            assert staff_pages.get(f"/layer-runs/{page}").status_code == 200
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)
    assert len({id(record) for record in seen}) <= 10


@pytest.fixture
def staff_pages():
    client = Client()
    client.force_login(StaffFactory())
    return client


@pytest.mark.parametrize(("status", "logged"), [(403, True), (404, False), (400, False), (405, False), (500, True)])
def test_it_logs_what_was_refused_and_what_failed_and_not_what_was_mistyped(rf, caplog, status, logged):
    request = rf.get("/somewhere/")
    logging.getLogger("django").addHandler(caplog.handler)
    try:
        log_response("%s", request.path, response=HttpResponse(status=status), request=request)
    finally:
        logging.getLogger("django").removeHandler(caplog.handler)
    assert bool(caplog.records) is logged


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("host", "query"),
    [
        ("testserver", "logentry__user__password=a"),
        ("testserver", "_to_field=password"),
        ("evil.example", ""),
    ],
    ids=["filter", "field", "host"],
)
def test_o06_what_the_admin_does_not_offer_is_refused_and_not_worth_a_traceback(caplog, host, query):
    client = Client(HTTP_HOST=host)
    client.force_login(StaffFactory(is_superuser=True))
    caplog.clear()
    logging.getLogger("django").addHandler(caplog.handler)
    try:
        assert client.get(f"/admin/auth/user/?{query}").status_code == 400
    finally:
        logging.getLogger("django").removeHandler(caplog.handler)
    assert caplog.records == []


def test_every_logger_of_the_site_writes_to_stderr_with_one_formatter():
    handlers = site.LOGGING["handlers"]
    assert {(handler["class"], handler["formatter"]) for handler in handlers.values()} == {
        ("logging.StreamHandler", "line")
    }
    assert re.search(r"OneLine$", site.LOGGING["formatters"]["line"]["()"])
