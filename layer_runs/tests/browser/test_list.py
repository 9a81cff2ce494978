"""The list in a browser, under a strict content security policy."""

from __future__ import annotations

from datetime import timedelta

import pytest

from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strict_csp")]

LIST = "/layer-runs/"
WIDTHS = [390, 768, 1280, 1920]


@pytest.fixture
def runs(transactional_db) -> list[LayerRun]:
    """Forty-five runs of two layers, five of them failed."""
    runs = [LayerRunFactory(layer_name="nightly", ago=timedelta(minutes=n + 1), tokens_total=n) for n in range(40)]
    return runs + LayerRunFactory.create_batch(5, layer_name="speak", failing=True, ago=timedelta(hours=5))


@pytest.fixture
def rough_page(staff_page):
    """A page whose console may complain: of requests that are made to fail."""
    return staff_page.context.new_page()


def total(page, count: int) -> None:
    """Wait until the list says so."""
    page.locator(f"#run-results[data-total='{count}']").wait_for()


def choose(page, menu: str, value: str) -> None:
    page.locator("summary", has_text=menu).click()
    page.get_by_role("checkbox", name=value, exact=True).check()


def first_row(page) -> str:
    return page.locator("tr[data-run-id]").first.get_attribute("data-run-id")


def test_a_filter_swaps_what_lies_below_the_form_and_nothing_else(staff_page, runs):
    staff_page.goto(LIST)
    total(staff_page, 45)
    staff_page.evaluate("for (const id of ['run-filters', 'run-results']) document.getElementById(id).marked = true")
    choose(staff_page, "Status", "failed")
    total(staff_page, 5)
    staff_page.wait_for_url(f"**{LIST}?status=failed")
    assert staff_page.evaluate("document.getElementById('run-filters').marked === true")
    assert staff_page.evaluate("document.getElementById('run-results').marked === undefined")
    assert staff_page.locator("[data-stat='total']").get_attribute("data-value") == "5"
    choose(staff_page, "Layer", "nightly")
    total(staff_page, 0)
    staff_page.wait_for_url(f"**{LIST}?layer_name=nightly&status=failed")


def test_a_chip_takes_its_filter_away_and_unchecks_its_box(staff_page, runs):
    staff_page.goto(f"{LIST}?status=failed&layer_name=speak&q=connection")
    staff_page.locator("a.lr-chip", has_text="failed").click()
    staff_page.wait_for_url(f"**{LIST}?layer_name=speak&q=connection")
    boxes = staff_page.locator("#run-filters input[type=checkbox]:checked")
    assert boxes.evaluate_all("boxes => boxes.map(box => box.value)") == ["speak"]
    staff_page.locator("a.lr-chip", has_text="connection").click()
    staff_page.wait_for_url(f"**{LIST}?layer_name=speak")
    assert staff_page.locator("input[name=q]").input_value() == ""
    # What the form sends next no longer holds what the chips took away.
    choose(staff_page, "Status", "success")
    staff_page.wait_for_url(f"**{LIST}?layer_name=speak&status=success")
    total(staff_page, 0)


def test_a_card_checks_the_box_of_its_status(staff_page, runs):
    staff_page.goto(LIST)
    staff_page.locator("a[data-stat=failed]").click()
    total(staff_page, 5)
    assert staff_page.locator("input[name=status]:checked").get_attribute("value") == "failed"


def test_the_list_follows_the_search_while_it_is_typed(staff_page, runs):
    staff_page.goto(LIST)
    box = staff_page.locator("input[name=q]")
    box.press_sequentially("connection")
    total(staff_page, 5)
    staff_page.wait_for_url(f"**{LIST}?q=connection")
    box.press_sequentially(" error")
    staff_page.wait_for_url(f"**{LIST}?q=connection+error")
    assert box.input_value() == "connection error"
    assert box.evaluate("box => box === document.activeElement")


def test_enter_in_the_search_searches_without_a_reload(staff_page, runs):
    staff_page.goto(LIST)
    staff_page.evaluate("window.marked = true")
    staff_page.locator("input[name=q]").fill("connection")
    staff_page.locator("input[name=q]").press("Enter")
    total(staff_page, 5)
    assert staff_page.evaluate("window.marked")


