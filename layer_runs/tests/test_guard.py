"""What every answer carries, and what is answered to what is no text and while the storage is away."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import lxml.html
import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.messages import success
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.staticfiles import finders
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError, connection, transaction
from django.db.utils import ConnectionHandler
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import include, path, reverse
from django.utils.deprecation import MiddlewareMixin
from django.views.decorators.cache import cache_page
from django.views.decorators.csrf import csrf_exempt

from layer_runs import guard
from layer_runs.conf import DEFAULTS
from layer_runs.guard import guarded, has_unreadable_field, is_storage_failure, is_unreadable, unavailable
from layer_runs.models import ErrorLine, LayerRun
from layer_runs.tests.conftest import FRAGMENTS, HEADERS, VARIES, assert_dressed, client_of
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory, StaffFactory
from layer_runs.tests.test_access import ARGUMENTS, EVERY, address
from layer_runs.views.runs import RunListView

pytestmark = pytest.mark.django_db
# The policy of a page that loads nothing but its own files, to the letter.
STRICT = HEADERS["Content-Security-Policy"]
MIDDLEWARE = "layer_runs.middleware.SiteGuardMiddleware"
LIST = "/layer-runs/"


def content(answer: HttpResponseBase) -> bytes:
    return b"".join(answer)


def answered(view: Any, request: HttpRequest | None = None) -> HttpResponseBase:
    return guarded(view)(request or RequestFactory().get("/"))


def failed(sqlite: str = "SQLITE_BUSY", text: str = "database is locked") -> OperationalError:
    """Return what Django raises for an error of SQLite's."""
    error, cause = OperationalError(text), sqlite3.OperationalError(text)
    cause.sqlite_errorname, error.__cause__ = sqlite, cause
    return error


@contextmanager
def storage_away(after: int = 0) -> Iterator[None]:
    """Let the database go after so many queries."""
    asked = 0

    def ask(execute: Any, *args: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > after:
            raise failed()
        return execute(*args)

    with connection.execute_wrapper(ask):
        yield


def urls(*more: Any) -> Any:
    """Return the addresses of a site with the admin, the app, and some of its own."""
    own = [path("admin/", admin.site.urls), path("layer-runs/", include("layer_runs.urls")), *more]
    return type("Urls", (), {"urlpatterns": own})


# -- headers


def raising(error: Exception) -> Any:
    def view(request: HttpRequest) -> HttpResponseBase:
        raise error

    return view


@pytest.mark.parametrize(
    ("view", "status"),
    [
        pytest.param(lambda request: HttpResponse("x"), 200, id="a15-page"),
        pytest.param(lambda request: StreamingHttpResponse(iter("ab")), 200, id="a15-stream"),
        pytest.param(raising(Http404("x")), 404, id="a15-not-found"),
        pytest.param(raising(BadRequest("x")), 400, id="a15-bad"),
        pytest.param(raising(SuspiciousOperation("x")), 400, id="a15-suspicious"),
        pytest.param(raising(failed()), 503, id="a15-storage"),
    ],
)
def test_it_dresses_whatever_a_view_makes_of_a_request(client, view, status):
    request = RequestFactory().get("/")
    request.user = StaffFactory()
    answer = answered(view, request)
    assert answer.status_code == status
    assert_dressed(answer)


@pytest.mark.parametrize(
    ("static_url", "origin"),
    [
        ("/static/", ""),
        ("static/", ""),
        (None, ""),
        ("https://cdn.example/runs/", " https://cdn.example"),
        ("//cdn.example:8443/", " cdn.example:8443"),
    ],
)
def test_the_policy_lets_in_the_origin_of_static_files_and_no_other(settings, static_url, origin):
    # Django joins a relative one with its prefix, and so must not be asked to.
    settings.STATIC_URL = static_url
    policy = guard.content_security_policy()
    assert policy == STRICT.replace("'self';", f"'self'{origin};", 2).replace("data:;", f"data:{origin};").replace(
        "font-src 'self';", f"font-src 'self'{origin};"
    )


def test_a_site_can_have_a_policy_of_its_own_or_leave_it_to_its_middleware(settings):
    settings.LAYER_RUNS = {"CSP": "default-src 'self' {static};"}
    assert answered(lambda request: HttpResponse())["Content-Security-Policy"] == "default-src 'self'"
    settings.LAYER_RUNS = {"CSP": None}
    answer = answered(lambda request: HttpResponse())
    assert "Content-Security-Policy" not in answer.headers
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_it_takes_nothing_away_that_a_response_has():
    own = {"Content-Security-Policy": "sandbox", "Referrer-Policy": "no-referrer", "Vary": "Accept"}
    answer = answered(lambda request: HttpResponse(headers=own))
    assert answer["Content-Security-Policy"] == "sandbox"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert {name.strip() for name in answer["Vary"].split(",")} == VARIES | {"Accept"}


def test_what_may_be_kept_elsewhere_is_not_kept_here():
    answer = answered(lambda request: HttpResponse(headers={"Cache-Control": "public, max-age=600"}))
    assert answer["Cache-Control"] == "private, no-store"


def test_the_default_policy_names_no_other_origin_and_nothing_inline():
    assert "unsafe" not in DEFAULTS["CSP"]
    assert "http" not in DEFAULTS["CSP"]


def test_a08_a_cache_around_the_view_never_gives_a_fragment_for_a_page(settings, staff):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "a08"}}
    settings.ROOT_URLCONF = urls(path("cached/", cache_page(600)(RunListView.as_view())))
    client = client_of(staff)
    fragment = client.get("/cached/", headers={"HX-Request": "true", "HX-Target": FRAGMENTS["list"]})
    assert b"<html" not in fragment.content
    assert b"<html" in client.get("/cached/").content
    # And what one may see is not what the next one gets.
    assert Client().get("/cached/").status_code == 302


