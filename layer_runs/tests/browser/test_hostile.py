"""What strangers wrote, where all else has failed: the escaping, the storage, the session."""

from __future__ import annotations

import sqlite3
from typing import Any
from urllib.parse import quote

import pytest
from django.db import OperationalError

from layer_runs.models import ErrorLine
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory
from layer_runs.views.runs import RunListView

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strict_csp")]

LIST = "/layer-runs/"
# No script, so that no policy stops it: what htmx would do by itself, with the reader's own rights.
ATTACK = "<b hx-get='/layer-runs/stats/?d04' hx-trigger='load'>x</b>"
# The pages that show what runs said, each with the links of its own that htmx follows.
PAGES = {
    "list": LIST,
    "filtered": f"{LIST}?layer_name={quote(ATTACK)}&min_cost=-{quote(ATTACK)}",
    "run": f"{LIST}run/",
    "errors-of-run": f"{LIST}run/errors/",
    "layers": f"{LIST}layers/",
    "layer": f"{LIST}layers/?layer_name={quote(ATTACK)}",
    "errors": f"{LIST}errors/",
    "error": f"{LIST}errors/?error={{error}}",
    "costs": f"{LIST}costs/",
    "costs-by-layer": f"{LIST}costs/?by=layer",
    "compare": f"{LIST}compare/?a=before&b=run",
    "unknown": f"{LIST}compare/?a={quote(ATTACK)}",
}


@pytest.fixture
def run(transactional_db):
    """A run that is nothing but attack, and one before it."""
    said = {
        "layer_name": ATTACK,
        "layer_hash": ATTACK,
        "model_name": ATTACK,
        "model_provider": ATTACK,
        "model_profile": ATTACK,
        "status": ATTACK[:32],
        "errors": [{"topic": f"{ATTACK}{n}", "error": f"{ATTACK} failed", "node": ATTACK} for n in range(2)],
        "notes": {"altered": [ATTACK], "original_id": ATTACK},
    }
    for pk in ("before", "run"):
        run = LayerRunFactory(id=pk, **said)
        LlmCallFactory(run=run, topic=ATTACK, model_name=ATTACK, call_type=ATTACK, success=False, error_message=ATTACK)
    return run


@pytest.fixture
def unescaped(monkeypatch) -> None:
    """Let every template and every `format_html` take text for HTML, as the worst mistake there could be."""
    for where in ("django.template.base.conditional_escape", "django.utils.html.conditional_escape"):
        monkeypatch.setattr(where, lambda text: text if isinstance(text, str) else str(text))


def asked(page: Any) -> list[str]:
    """Return the requests that the attack made, from now on."""
    found: list[str] = []
    page.on("request", lambda request: request.url.endswith("?d04") and found.append(request.url))
    return found


def settle(page: Any) -> None:
    page.locator("#lr-alert").first.wait_for(state="attached")
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize("name", PAGES)
def test_d04_what_htmx_would_follow_is_dead_even_where_nothing_is_escaped(staff_page, run, unescaped, name):
    url = PAGES[name].format(error=ErrorLine.objects.first().fingerprint)
    page = staff_page.context.new_page()
    requests = asked(page)
    page.goto(url)
    settle(page)
    assert page.locator("b[hx-get]").count() > 0, "The page does not show what it is tested with."
    assert requests == []
    # The same page without the zones: that is what would have happened.
    page.route("**/*", lambda route: revive(route))
    page.goto(url)
    settle(page)
    assert requests != []


def revive(route: Any) -> None:
    """Answer a request for a page with the page, and no zone that is dead to htmx."""
    if route.request.resource_type != "document":
        route.continue_()
        return
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.text().replace(" hx-disable", ""))


def test_d04_it_stays_dead_in_what_is_swapped_in(staff_page, run, unescaped):
    page = staff_page.context.new_page()
    requests = asked(page)
    page.goto(LIST)
    settle(page)
    with page.expect_response(lambda answer: "sort=-tokens" in answer.url):
        page.get_by_role("link", name="Tokens").click()
    page.locator("tr[data-run-id='run'] a").first.click()
    page.locator("#run-detail[open] #run-title").wait_for()
    settle(page)
    assert page.locator("#run-detail b[hx-get]").count() > 5
    assert requests == []


