"""Who may see what, on every address there is."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin import AdminSite
from django.db import connection, connections
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path, resolve, reverse

from layer_runs import urls
from layer_runs.admin import LayerRunAdmin
from layer_runs.models import LayerRun
from layer_runs.tests.conftest import FRAGMENTS, assert_dressed, client_of
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory, StaffFactory

# A site of the host's own, in place of the built-in one; the tests that use it make this module their urlconf.
desk = AdminSite(name="desk")
urlpatterns = [path("desk/", desk.urls), path("runs/", include("layer_runs.urls"))]

PRIVATE = "what-a-stranger-said"
# An address for every pattern: what is not here fails the test that walks them.
ARGUMENTS = {
    "list": [()],
    "stats": [()],
    "export": [("csv",), ("json",)],
    "detail": [("run",)],
    "run_errors": [("run",)],
    "raw": [("run",)],
    "compare": [()],
    **dict.fromkeys(("layers", "layers_csv", "errors", "errors_csv", "costs", "costs_csv", "live"), [()]),
}
NEEDS_DETAILS = ("run_errors", "raw", "errors", "errors_csv")
# It looks by itself: a page that nobody touched does not go to the login under its reader's eyes.
LOOKS_BY_ITSELF = "live"
EVERY = [(name, arguments) for name, several in ARGUMENTS.items() for arguments in several]
each_address = pytest.mark.parametrize(("name", "arguments"), EVERY, ids=lambda value: str(value))
HTMX = {"HX-Request": "true"}


def address(name: str, arguments: tuple[str, ...]) -> str:
    return reverse(f"layer_runs:{name}", args=arguments)


@pytest.fixture(autouse=True)
def run(db) -> LayerRun:
    errors = [{"topic": PRIVATE, "error": f"{PRIVATE} failed", "node": PRIVATE}]
    run = LayerRunFactory(id="run", status="failed", errors=errors, notes={"original_id": PRIVATE})
    LlmCallFactory(run=run, topic=PRIVATE, error_message=PRIVATE)
    return run


@pytest.fixture
def own_admin(settings):
    """Let the host use an admin site of its own, which shows runs too or not."""

    def use(*, shows_runs: bool) -> None:
        if shows_runs:
            desk.register(LayerRun, LayerRunAdmin)
        urlpatterns[0] = path("desk/", desk.urls)
        settings.ROOT_URLCONF = __name__
        settings.LAYER_RUNS = {"ADMIN_SITE": f"{__name__}.desk"}

    yield use
    desk._registry.clear()


# Who asks, as what they are made of.
WHO = {
    "anonymous": None,
    "not-staff": {"is_staff": False},
    "no-permission": {"can": []},
    "details-only": {"can": ["view_run_details"]},
    "deletes-only": {"can": ["change_layerrun", "delete_layerrun", "add_layerrun", "prune_runs"]},
    "runs-only": {"can": ["view_layerrun"]},
    "details": {"can": ["view_layerrun", "view_run_details"]},
    "superuser": {"can": [], "is_superuser": True},
}
# How they ask: for a page, for its fragment, for another one, by a boosted link, and on the way back.
WAYS = {
    "page": lambda name: {},
    "fragment": lambda name: HTMX | {"HX-Target": FRAGMENTS.get(name, "run-news")},
    "elsewhere": lambda name: HTMX | {"HX-Target": "run-detail"},
    "boosted": lambda name: HTMX | {"HX-Boosted": "true", "HX-Target": FRAGMENTS.get(name, "run-news")},
    "restored": lambda name: HTMX | {"HX-History-Restore-Request": "true"},
}


def answer_for(who: str, name: str, way: str) -> int:
    """Return the status that is due."""
    if who == "anonymous":
        return 302 if way == "page" else 401
    if who in ("details", "superuser"):
        return 200
    return 200 if who == "runs-only" and name not in NEEDS_DETAILS else 403


def client_for(who: str) -> Client:
    return Client() if WHO[who] is None else client_of(StaffFactory(**WHO[who]))


def content(answer: HttpResponse) -> bytes:
    return b"".join(answer)


def test_there_is_an_address_here_for_every_pattern():
    assert sorted(pattern.name for pattern in urls.urlpatterns) == sorted(ARGUMENTS)


@each_address
@pytest.mark.parametrize("who", [pytest.param(who, id=f"a01-a02-a15-{who}") for who in WHO])
def test_every_address_answers_everybody_as_is_due_to_them(name, arguments, who):
    client = client_for(who)
    for way, headers in WAYS.items():
        answer = client.get(address(name, arguments), headers=headers(name))
        assert answer.status_code == answer_for(who, name, way), way
        told = content(answer)
        if who not in ("details", "superuser"):
            assert PRIVATE.encode() not in told, way
        if answer.status_code == 401:
            assert told == b""
        if answer.status_code == 403:
            assert b"permission" in told
        assert_dressed(answer)


some_who = pytest.mark.parametrize("who", ["anonymous", "runs-only", "details"])


@each_address
@some_who
def test_q21_a03_nobody_changes_anything_by_any_method(name, arguments, who):
    client, due, before = client_for(who), answer_for(who, name, "page"), list(LayerRun.objects.values())
    # As a browser meets it: Django's own refusal of a missing token would come before ours, and without our headers.
    client.handler.enforce_csrf_checks = True
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "ODD"):
        answer = client.generic(method, address(name, arguments))
        assert answer.status_code == (405 if due == 200 else due), method
        if due == 200:
            assert answer["Allow"] == "GET, HEAD, OPTIONS"
        assert PRIVATE.encode() not in answer.content
        assert_dressed(answer)
    assert list(LayerRun.objects.values()) == before


@each_address
@some_who
def test_q21_it_answers_to_head_as_to_get_without_a_body_and_says_which_methods_there_are(name, arguments, who):
    client, url, due = client_for(who), address(name, arguments), answer_for(who, name, "page")
    full, head, options = client.get(url), client.head(url), client.options(url)
    content(full)
    assert (head.status_code, content(head)) == (due, b"")
    alike = ("Content-Type", "Content-Disposition", "Location")
    assert {key: head.headers.get(key) for key in alike} == {key: full.headers.get(key) for key in alike}
    assert options.status_code == due
    assert options.headers.get("Allow") == ("GET, HEAD, OPTIONS" if due == 200 else None)
    for answer in (head, options):
        assert_dressed(answer)


@pytest.mark.parametrize("who", ["runs-only", "details"])
@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("nobody/", 404),
        ("nobody/errors/", 404),
        ("nobody/raw/", 404),
        ("run/errors/?position=99", 404),
        ("run/errors/?position=x", 400),
        ("export/xml/", 404),
        ("export/csv/?status=bogus", 400),
        ("compare/?a=nobody", 404),
        (f"?{'a=1&' * 1100}", 400),
    ],
)
def test_q17_a15_a_mistake_is_answered_with_the_same_headers(who, rest, status):
    for headers in ({}, HTMX):
        answer = client_for(who).get(reverse("layer_runs:list") + rest, headers=headers)
        needs_details = "/errors/" in rest or "/raw/" in rest
        assert answer.status_code == (403 if who == "runs-only" and needs_details else status)
        assert answer.content
        assert_dressed(answer)


@each_address
def test_a01_a_stranger_is_sent_to_the_login_and_back(name, arguments):
    url = address(name, arguments) + "?status=failed&q=a"
    answer = Client().get(url)
    assert answer.status_code == 302
    there = urlsplit(answer["Location"])
    assert there.path == reverse("admin:login")
    assert parse_qs(there.query) == {"next": [url]}
    assert PRIVATE.encode() not in answer.content


@each_address
def test_a05_an_htmx_request_of_a_stranger_sends_the_whole_page_to_the_login(name, arguments):
    here = "/layer-runs/?status=failed&q=a%26b"
    headers = HTMX | {"HX-Current-URL": f"http://testserver{here}", "HX-Target": "run-results"}
    answer = Client().get(address(name, arguments), headers=headers)
    assert answer.status_code == 401
    assert answer.content == b""
    if name == LOOKS_BY_ITSELF:
        assert "HX-Redirect" not in answer.headers
        return
    there = urlsplit(answer["HX-Redirect"])
    assert there.path == reverse("admin:login")
    # The page that asked and not the fragment it asked for.
    assert parse_qs(there.query) == {"next": [here]}


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/x", "//evil.example", "javascript:x", "http://testserver//evil.example/"]
)
def test_a11_the_login_leads_back_to_nowhere_else(client, elsewhere):
    answer = Client().get(reverse("layer_runs:list"), headers=HTMX | {"HX-Current-URL": elsewhere})
    user = StaffFactory()
    user.set_password("correct horse")
    user.save()
    entered = client.post(answer["HX-Redirect"], {"username": user.username, "password": "correct horse"})
    assert entered.status_code == 302
    assert urlsplit(entered["Location"]).netloc == ""
    assert not entered["Location"].startswith("//")


@each_address
def test_a21_it_refuses_an_account_that_was_closed_while_it_was_in(name, arguments):
    user = StaffFactory()
    client = client_of(user)
    assert content(client.get(address(name, arguments)))
    user.is_active = False
    user.save()
    assert client.get(address(name, arguments)).status_code == 302
    assert client.get(address(name, arguments), headers=HTMX).status_code == 401


def test_a21_a_new_password_ends_every_other_session():
    user = StaffFactory()
    user.set_password("the old one, which was long")
    user.save()
    here, elsewhere = client_of(user), client_of(user)
    new = "quite another, and longer"
    given = {"old_password": "the old one, which was long", "new_password1": new, "new_password2": new}
    assert here.post(reverse("admin:password_change"), given).status_code == 302
    url = reverse("layer_runs:list")
    assert here.get(url).status_code == 200
    assert elsewhere.get(url).status_code == 302
    assert elsewhere.get(url, headers=HTMX).status_code == 401


def test_a21_a_right_that_is_taken_away_is_gone_with_the_next_request():
    user = StaffFactory()
    client = client_of(user)
    url = reverse("layer_runs:run_errors", args=["run"])
    assert client.get(url).status_code == 200
    user.user_permissions.remove(user.user_permissions.get(codename="view_run_details"))
    assert client.get(url).status_code == 403


@pytest.mark.parametrize("proof", [" ", "x" * 64, ""], ids=["none", "invented", "of-an-old-session"])
def test_a04_nothing_is_changed_without_the_token_of_this_session(proof):
    user = StaffFactory(can=["view_layerrun", "view_run_details", "delete_layerrun"])
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    old = client.get(reverse("admin:index")).context["csrf_token"]
    client.logout()
    client.force_login(user)
    client.get(reverse("admin:index"))
    sent = {"csrfmiddlewaretoken": proof or str(old), "post": "yes"}
    assert client.post(reverse("admin:layer_runs_layerrun_delete", args=["run"]), sent).status_code == 403
    # The pages take nothing, with a token or without.
    assert client.post(reverse("layer_runs:list"), sent).status_code == 405
    assert client.post(reverse("admin:logout"), sent).status_code == 403
    assert client.get(reverse("layer_runs:list")).status_code == 200
    assert LayerRun.objects.filter(pk="run").exists()


def test_it_says_that_there_are_errors_to_those_who_may_not_read_them(blind_client, dom):
    text = dom(blind_client.get(reverse("layer_runs:detail", args=["run"]))).text()
    assert "1 error. Its text needs the permission to view run details." in text
    page = dom(blind_client.get(reverse("layer_runs:list")))
    assert page.row("run").endswith("1 error")
    assert page.one("input[@name='q']").get("placeholder") == "Search run ids"


def test_a_refusal_names_the_permission_that_is_missing(blind_client):
    answer = blind_client.get(reverse("layer_runs:run_errors", args=["run"]))
    assert "permission" in answer.content.decode()
    answer = client_of(StaffFactory(can=[])).get(reverse("layer_runs:list"))
    assert "Can view layer run" in answer.content.decode()


@each_address
def test_it_opens_no_transaction_to_read(name, arguments):
    view = resolve(address(name, arguments)).func
    assert "default" in view._non_atomic_requests


@each_address
def test_o08_it_works_where_the_host_wraps_its_requests_in_transactions(staff_client, name, arguments, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    with CaptureQueriesContext(connection) as queries:
        assert staff_client.get(address(name, arguments)).status_code == 200
        assert staff_client.get(reverse("admin:index")).status_code == 200
    # The tests' own transaction makes a savepoint of each further one: the admin's page has it, ours does not.
    begun = [number for number, query in enumerate(queries) if query["sql"].startswith("SAVEPOINT")]
    assert len(begun) == 1
    assert begun[0] > 0


# -- a site of the host's own


def test_it_sends_strangers_to_the_login_of_the_admin_site_in_use(own_admin):
    own_admin(shows_runs=False)
    assert Client().get("/runs/")["Location"] == "/desk/login/?next=/runs/"
    assert Client().get("/runs/", headers=HTMX)["HX-Redirect"] == "/desk/login/?next=/runs/"


def test_it_wears_the_admin_site_in_use(own_admin, staff_client, dom):
    own_admin(shows_runs=True)
    desk.site_header = "The front desk"
    page = dom(staff_client.get("/runs/?status=failed"))
    assert page.link("Home") == "/desk/"
    assert page.link("Admin") == "/desk/layer_runs/layerrun/?status=failed&period=7d"
    assert dom(staff_client.get("/runs/run/")).link("Open in the admin") == "/desk/layer_runs/layerrun/run/change/"
    there = dom(staff_client.get("/desk/layer_runs/layerrun/?status=failed"))
    assert there.link("Open in the monitor").startswith("/runs/?status=failed")


def test_it_leads_to_no_admin_that_does_not_show_runs(own_admin, staff_client, dom):
    own_admin(shows_runs=False)
    page = dom(staff_client.get("/runs/"))
    assert "/desk/layer_runs/" not in page.source
    assert "Open in the admin" not in dom(staff_client.get("/runs/run/")).text()


def test_it_refuses_in_the_clothes_of_the_admin_site_in_use(own_admin):
    own_admin(shows_runs=False)
    answer = client_of(StaffFactory(can=[])).get("/runs/")
    assert answer.status_code == 403
    assert b'href="/admin/' not in answer.content
    assert b'href="/desk/' in answer.content


def test_a04_no_view_that_asks_for_no_token_listens_to_more_than_reading():
    for route in urls.urlpatterns:
        view = route.callback
        assert view.csrf_exempt
        assert set(view.view_class.http_method_names) == {"get", "head", "options"}