class Peeking(MiddlewareMixin):
    """A middleware of the host's that has a word in what a template is told."""

    def process_template_response(self, request: HttpRequest, response: TemplateResponse) -> TemplateResponse:
        assert not response.is_rendered
        response.context_data["title"] = "What the host calls it"
        return response


def test_o08_middleware_of_the_host_still_sees_a_page_before_it_is_made(settings, staff):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.Peeking"]
    answer = client_of(staff).get(LIST)
    assert b"What the host calls it" in answer.content
    assert_dressed(answer)


def greeting(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        success(request, "Hello from the host")
        return get_response(request)

    return middleware


def test_o08_messages_of_the_host_are_shown_once(settings, staff):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.greeting"]
    client = client_of(staff)
    assert client.get(LIST).content.count(b"Hello from the host") == 1


# -- what is no text


BROKEN = [
    pytest.param("%00", id="q14-nul"),
    pytest.param("a%00b", id="q14-nul-inside"),
    pytest.param("%ff%fe", id="q15-no-utf8"),
    pytest.param("%ed%a0%80", id="q15-surrogate"),
    pytest.param("%F0%9F", id="q15-cut"),
    pytest.param("%C0%80", id="q15-overlong-nul"),
]
each_broken = pytest.mark.parametrize("broken", BROKEN)


def refused(answer: HttpResponseBase) -> bool:
    """Return whether the answer is the refusal, whole: its status, its words and its headers."""
    if answer.status_code != 400 or b"NUL character, or bytes that are not UTF-8" not in answer.content:
        return False
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert_dressed(answer)
    return True


@pytest.fixture
def without_middleware(settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != MIDDLEWARE]


@each_broken
def test_the_app_refuses_it_by_itself_in_an_address(without_middleware, staff, broken):
    client = client_of(staff)
    for name, arguments in EVERY:
        url = address(name, arguments)
        assert refused(client.get(f"{url}?x={broken}"))
        assert refused(client.get(f"{url}?{broken}=x"))
        for place in arguments:
            assert refused(client.get(url.replace(f"/{place}/", f"/{broken}/")))
    # Before anybody is asked who they are: it says nothing of what there is.
    assert refused(Client().get(f"{LIST}{broken}/"))


@each_broken
@pytest.mark.parametrize(
    "url",
    [
        "/{}",
        "/admin/{}/",
        "/admin/layer_runs/layerrun/{}/change/",
        "/admin/layer_runs/layerrun/?status__exact={}",
        "/admin/login/?next={}",
        "/layer-runs/{}/",
        "/layer-runs/?{}",
        "/static/{}",
        "/nowhere/?q={}",
    ],
)
def test_the_middleware_refuses_it_wherever_it_stands_in_an_address(staff, url, broken):
    for client in (client_of(staff), Client()):
        assert refused(client.get(url.format(broken)))


def test_q14_a_cookie_with_a_nul_is_refused_before_the_session_is_asked_for():
    client = Client()
    client.cookies["sessionid"] = "\0" * 32
    assert refused(client.get("/admin/"))
    assert refused(client.get(LIST))


@pytest.mark.parametrize("text", ["é", "%C3%A9", "😀", "%25FF", "%2500", "100%", "%zz", "a%20b", "%EF%BF%BD", "\u202e"])
def test_a_text_is_no_mistake_however_odd(staff, text):
    client = client_of(staff)
    assert client.get(f"{LIST}?q={text}").status_code == 200
    assert (
        client.get(f"{LIST}{text.replace('?', '')}/", RAW_URI=f"{LIST}{text}/".encode().decode("latin-1")).status_code
        == 404
    )


FORM = "application/x-www-form-urlencoded"
BOUNDED = "multipart/form-data; boundary=cut"


def part(name: bytes, value: bytes) -> bytes:
    return b'--cut\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n--cut--\r\n' % (name, value)


FORMS = [
    pytest.param(FORM, b"name=a%00b", True, id="q14-form-nul"),
    pytest.param(FORM, b"a%00b=x", True, id="q14-form-nul-in-a-name"),
    pytest.param(FORM, b"name=a\0b", True, id="q14-form-bare-nul"),
    pytest.param(FORM, b"name=%ff", True, id="q15-form-bytes"),
    pytest.param(FORM, b"name=\xff", True, id="q15-form-bare-bytes"),
    pytest.param(FORM, b"name=%C3%A9&x=%EF%BF%BD&y=100%", False, id="q15-form-text"),
    pytest.param(BOUNDED, part(b"name", b"a\0b"), True, id="q14-multipart-nul"),
    pytest.param(BOUNDED, part(b"a\0b", b"x"), True, id="q14-multipart-nul-in-a-name"),
    pytest.param(BOUNDED, part(b"name", b"\xff"), True, id="q15-multipart-bytes"),
    # Django leaves such a field out: there is none.
    pytest.param(BOUNDED, part(b"\xff", b"x"), False, id="q15-multipart-bytes-in-a-name"),
    pytest.param(BOUNDED, part(b"name", "é \ufffd 😀".encode()), False, id="q15-multipart-text"),
    pytest.param("application/json", b'{"a": "\xff\\u0000"}', False, id="q15-no-form"),
]


@pytest.mark.parametrize(("kind", "body", "is_refused"), FORMS)
def test_a_form_that_is_no_text_is_refused_on_every_page(staff, kind, body, is_refused):
    for url in ("/admin/login/", "/admin/logout/", LIST):
        assert refused(client_of(staff).generic("POST", url, body, content_type=kind)) is is_refused


@pytest.mark.parametrize(("kind", "body", "is_refused"), FORMS)
def test_the_app_refuses_such_a_form_by_itself(kind, body, is_refused):
    request = RequestFactory().generic("POST", "/", body, content_type=kind)
    assert has_unreadable_field(request) is is_refused
    assert request.body == body


def test_a_file_may_hold_any_bytes_and_still_arrives():
    sent = {"name": "x", "file": SimpleUploadedFile("a.bin", b"\0\xff" * 5_000)}
    request = RequestFactory().post("/", sent)
    assert not has_unreadable_field(request)
    assert request.FILES["file"].read() == b"\0\xff" * 5_000
    assert request.POST["name"] == "x"


@pytest.mark.parametrize("is_read", [True, False])
def test_a_form_too_large_to_hold_is_looked_at_as_it_was_read(settings, is_read):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000
    for name, is_refused in (("x", False), ("a\0b", True)):
        request = RequestFactory().post("/", {"name": name, "file": SimpleUploadedFile("a.bin", b"\0" * 5_000)})
        if is_read:
            assert request.POST["name"] == name
        assert has_unreadable_field(request) is is_refused
        assert request.FILES["file"].size == 5_000


def raw_body(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.read())


def test_it_leaves_the_body_to_a_view_that_reads_it_itself(settings):
    view = csrf_exempt(raw_body)
    settings.ROOT_URLCONF = urls(path("ingest/", view))
    assert Client().generic("POST", "/ingest/", b"a=\xff", content_type=FORM).content == b"a=\xff"


@pytest.mark.parametrize(
    ("scope", "is_refused"),
    [
        pytest.param({"path": "/a\0b"}, True, id="q14-path"),
        pytest.param({"path": "/a\ufffd", "raw_path": b"/a%ff"}, True, id="q15-raw-path"),
        pytest.param({"path": "/a", "query_string": b"q=%00"}, True, id="q14-query"),
        pytest.param({"path": "/a", "query_string": b"q=%ff"}, True, id="q15-query"),
        pytest.param({"path": "/é%FF", "raw_path": b"/%C3%A9%25FF", "query_string": b"q=%25FF"}, False, id="q15-text"),
        pytest.param({"path": "/é", "query_string": b"q=%C3%A9"}, False, id="q15-no-raw-path"),
    ],
)
def test_it_reads_what_an_asgi_server_was_sent(scope, is_refused):
    scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""} | scope
    assert is_unreadable(ASGIRequest(scope, BytesIO())) is is_refused


