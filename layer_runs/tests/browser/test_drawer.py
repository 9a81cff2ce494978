"""One run in a drawer over the list, under a strict content security policy."""

from __future__ import annotations

from datetime import timedelta

import pytest

from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strict_csp")]

LIST = "/layer-runs/"


@pytest.fixture
def runs(transactional_db) -> list[LayerRun]:
    """Three runs of one layer, the newest first; the second failed."""
    runs = [LayerRunFactory(ago=timedelta(hours=n + 1), failing=n == 1) for n in range(3)]
    LlmCallFactory(run=runs[1])
    return runs


@pytest.fixture
def page(page):
    """A page that knows when it was loaded anew."""
    page.add_init_script("window.loaded = performance.now()")
    return page


def row(page, run: LayerRun):
    return page.locator(f"tr[data-run-id='{run.pk}']")


def is_open(page, run: LayerRun) -> None:
    page.locator("#run-detail[open]", has_text=run.pk).wait_for()
    page.wait_for_url(f"**{LIST}{run.pk}/**")


def is_closed_over_the_list(page, marked: str, query: str = "") -> None:
    """The list is below, at its own address, and was not loaded again."""
    page.locator("#run-detail:not([open])").wait_for(state="attached")
    page.wait_for_url(f"**{LIST}{query}")
    assert page.evaluate("window.marked") == marked
    assert page.locator("#run-results").get_attribute("data-marked") == marked
    assert page.locator("tr.lr-open").count() == 0


def open_list(page, query: str = "") -> str:
    page.goto(f"{LIST}{query}")
    page.evaluate("window.marked = document.getElementById('run-results').dataset.marked = 'same'")
    return "same"


def focused(page) -> str:
    return page.evaluate("document.activeElement.closest('tr')?.dataset.runId ?? document.activeElement.outerHTML")


def test_a_click_on_a_row_opens_its_run(staff_page, runs):
    marked = open_list(staff_page, "?period=30d")
    row(staff_page, runs[1]).locator("td").last.click()
    is_open(staff_page, runs[1])
    drawer = staff_page.locator("#run-detail")
    assert "Connection error" in drawer.inner_text()
    assert "1 LLM call" in drawer.inner_text()
    assert staff_page.url.endswith(f"{LIST}{runs[1].pk}/?period=30d")
    assert staff_page.locator("tr.lr-open").get_attribute("data-run-id") == runs[1].pk
    assert staff_page.evaluate("window.marked") == marked


def test_enter_on_the_link_opens_its_run_and_puts_the_focus_into_it(staff_page, runs):
    open_list(staff_page)
    row(staff_page, runs[1]).locator("a").focus()
    staff_page.keyboard.press("Enter")
    is_open(staff_page, runs[1])
    assert staff_page.evaluate("document.getElementById('run-detail').contains(document.activeElement)")


@pytest.mark.parametrize("way", ["Escape", "button", "backdrop", "back"])
def test_it_closes_to_the_list_it_was_opened_over(staff_page, runs, way):
    marked = open_list(staff_page, "?status=failed")
    row(staff_page, runs[1]).locator("a").click()
    is_open(staff_page, runs[1])
    if way == "Escape":
        staff_page.keyboard.press("Escape")
    elif way == "button":
        staff_page.get_by_role("button", name="Close").click()
    elif way == "backdrop":
        staff_page.mouse.click(20, 400)
    else:
        staff_page.go_back()
    is_closed_over_the_list(staff_page, marked, "?status=failed")
    assert focused(staff_page) == runs[1].pk


def test_it_opens_and_closes_again_and_again(staff_page, runs):
    marked = open_list(staff_page)
    for run in [*runs, *runs]:
        row(staff_page, run).locator("a").click()
        is_open(staff_page, run)
        staff_page.keyboard.press("Escape")
        is_closed_over_the_list(staff_page, marked)
        assert focused(staff_page) == run.pk


def test_older_and_newer_stay_in_it_and_one_back_closes_it(staff_page, runs):
    marked = open_list(staff_page)
    row(staff_page, runs[0]).locator("a").click()
    is_open(staff_page, runs[0])
    for run in runs[1:]:
        staff_page.locator("#run-detail").get_by_role("link", name="Run before", exact=True).click()
        is_open(staff_page, run)
    staff_page.locator("#run-detail").get_by_role("link", name="Run after", exact=True).click()
    is_open(staff_page, runs[1])
    staff_page.go_back()
    is_closed_over_the_list(staff_page, marked)


def test_older_and_newer_then_escape_closes_it_too(staff_page, runs):
    marked = open_list(staff_page)
    row(staff_page, runs[0]).locator("a").click()
    is_open(staff_page, runs[0])
    staff_page.locator("#run-detail").get_by_role("link", name="Run before", exact=True).click()
    is_open(staff_page, runs[1])
    staff_page.keyboard.press("Escape")
    is_closed_over_the_list(staff_page, marked)


def test_filters_still_work_after_it_was_closed(staff_page, runs):
    open_list(staff_page)
    row(staff_page, runs[0]).locator("a").click()
    is_open(staff_page, runs[0])
    staff_page.keyboard.press("Escape")
    staff_page.wait_for_url(f"**{LIST}")
    staff_page.locator("a[data-stat=failed]").click()
    staff_page.locator("#run-results[data-total='1']").wait_for()
    staff_page.wait_for_url(f"**{LIST}?status=failed")
    # One step back is the list before the filter, not the drawer.
    staff_page.go_back()
    staff_page.locator("#run-results[data-total='3']").wait_for()
    staff_page.wait_for_url(f"**{LIST}")