def test_a_period_ends_a_range_and_a_range_a_period(staff_page, runs):
    LayerRunFactory(ago=timedelta(days=20))
    staff_page.goto(LIST)
    staff_page.locator(".lr-seg label", has_text="30 d").click()
    total(staff_page, 46)
    staff_page.wait_for_url(f"**{LIST}?period=30d")
    staff_page.locator("summary", has_text="Custom").click()
    staff_page.get_by_label("From").fill("2020-01-01")
    staff_page.get_by_label("Until").fill("2020-01-02")
    staff_page.get_by_role("button", name="Show this range").click()
    total(staff_page, 0)
    staff_page.wait_for_url(f"**{LIST}?since=2020-01-01&until=2020-01-02")
    assert staff_page.locator("input[name=period]:checked").count() == 0
    staff_page.locator(".lr-seg label", has_text="24 h").click()
    total(staff_page, 45)
    staff_page.wait_for_url(f"**{LIST}?period=24h")
    assert staff_page.get_by_label("From", exact=True).input_value() == ""


def test_a_mistake_in_a_range_is_said_beside_the_runs(staff_page, runs):
    staff_page.goto(LIST)
    staff_page.locator("summary", has_text="Custom").click()
    staff_page.get_by_label("From").fill("yesterday")
    staff_page.get_by_label("From").press("Enter")
    staff_page.locator("[role=alert][data-field=since]", has_text="yesterday").wait_for()
    total(staff_page, 45)


def test_sorting_and_paging_follow_the_links_without_a_reload(staff_page, runs):
    staff_page.goto(LIST)
    staff_page.evaluate("window.marked = true")
    staff_page.get_by_role("link", name="Tokens").click()
    staff_page.wait_for_url(f"**{LIST}?sort=-tokens")
    most = max(LayerRun.objects.all(), key=lambda run: run.tokens_total)
    assert LayerRun.objects.get(pk=first_row(staff_page)).tokens_total == most.tokens_total
    staff_page.get_by_role("link", name="Next").click()
    staff_page.wait_for_url(f"**{LIST}?sort=-tokens&page=2&after=*")
    assert "21–40 of 45" in staff_page.locator("nav.lr-pager").inner_text()
    # A filter keeps the sort and starts again at the first page.
    choose(staff_page, "Layer", "nightly")
    staff_page.wait_for_url(f"**{LIST}?layer_name=nightly&sort=-tokens")
    assert staff_page.evaluate("window.marked")


def test_the_exports_and_the_admin_follow_the_filters(staff_page, runs):
    staff_page.goto(LIST)
    choose(staff_page, "Status", "failed")
    total(staff_page, 5)
    staff_page.locator("summary", has_text="Export").click()
    with staff_page.expect_download() as download:
        staff_page.get_by_role("link", name="JSON lines").click()
    assert len(download.value.path().read_text().splitlines()) == 5
    staff_page.get_by_role("link", name="Admin", exact=True).click()
    staff_page.wait_for_url("**/admin/layer_runs/layerrun/?*status=failed*")


def test_a07_back_after_filtering_is_the_earlier_list_as_a_whole_page(staff_page, runs):
    staff_page.goto(LIST)
    choose(staff_page, "Status", "failed")
    total(staff_page, 5)
    choose(staff_page, "Layer", "nightly")
    total(staff_page, 0)
    staff_page.go_back()
    staff_page.wait_for_url(f"**{LIST}?status=failed")
    total(staff_page, 5)
    staff_page.locator("#site-name").wait_for()
    staff_page.go_back()
    total(staff_page, 45)
    staff_page.locator("#run-filters").wait_for()
    assert staff_page.locator("input[name=status]:checked").count() == 0
    staff_page.go_forward()
    total(staff_page, 5)
    assert staff_page.locator("input[name=status]:checked").count() == 1