def test_d06_no_attribute_is_run_as_a_script(staff_page, run):
    page = staff_page.context.new_page()
    page.goto(LIST)
    settle(page)
    page.evaluate(
        """() => {
          for (const [name, value] of [
            ["hx-trigger", "load[(window.x=1)]"], ["hx-vals", "js:{a: (window.x=1)}"], ["hx-on:click", "window.x=1"],
            ["hx-headers", "js:{a: (window.x=1)}"],
          ]) {
            const element = document.createElement("button");
            element.setAttribute("hx-get", "/layer-runs/stats/");
            element.setAttribute(name, value);
            document.querySelector("#run-results").append(element);
            htmx.process(element);
            element.click();
          }
        }"""
    )
    settle(page)
    assert page.evaluate("window.x") is None
    config = page.evaluate("htmx.config")
    assert {name: config[name] for name in CONFIGURED} == CONFIGURED


# What keeps htmx to links and forms of our own, and run data out of the browser's storage.
CONFIGURED = {
    "includeIndicatorStyles": False,
    "allowEval": False,
    "allowScriptTags": False,
    "selfRequestsOnly": True,
    "historyCacheSize": 0,
    "refreshOnHistoryMiss": True,
    "historyRestoreAsHxRequest": False,
}


def test_d05_what_a_run_is_called_adds_nothing_to_a_request(staff_page, transactional_db):
    LayerRunFactory(id="run", layer_name='x","admin":"1')
    with staff_page.expect_request(lambda request: "/run/" in request.url) as sent:
        staff_page.goto(LIST)
        staff_page.locator("tr[data-run-id='run'] a").first.click()
    assert "admin" not in sent.value.url
    assert sent.value.post_data is None


@pytest.mark.parametrize("name", ["list", "run", "layers", "layer", "errors", "costs", "compare"])
def test_a20_htmx_adds_no_style_of_its_own(staff_page, transactional_db, name):
    for pk in ("before", "run"):
        LayerRunFactory(id=pk, failing=True)
    staff_page.goto(PAGES[name].replace(quote(ATTACK), "nightly-user-reflection"))
    settle(staff_page)
    assert staff_page.locator("style").count() == 0


def test_a19_the_admin_works_under_the_same_policy(staff_page, transactional_db):
    LayerRunFactory(id="run", failing=True)
    for url in ("", "layer_runs/", "layer_runs/layerrun/", "layer_runs/layerrun/run/change/", "password_change/"):
        staff_page.goto(f"/admin/{url}")
        staff_page.wait_for_load_state("networkidle")
        assert staff_page.locator("#content").is_visible()


def failing(*args: Any, **kwargs: Any) -> None:
    cause = sqlite3.OperationalError("disk I/O error")
    cause.sqlite_errorname = "SQLITE_IOERR"
    raise OperationalError("disk I/O error") from cause


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a06_a_storage_that_is_away_is_said_over_the_list_and_on_a_page_of_its_own(staff_page, run, monkeypatch, theme):
    page = staff_page.context.new_page()
    page.emulate_media(color_scheme=theme)
    page.goto(LIST)
    settle(page)
    with monkeypatch.context() as broken:
        broken.setattr(RunListView, "get_context_data", failing)
        page.get_by_role("link", name="Tokens").click()
        page.locator("#lr-alert", has_text="does not answer at the moment").wait_for()
        assert page.locator("tr[data-run-id='run']").count() == 1
        assert page.reload().status == 503
        assert page.locator("h1").inner_text() == "Not available at the moment"
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark is (theme == "dark")
    page.get_by_role("link", name="Try again").click()
    page.locator("tr[data-run-id='run']").wait_for()


def test_a04_a_refused_change_says_that_the_session_has_changed(staff_page, transactional_db):
    page = staff_page.context.new_page()
    page.goto(LIST)
    settle(page)
    page.evaluate("htmx.ajax('POST', '/admin/logout/', {target: '#run-results'})")
    page.locator("#lr-alert", has_text="Your session has changed").wait_for()
    page.reload()
    assert page.get_by_role("button", name="Log out").is_visible()