def test_q14_the_middleware_works_in_an_async_site(staff):
    client = AsyncClient()
    client.force_login(staff)
    get, post = async_to_sync(client.get), async_to_sync(client.post)
    assert get(LIST).status_code == 200
    assert refused(get("/admin/?q=%00"))
    assert refused(post("/admin/login/", b"a=%ff", content_type=FORM))
    with storage_away():
        assert get("/admin/").status_code == get(LIST).status_code == 503


# -- what htmx would follow


ATTACK = "<b hx-get='/x/' hx-trigger='load'>x</b>"
PAGES = [
    ("list", (), ""),
    ("list", (), f"?layer_name={quote(ATTACK)}&min_cost={quote(ATTACK)}"),
    ("stats", (), ""),
    ("detail", ("run",), ""),
    ("run_errors", ("run",), ""),
    ("layers", (), ""),
    ("layers", (), f"?layer_name={quote(ATTACK)}"),
    ("errors", (), ""),
    ("errors", (), f"?layer_name={quote(ATTACK)}"),
    ("errors", (), "?error={error}"),
    ("costs", (), ""),
    ("costs", (), "?by=layer"),
    ("compare", (), "?a=before&b=run"),
    ("compare", (), "?a=first"),
    ("compare", (), f"?a={quote(ATTACK)}"),
]