def test_a07_back_from_another_page_is_the_whole_list_again(staff_page, runs):
    staff_page.goto(LIST)
    choose(staff_page, "Status", "failed")
    total(staff_page, 5)
    staff_page.get_by_role("link", name="Home").click()
    staff_page.wait_for_url("**/admin/")
    staff_page.go_back()
    total(staff_page, 5)
    assert staff_page.locator("#site-name").is_visible()
    assert staff_page.locator("#run-filters").is_visible()


def test_a10_it_leaves_nothing_in_the_browsers_storage(staff_page, runs):
    staff_page.goto(LIST)
    choose(staff_page, "Status", "failed")
    total(staff_page, 5)
    kept = staff_page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
    assert "speak" not in kept
    assert len(kept) < 300


def test_c14_a_slow_old_answer_never_lands_under_a_newer_filter(rough_page, runs):
    held = []

    def hold(route):
        if "status=failed" in route.request.url and "layer_name" not in route.request.url:
            held.append(route)
        else:
            route.continue_()

    rough_page.goto(LIST)
    rough_page.route(f"**{LIST}?*", hold)
    rough_page.locator("summary", has_text="Status").click()
    with rough_page.expect_request("**?*status=failed*"):
        rough_page.get_by_role("checkbox", name="failed", exact=True).check()
    choose(rough_page, "Layer", "nightly")
    total(rough_page, 0)
    assert held
    held[0].abort()
    rough_page.wait_for_load_state("networkidle")
    total(rough_page, 0)
    assert rough_page.locator("#lr-alert").is_hidden()


def test_menus_close_by_escape_and_by_a_click_elsewhere(staff_page, runs):
    staff_page.goto(LIST)
    menu = staff_page.locator("details.lr-menu", has_text="Status")
    menu.locator("summary").click()
    assert menu.get_attribute("open") is not None
    staff_page.keyboard.press("Escape")
    assert menu.get_attribute("open") is None
    assert menu.locator("summary").evaluate("summary => summary === document.activeElement")
    menu.locator("summary").click()
    staff_page.locator("h1").click()
    assert menu.get_attribute("open") is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [(500, "could not answer (500)"), (503, "could not answer (503)"), (404, "no longer here"), (403, "not allowed")],
)
def test_a06_a_request_that_failed_is_said(rough_page, runs, answer, words):
    rough_page.goto(LIST)
    rough_page.route(f"**{LIST}?*", lambda route: route.fulfill(status=answer, body="no"))
    choose(rough_page, "Status", "failed")
    alert = rough_page.locator("#lr-alert")
    alert.wait_for()
    assert words in alert.inner_text()
    assert alert.evaluate("alert => alert === document.activeElement")
    total(rough_page, 45)
    # The next one that works takes the message away.
    rough_page.unroute(f"**{LIST}?*")
    choose(rough_page, "Layer", "speak")
    total(rough_page, 5)
    assert alert.is_hidden()


def test_a06_a_server_out_of_reach_is_said(rough_page, runs):
    rough_page.goto(LIST)
    rough_page.route(f"**{LIST}?*", lambda route: route.abort())
    rough_page.get_by_role("link", name="Tokens").click()
    rough_page.locator("#lr-alert", has_text="could not be reached").wait_for()
    total(rough_page, 45)


def test_a05_an_expired_session_sends_the_whole_page_to_the_login(rough_page, runs):
    rough_page.goto(f"{LIST}?layer_name=speak")
    rough_page.context.clear_cookies()
    rough_page.locator("a[data-stat=failed]").click()
    rough_page.wait_for_url("**/admin/login/**")
    assert rough_page.get_by_label("Username").is_visible()
    assert rough_page.locator("#run-results").count() == 0
    assert rough_page.url.endswith("?next=/layer-runs/%3Flayer_name%3Dspeak")


