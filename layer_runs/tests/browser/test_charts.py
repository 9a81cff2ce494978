"""A chart under the fingers: one stop of the tab order, arrow keys inside, links that swap what lies below it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strict_csp")]

CHART = "[data-chart='timeline']"
FOCUSED = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.tagName"


@pytest.fixture
def runs(transactional_db) -> None:
    """Runs on four of seven days: today 1, two days ago 2, and so on."""
    for days, number in ((0, 1), (2, 2), (3, 3), (5, 4)):
        for _ in range(number):
            LayerRunFactory(ago=timedelta(days=days))


def open_list(page, query: str = "?period=7d"):
    page.goto(f"/layer-runs/{query}")
    chart = page.locator(CHART)
    chart.locator("a[tabindex='0']").wait_for(state="attached")
    return chart


def focused(page) -> str:
    """The part of the focused column's title that says how many ran."""
    return page.evaluate(FOCUSED).partition(": ")[2].split(",")[0]


def test_a_chart_is_one_stop_of_the_tab_order(staff_page, runs):
    chart = open_list(staff_page)
    assert chart.locator("svg a").count() == 4
    assert chart.locator("svg a[tabindex='0']").count() == 1
    staff_page.locator("#lr-legend-timeline-success").focus()
    staff_page.keyboard.press("Tab")
    assert focused(staff_page) == "1 run"
    staff_page.keyboard.press("Tab")
    assert staff_page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_arrow_keys_move_between_the_columns_and_end_at_its_ends(staff_page, runs):
    open_list(staff_page).locator("a[tabindex='0']").focus()
    seen = [focused(staff_page)]
    for key in ("ArrowLeft", "ArrowLeft", "Home", "ArrowLeft", "ArrowRight", "End", "ArrowRight"):
        staff_page.keyboard.press(key)
        seen.append(focused(staff_page))
    assert seen == ["1 run", "2 runs", "3 runs", "4 runs", "4 runs", "3 runs", "1 run", "1 run"]


def test_a_chart_is_entered_again_where_it_was_left(staff_page, runs):
    open_list(staff_page).locator("a[tabindex='0']").focus()
    staff_page.keyboard.press("Home")
    staff_page.keyboard.press("Tab")
    staff_page.keyboard.press("Shift+Tab")
    assert focused(staff_page) == "4 runs"


def test_enter_narrows_the_list_to_a_column_and_the_keyboard_stays_in_the_chart(staff_page, runs):
    open_list(staff_page).locator("a[tabindex='0']").focus()
    staff_page.evaluate("window.marked = 'same'")
    staff_page.keyboard.press("ArrowLeft")
    staff_page.keyboard.press("Enter")
    staff_page.locator("#run-results[data-total='2']").wait_for()
    assert "since=" in staff_page.url
    assert staff_page.evaluate("window.marked") == "same"
    staff_page.wait_for_function(f'document.activeElement.closest("{CHART}")')
    assert focused(staff_page) == "2 runs"


def test_a_click_anywhere_above_a_column_narrows_the_list_to_it(staff_page, runs):
    box = open_list(staff_page).locator("a .lr-hit").first.bounding_box()
    staff_page.mouse.click(box["x"] + box["width"] - 3, box["y"] + 3)
    staff_page.locator("#run-results[data-total='4']").wait_for()
    assert staff_page.locator("tr[data-run-id]").count() == 4


def test_a_click_with_a_key_held_down_opens_a_tab_and_leaves_the_list(staff_page, runs):
    chart = open_list(staff_page)
    with staff_page.context.expect_page() as opened:
        chart.locator("a .lr-hit").first.click(modifiers=["ControlOrMeta"])
    opened.value.locator("#run-results[data-total='4']").wait_for()
    opened.value.close()
    assert staff_page.locator("#run-results").get_attribute("data-total") == "10"
    assert staff_page.url.endswith("?period=7d")


def test_the_legend_toggles_a_status(staff_page, runs):
    LayerRunFactory(failing=True)
    open_list(staff_page)
    for total, current in (("1", "true"), ("11", None)):
        staff_page.locator("#lr-legend-timeline-failed").click()
        staff_page.locator(f"#run-results[data-total='{total}']").wait_for()
        assert staff_page.locator("#lr-legend-timeline-failed").get_attribute("aria-current") == current


def test_the_numbers_are_behind_the_chart_and_stay_once_they_are_shown(staff_page, runs):
    open_list(staff_page)
    table = staff_page.locator(f"{CHART} + details")
    assert not table.locator("table").is_visible()
    table.locator("summary").click()
    assert table.locator("tbody tr").count() == 7
    assert table.locator("tfoot").inner_text().split() == ["All", "10", "10"]
    table.locator("tbody a").first.click()
    staff_page.locator("#run-results[data-total='4']").wait_for()
    assert table.locator("table").is_visible()


@pytest.mark.parametrize("width", [390, 641, 1280, 1920])
def test_no_two_texts_of_a_chart_touch_at_any_width(staff_page, runs, width):
    LayerRun.objects.bulk_create(
        LayerRunFactory.build(ago=timedelta(hours=hours), status="failed" if hours % 5 else "success")
        for hours in range(0, 40 * 24, 5)
    )
    staff_page.set_viewport_size({"width": width, "height": 900})
    for query in ("?period=24h", "?period=7d", "?period=30d", "?period=90d", "?period=all"):
        open_list(staff_page, query)
        boxes = staff_page.evaluate(
            f"""[...document.querySelectorAll("{CHART} .lr-chart__plot text")]
                .map((text) => text.getBoundingClientRect())
                .filter((box) => box.width).map(({{left, right, top, bottom}}) => ({{left, right, top, bottom}}))"""
        )
        assert len(boxes) > 2
        for number, one in enumerate(boxes):
            assert one["right"] <= width, query
            for other in boxes[number + 1 :]:
                beside = one["right"] <= other["left"] or other["right"] <= one["left"]
                above = one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
                assert beside or above, (query, one, other)