@pytest.mark.parametrize(("name", "arguments", "query"), [pytest.param(*page, id=f"d04-{page[0]}") for page in PAGES])
def test_what_runs_say_lies_where_htmx_is_off_even_where_nothing_is_escaped(get, monkeypatch, name, arguments, query):
    said = dict.fromkeys(("layer_name", "layer_hash", "model_name", "model_provider", "model_profile"), ATTACK)
    said |= {"status": ATTACK[:30], "notes": {"altered": [ATTACK]}}
    errors = [{"topic": f"{ATTACK}{n}", "error": f"{ATTACK} failed", "node": f"{ATTACK}{n}"} for n in range(2)]
    for pk, days in (("first", 9), ("before", 2), ("run", 0)):
        run = LayerRunFactory(id=pk, ago=timedelta(days=days, hours=1), errors=errors, **said)
        call = {"model_name": ATTACK, "call_type": ATTACK, "topic": ATTACK, "error_message": ATTACK, "success": False}
        LlmCallFactory(run=run, **call)
        LlmCallFactory(run=run, **call | {"estimated_cost_usd": None})
    for where in ("django.template.base.conditional_escape", "django.utils.html.conditional_escape"):
        monkeypatch.setattr(where, lambda text: text if isinstance(text, str) else str(text))
    query = query.replace("{error}", ErrorLine.objects.first().fingerprint)
    page = get(query, name, *arguments, status=404 if query == PAGES[-1][2] else 200)
    live = [element for element in page.all("b[@hx-get]") if not element.xpath("ancestor::*[@hx-disable]")]
    assert {lxml.html.tostring(element.getparent())[:150] for element in live} == set()
    assert page.all("b[@hx-get]") or name == "stats"