def test_a23_everything_works_without_javascript(staff_page, browser, live_server, runs):
    context = browser.new_context(
        base_url=live_server.url, java_script_enabled=False, storage_state=staff_page.context.storage_state()
    )
    context.set_default_timeout(10_000)
    page = context.new_page()
    staff_page.goto(LIST)
    page.goto(LIST)
    # What would do nothing is not shown; with a script it is.
    for only_scripted in (".lr-live", ".lr-key", "[data-keys]"):
        assert page.locator(f"#run-filters {only_scripted}").is_hidden()
        staff_page.locator(f"#run-filters {only_scripted}").wait_for()
    choose(page, "Status", "failed")
    page.get_by_role("button", name="Apply").click()
    total(page, 5)
    assert "status=failed" in page.url
    page.locator("a.lr-chip", has_text="failed").click()
    total(page, 45)
    page.get_by_role("link", name="Cost", exact=True).click()
    page.get_by_role("link", name="Next").click()
    assert "21–40 of 45" in page.locator("nav.lr-pager").inner_text()
    assert "sort=-cost" in page.url
    run_id = first_row(page)
    page.locator("tr[data-run-id] a").first.click()
    assert page.locator("h1").is_visible()
    assert run_id in page.locator("article").inner_text()
    page.get_by_role("link", name="Back to the list").click()
    total(page, 45)
    assert "sort=-cost" in page.url
    assert "page=2" in page.url
    context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_d27_no_page_scrolls_sideways(staff_page, width, transactional_db):
    for n in range(25):
        LayerRunFactory(layer_name="W" * 200 if n % 3 == 0 else "nightly", status="exploded" if n % 2 else "failed")
    wide = "x" * 500
    run = LayerRunFactory(
        failing=True,
        layer_name="W" * 200,
        model_name="M" * 200,
        model_provider="P" * 100,
        source="s" * 30,
        errors=[{"topic": wide, "error": wide * 3, "node": wide}],
        **{f"targets_{name}": 2_147_483_647 for name in ("matched", "processed", "skipped")},
        tokens_total=10**12,
        estimated_cost_usd="999999.99",
    )
    LayerRunFactory(layer_name="W" * 200, source="s" * 30)
    staff_page.set_viewport_size({"width": width, "height": 900})
    for url in (
        LIST,
        f"{LIST}?layer_name={'W' * 200}&status=failed&q={'x' * 200}",
        f"{LIST}?layer_name=nobody",
        f"{LIST}?since={'x' * 40}",
        f"{LIST}stats/",
        f"{LIST}{run.pk}/",
        f"{LIST}{run.pk}/errors/",
    ):
        staff_page.goto(url)
        over = staff_page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, url
    staff_page.goto(LIST)
    staff_page.locator("tr[data-run-id]", has_text="W").first.locator("a").click()
    drawer = staff_page.locator("#run-detail[open]")
    drawer.wait_for()
    assert drawer.evaluate("drawer => drawer.scrollWidth - drawer.clientWidth") <= 0


def test_a_menu_counts_its_choices_anew_once_the_selection_has_changed(staff_page, runs):
    def counts(menu):
        options = staff_page.locator(f"#run-choices-{menu} .lr-option")
        return dict(option.split("\n") for option in options.all_inner_texts())

    staff_page.goto(LIST)
    staff_page.locator("summary", has_text="Layer").click()
    assert counts("layer_name") == {"nightly": "40", "speak": "5"}
    choose(staff_page, "Status", "failed")
    total(staff_page, 5)
    with staff_page.expect_response("**/layer-runs/?*"):
        staff_page.locator("summary", has_text="Layer").click()
    staff_page.locator("#run-choices-layer_name .lr-zero").wait_for()
    assert counts("layer_name") == {"nightly": "0", "speak": "5"}


def test_the_rarer_filters_are_sent_together(staff_page, runs):
    staff_page.goto(LIST)
    staff_page.locator("summary", has_text="More").click()
    staff_page.get_by_label("Errors", exact=True).select_option("with errors")
    staff_page.get_by_label("Takes at least").fill("10s")
    staff_page.get_by_role("checkbox", name="nightly").check()
    total(staff_page, 45)
    staff_page.get_by_role("button", name="Apply").click()
    total(staff_page, 5)
    staff_page.wait_for_url("**?exclude_layer=nightly&has_errors=1&min_duration=10s")
    staff_page.locator("a.lr-chip", has_text="nightly").click()
    staff_page.wait_for_url("**?has_errors=1&min_duration=10s")
    assert staff_page.get_by_label("Takes at least").input_value() == "10s"