def test_forward_after_it_was_closed_is_the_run_as_a_whole_page(staff_page, runs):
    open_list(staff_page)
    row(staff_page, runs[1]).locator("a").click()
    is_open(staff_page, runs[1])
    staff_page.keyboard.press("Escape")
    staff_page.wait_for_url(f"**{LIST}")
    staff_page.go_forward()
    staff_page.locator("article.lr-run--page", has_text=runs[1].pk).wait_for()
    assert staff_page.locator("#site-name").is_visible()


def test_its_address_opened_directly_is_a_whole_page(staff_page, runs):
    staff_page.goto(f"{LIST}{runs[1].pk}/?status=failed")
    assert staff_page.locator("h1", has_text=runs[1].layer_name).is_visible()
    assert staff_page.locator("#site-name").is_visible()
    assert staff_page.locator("dialog[open]").count() == 0
    staff_page.get_by_role("link", name="Run after", exact=True).click()
    staff_page.wait_for_url(f"**{LIST}{runs[0].pk}/?status=failed")
    staff_page.get_by_role("link", name="Back to the list").click()
    staff_page.wait_for_url(f"**{LIST}?status=failed")
    assert staff_page.locator("#run-results").get_attribute("data-total") == "1"


def test_a_reload_of_it_is_the_whole_page_of_the_run(staff_page, runs):
    open_list(staff_page)
    row(staff_page, runs[1]).locator("a").click()
    is_open(staff_page, runs[1])
    staff_page.reload()
    assert staff_page.locator("article.lr-run--page", has_text=runs[1].pk).is_visible()


def test_it_leads_to_the_page_of_the_run_and_back_is_the_list(staff_page, runs):
    open_list(staff_page)
    row(staff_page, runs[1]).locator("a").click()
    is_open(staff_page, runs[1])
    staff_page.get_by_role("link", name="Open page").click()
    staff_page.locator("article.lr-run--page").wait_for()
    staff_page.go_back()
    staff_page.locator("#run-results[data-total='3']").wait_for()
    assert staff_page.locator("#site-name").is_visible()
    assert staff_page.locator("dialog[open]").count() == 0


def test_a_selection_of_text_in_a_row_does_not_open_it(staff_page, runs):
    open_list(staff_page)
    box = row(staff_page, runs[1]).locator("td.lr-c-error").bounding_box()
    staff_page.mouse.move(box["x"] + 12, box["y"] + box["height"] / 2)
    staff_page.mouse.down()
    staff_page.mouse.move(box["x"] + 90, box["y"] + box["height"] / 2, steps=5)
    staff_page.mouse.up()
    assert staff_page.evaluate("String(getSelection())") != ""
    staff_page.wait_for_load_state("networkidle")
    assert staff_page.url.endswith(LIST)


def test_a06_a_run_that_is_gone_is_said(staff_page, runs):
    page = staff_page.context.new_page()
    marked = open_list(page)
    link = row(page, runs[1]).locator("a")
    runs[1].delete()
    link.click()
    page.locator("#lr-alert", has_text="no longer here").wait_for()
    is_closed_over_the_list(page, marked)


def test_a06_a_failure_inside_it_is_said_over_the_list(staff_page, runs):
    page = staff_page.context.new_page()
    marked = open_list(page)
    row(page, runs[0]).locator("a").click()
    is_open(page, runs[0])
    page.route(f"**{LIST}{runs[1].pk}/*", lambda route: route.fulfill(status=500, body="no"))
    page.locator("#run-detail").get_by_role("link", name="Run before", exact=True).click()
    alert = page.locator("#lr-alert", has_text="could not answer (500)")
    alert.wait_for()
    is_closed_over_the_list(page, marked)
    assert alert.is_visible()


def test_a05_an_expired_session_leads_from_it_to_the_login_and_back_to_the_list(staff_page, runs):
    page = staff_page.context.new_page()
    page.goto(f"{LIST}?status=failed")
    page.context.clear_cookies()
    row(page, runs[1]).locator("a").click()
    page.wait_for_url("**/admin/login/**")
    assert page.url.endswith("?next=/layer-runs/%3Fstatus%3Dfailed")


def test_d04_what_strangers_wrote_stays_text(staff_page, transactional_db):
    attack = (
        "<div hx-get='/layer-runs/stats/' hx-trigger='load'>x</div><script>x()</script><img src=x onerror='window.x=1'>"
    )
    run = LayerRunFactory(
        layer_name=attack, model_name=attack, errors=[{"topic": attack, "error": attack, "node": attack}]
    )
    LlmCallFactory(run=run, topic=attack, error_message=attack, success=False)
    asked = []
    staff_page.on("request", lambda request: asked.append(request.url))
    open_list(staff_page, f"?layer_name={'<script>'}")
    staff_page.goto(LIST)
    row(staff_page, run).locator("a").click()
    is_open(staff_page, run)
    staff_page.wait_for_load_state("networkidle")
    assert staff_page.evaluate("window.x") is None
    assert not [url for url in asked if "stats" in url or url.endswith("/x")]