def test_d05_no_template_builds_the_values_of_a_request_out_of_text():
    folder = Path(guard.__file__).parent / "templates"
    pattern = re.compile(r"hx-(vals|vars|headers|request|params|include|on)\b")
    assert [path.name for path in folder.rglob("*.html") if pattern.search(path.read_text())] == []


# -- a storage that is away


def asked_of_sqlite(tmp_path: Any, sql: str, *before: str, name: str = "odd.sqlite3", **options: Any) -> DatabaseError:
    """Return what Django raises when SQLite is asked this of a file, after it was asked the rest."""
    handler = ConnectionHandler(
        {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / name, "OPTIONS": options}}
    )
    try:
        with handler["default"].cursor() as cursor:
            for each in before:
                cursor.execute(each)
            cursor.execute(sql)
    except DatabaseError as error:
        return error
    finally:
        handler["default"].close()
    raise AssertionError("SQLite did as it was told.")


def test_a_sqlite_that_cannot_do_its_work_is_told_from_a_query_that_is_wrong(tmp_path):
    (tmp_path / "text.sqlite3").write_text("no database " * 500)
    fill = "CREATE TABLE t AS SELECT zeroblob(100000) AS x"
    away = [
        asked_of_sqlite(tmp_path, "SELECT 1", name="nowhere/at/all"),
        asked_of_sqlite(tmp_path, "SELECT * FROM t", name="text.sqlite3"),
        asked_of_sqlite(tmp_path, fill, "PRAGMA max_page_count = 3"),
        asked_of_sqlite(tmp_path, fill, "PRAGMA query_only = 1"),
        asked_of_sqlite(tmp_path, "SELECT * FROM layer_runs_layerrun"),
    ]
    holder = sqlite3.connect(tmp_path / "held.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    away.append(asked_of_sqlite(tmp_path, fill, name="held.sqlite3", timeout=0))
    holder.close()
    assert [is_storage_failure(error) for error in away] == [True] * len(away)
    wrong = [
        asked_of_sqlite(tmp_path, "SELEC 1"),
        asked_of_sqlite(tmp_path, "SELECT x"),
        asked_of_sqlite(tmp_path, "SELECT abs(-9223372036854775808)"),
        asked_of_sqlite(tmp_path, "INSERT INTO u VALUES (1)", "CREATE TABLE u (x CHECK (x > 1))"),
    ]
    assert [is_storage_failure(error) for error in wrong] == [False] * len(wrong)


@pytest.mark.parametrize(
    ("code", "kind", "is_away"),
    [
        (None, OperationalError, True),
        (None, InterfaceError, True),
        (None, ProgrammingError, False),
        ("08006", OperationalError, True),
        ("40P01", OperationalError, True),
        ("53300", OperationalError, True),
        ("53100", OperationalError, True),
        ("57P01", OperationalError, True),
        ("57014", OperationalError, True),
        ("58030", OperationalError, True),
        ("55P03", OperationalError, True),
        ("25006", DatabaseError, True),
        ("42P01", ProgrammingError, True),
        ("42703", ProgrammingError, False),
        ("42601", ProgrammingError, False),
        ("22P02", DatabaseError, False),
        ("23505", DatabaseError, False),
        ("25P02", DatabaseError, False),
    ],
)
def test_a_postgresql_that_cannot_do_its_work_is_told_from_a_query_that_is_wrong(code, kind, is_away):
    error, cause = kind("x"), psycopg.OperationalError("x")
    cause.sqlstate, error.__cause__ = code, cause
    assert is_storage_failure(error) is is_away


@pytest.mark.parametrize(
    ("code", "text"), [("57014", b"such as a shorter period"), ("57P01", b"does not answer at the moment")]
)
def test_t13_what_took_too_long_is_not_called_a_database_that_is_away(rf, code, text):
    error, cause = OperationalError("x"), psycopg.OperationalError("x")
    cause.sqlstate, error.__cause__ = code, cause
    answer = unavailable(rf.get("/layer-runs/"), error)
    assert (answer.status_code, text in answer.content) == (503, True)


@pytest.mark.parametrize("error", [None, ValueError("x"), OperationalError("with no cause"), OSError("disk")])
def test_what_no_database_said_is_a_mistake_of_ours(error):
    assert not is_storage_failure(error)


each_address = pytest.mark.parametrize(("name", "arguments"), EVERY, ids=str)


@each_address
@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}], ids=["page", "htmx"])
def test_c05_while_the_storage_is_away_every_page_says_so(staff_client, caplog, name, arguments, headers):
    LayerRunFactory(id="run", failing=True)
    with storage_away(), caplog.at_level(logging.WARNING):
        answer = staff_client.get(address(name, arguments), headers=headers)
    assert answer.status_code == 503
    assert 1 <= int(answer["Retry-After"]) <= 60
    assert_dressed(answer)
    assert b"does not answer at the moment" in answer.content
    assert b"locked" not in answer.content
    assert (b"<html" in answer.content) is not headers
    assert answer["Content-Type"].startswith("text/plain" if headers else "text/html")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "layer_runs.storage"
    assert "database is locked" in record.getMessage()
    assert record.exc_info is None
    # And when it is back, so is the page.
    answer = staff_client.get(address(name, arguments))
    assert answer.status_code == 200
    assert content(answer)


