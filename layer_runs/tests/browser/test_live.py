"""Live: new runs are announced, no row moves, and the end of the session is said."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session

from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strict_csp")]

LIST = "/layer-runs/"


@pytest.fixture
def runs(transactional_db) -> list[LayerRun]:
    return [LayerRunFactory(ago=timedelta(hours=n + 1)) for n in range(3)]


def look(page) -> None:
    """Do what every ten seconds do: coming back to the page looks at once."""
    with page.expect_response("**/live/*"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def rows(page) -> list[str]:
    return page.locator("tr[data-run-id]").evaluate_all("rows => rows.map(row => row.dataset.runId)")


def test_it_is_off_until_it_is_switched_on_and_then_in_the_address(staff_page, runs):
    staff_page.goto(LIST)
    assert staff_page.locator("#run-news").count() == 0
    staff_page.locator(".lr-live").click()
    staff_page.wait_for_url(f"**{LIST}?live=1")
    staff_page.locator("#run-news").wait_for(state="attached")
    staff_page.reload()
    assert staff_page.get_by_role("switch", name="Live").is_checked()
    staff_page.locator(".lr-live").click()
    staff_page.wait_for_url(f"**{LIST}")
    staff_page.locator("#run-news").wait_for(state="detached")


def test_it_says_how_many_runs_are_new_and_moves_no_row_until_asked(staff_page, runs):
    staff_page.goto(f"{LIST}?live=1&status=success")
    before = rows(staff_page)
    look(staff_page)
    assert staff_page.locator("#run-news").inner_text() == ""
    LayerRunFactory(ago=timedelta(0))
    LayerRunFactory(ago=timedelta(0))
    LayerRunFactory(ago=timedelta(0), failing=True)  # Not in this selection.
    look(staff_page)
    staff_page.get_by_role("link", name="2 new runs").wait_for()
    assert rows(staff_page) == before
    # It goes on looking after its own answer has been swapped in.
    LayerRunFactory(ago=timedelta(0))
    look(staff_page)
    staff_page.get_by_role("link", name="3 new runs").click()
    staff_page.locator("#run-results[data-total='6']").wait_for()
    assert len(rows(staff_page)) == 6
    assert staff_page.locator("#run-news a").count() == 0


def test_it_keeps_what_the_lenses_link_to_and_the_selection_live(staff_page, runs):
    staff_page.goto(f"{LIST}?live=1")
    staff_page.locator("a[data-stat=success]").click()
    staff_page.wait_for_url(f"**{LIST}?status=success&live=1")
    staff_page.get_by_role("link", name="Layers").click()
    staff_page.wait_for_url(f"**{LIST}layers/?status=success&live=1")
    assert staff_page.get_by_role("switch", name="Live").is_checked()


def test_it_stops_when_the_session_ends_and_says_so(staff_page, runs):
    page = staff_page.context.new_page()  # Whose console may complain of the refusal.
    page.goto(f"{LIST}?live=1")
    Session.objects.all().delete()
    look(page)
    page.get_by_text("Live has stopped: your session has ended.").wait_for()
    assert page.get_by_role("link", name="Log in again").get_attribute("href").endswith(f"{LIST}?live=1")
    assert LIST in page.url
    asked = []
    page.on("request", lambda request: "/live/" in request.url and asked.append(request.url))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(200)
    assert asked == []


def test_it_says_when_the_server_is_away_and_tries_again(staff_page, runs):
    page = staff_page.context.new_page()
    page.goto(f"{LIST}?live=1")
    page.route("**/live/*", lambda route: route.abort())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_text("The server could not be reached. Live tries again").wait_for()
    page.unroute("**/live/*")
    LayerRunFactory(ago=timedelta(0))
    look(page)
    page.get_by_role("link", name="1 new run").wait_for()


def test_it_asks_nothing_while_the_page_is_hidden(staff_page, runs):
    staff_page.goto(f"{LIST}?live=1")
    asked = []
    staff_page.on("request", lambda request: "/live/" in request.url and asked.append(request.url))
    staff_page.evaluate("Object.defineProperty(document, 'visibilityState', { value: 'hidden' })")
    staff_page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    staff_page.wait_for_timeout(200)
    assert asked == []