@each_address
def test_c05_the_pages_say_so_without_the_middleware(settings, staff, name, arguments):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "SiteGuard" not in name]
    LayerRunFactory(id="run", failing=True)
    client = client_of(staff)
    with storage_away():
        answer = client.get(address(name, arguments))
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert_dressed(answer)


@each_address
def test_c05_it_may_go_away_at_any_query(staff_client, name, arguments):
    LayerRunFactory(id="run", failing=True)
    url = address(name, arguments)
    for headers in ({}, {"HX-Request": "true", "HX-Target": FRAGMENTS.get(name, "x")}):
        with CaptureQueriesContext(connection) as queries:
            whole = content(staff_client.get(url, headers=headers))
        for number in range(len([query for query in queries if "SAVEPOINT" not in query["sql"]])):
            # What a trail would have kept is undone: its transaction was broken off.
            with transaction.atomic(), storage_away(after=number):
                answer = staff_client.get(url, headers=headers)
                # A file that is on its way arrives whole, or is broken off, which its reader's client notices.
                with suppress(OperationalError):
                    assert answer.status_code == 503 or content(answer) == whole, number
                assert answer.status_code == 503 or answer.streaming
                transaction.set_rollback(True)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_download_whose_rows_cannot_be_read_is_no_empty_file(staff_client, monkeypatch, kind):
    LayerRunFactory.create_batch(3)

    def rows(runs: Any, *args: Any, **kwargs: Any) -> Iterator[LayerRun]:
        raise failed()
        yield

    monkeypatch.setattr("layer_runs.querysets.LayerRunQuerySet.iterator", rows)
    answer = staff_client.get(reverse("layer_runs:export", args=[kind]))
    assert answer.status_code == 503
    assert not answer.streaming
    assert "Content-Disposition" not in answer.headers


def test_a_log_line_stays_one_line(caplog):
    error = failed(text="connection failed:\n\tis it running?\r\n\x1b[31m")
    unavailable(RequestFactory().get("/a%0Ab/"), error)
    (record,) = caplog.records
    assert record.getMessage().isprintable()


def test_its_page_asks_nobody_and_leads_back_to_where_it_was(django_assert_num_queries, dom):
    with django_assert_num_queries(0):
        page = dom(unavailable(RequestFactory().get('/layer-runs/?q="><script>')))
    assert page.link("Try again") == "/layer-runs/?q=%22%3E%3Cscript%3E"
    assert page.live_parts == []
    assert finders.find(page.one("link").get("href").removeprefix("/static/"))
    # What was sent once is not to be sent again by a click.
    assert "Try again" not in dom(unavailable(RequestFactory().post("/layer-runs/"))).text("body").split(". ")[-1]
    assert dom(unavailable(RequestFactory().post("/layer-runs/"))).all("a") == []


def test_it_is_said_in_bare_words_where_static_files_were_never_collected(settings, tmp_path):
    manifest = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": manifest}}
    settings.STATIC_ROOT = tmp_path
    answer = unavailable(RequestFactory().get(LIST))
    assert answer.status_code == 503
    assert answer["Content-Type"].startswith("text/plain")
    assert b"does not answer at the moment" in answer.content


def test_a_site_that_was_not_migrated_yet_says_so_in_its_log_and_503_on_its_pages(staff_client, caplog):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE layer_runs_layerrun RENAME TO not_there_yet")
    answer = staff_client.get(LIST)
    assert answer.status_code == 503
    assert b"layer_runs_layerrun" not in answer.content
    assert "layer_runs_layerrun" in caplog.records[-1].getMessage()


def test_a_mistake_of_ours_stays_an_error(staff, monkeypatch, caplog):
    def mistaken(*args: Any, **kwargs: Any) -> None:
        raise ProgrammingError("a query that is wrong")

    monkeypatch.setattr(LayerRun.objects, "for_list", mistaken)
    client = client_of(staff)
    with pytest.raises(ProgrammingError):
        client.get(LIST)
    client.raise_request_exception = False
    answer = client.get(LIST)
    assert answer.status_code == 500
    assert b"a query that is wrong" not in answer.content
    assert caplog.records[-1].exc_info


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("url", [LIST, "/admin/", "/layer-runs/export/csv/"])
def test_a_connection_that_is_lost_is_replaced_by_the_next_request(staff, url):
    client = client_of(staff)
    assert content(client.get(url))
    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    with psycopg.connect(**{**connection.get_connection_params(), "cursor_factory": None}, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert client.get(url).status_code == 503
    again = client.get(url)
    assert again.status_code == 200
    assert content(again)


# -- the rest of the site


@pytest.mark.parametrize("url", ["/admin/", "/admin/layer_runs/layerrun/", "/admin/login/"])
def test_the_middleware_says_it_of_every_page(staff_client, url):
    with storage_away():
        answer = staff_client.get(url)
        if url == "/admin/login/":
            assert Client().get(url).status_code == 200
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert_dressed(answer)


def test_a_session_that_cannot_be_saved_is_a_storage_that_is_away_too(settings, staff, monkeypatch):
    client = client_of(staff)
    settings.SESSION_SAVE_EVERY_REQUEST = True
    client.raise_request_exception = False

    def save(session: SessionStore, *args: Any, **kwargs: Any) -> None:
        raise failed()

    monkeypatch.setattr(SessionStore, "save", save)
    answer = client.get(LIST)
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0


def test_a10_a_log_out_leaves_nothing_in_the_browser(staff):
    client = client_of(staff)
    for answer in (client.get("/admin/"), client.get(LIST), client.get("/admin/logout/")):
        assert "Clear-Site-Data" not in answer.headers
    assert client.post("/admin/logout/")["Clear-Site-Data"] == '"cache", "storage"'
    assert client.get(LIST).status_code == 302


def test_every_name_of_the_table_above_is_an_address():
    assert {name for name, _arguments in EVERY} == set(ARGUMENTS)
