"""What axe-core finds on the pages: nothing, in both themes, wide and narrow."""

from __future__ import annotations

from datetime import timedelta

import pytest

from layer_runs.models import LayerRun, Status
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strict_csp")]

LIST = "/layer-runs/"
each_look = [
    pytest.mark.parametrize("theme", ["light", "dark"]),
    pytest.mark.parametrize("width", [390, 1280]),
]


@pytest.fixture
def run(transactional_db) -> LayerRun:
    """A failed run with calls, among runs of every status and more than a page holds."""
    for number, status in enumerate([*Status.values, "exploded"]):
        completed = {"completed_at": None} if status in ("running", "crashed") else {}
        LayerRunFactory.create_batch(
            4, status=status, ago=timedelta(hours=number + 1), unpriced_tokens=number % 2, source="a", **completed
        )
    errors = [{"topic": f"user:{n}", "error": f"Error code: 529 - {'x' * 5000}", "node": "reflect"} for n in range(60)]
    run = LayerRunFactory(failing=True, errors=errors, source="b", notes={"original_id": "x/1"})
    LayerRunFactory(layer_name=run.layer_name, source="b", ago=timedelta(days=1))
    LlmCallFactory.create_batch(2, run=run)
    LlmCallFactory(run=run, success=False, error_message="Overloaded " * 30, estimated_cost_usd=None)
    return run


@pytest.fixture
def faults(staff_page, page, request):
    """Look at an address in one theme and width, and list what axe finds on it."""
    run_axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe().run

    def faults(url: str, then=lambda page: None) -> list[str]:
        staff_page.emulate_media(color_scheme=request.getfixturevalue("theme"), reduced_motion="reduce")
        staff_page.set_viewport_size({"width": request.getfixturevalue("width"), "height": 900})
        # Read before axe comes: what it brings along is no fault of the page's.
        violations = []
        staff_page.on("console", lambda message: "CSP stopped" in message.text and violations.append(message.text))
        staff_page.goto(url)
        then(staff_page)
        staff_page.wait_for_load_state("networkidle")
        assert violations == []
        found = run_axe(staff_page).response["violations"]
        return [
            f"{fault['id']}: {node['target']} {node['failureSummary']}" for fault in found for node in fault["nodes"]
        ]

    return faults


def look(test):
    for mark in each_look:
        test = mark(test)
    return test


@look
def test_axe_finds_nothing_on_the_list(faults, run, theme, width):
    assert faults(LIST) == []


@look
def test_axe_finds_nothing_on_a_filtered_list_with_its_menus_open(faults, run, theme, width):
    def open_menu(page):
        page.locator("summary", has_text="Status").click()

    query = "?layer_name=nightly-user-reflection&status=failed&since=garbage&sort=cost&page=7"
    assert faults(f"{LIST}{query}", open_menu) == []


@look
def test_axe_finds_nothing_on_an_open_drawer(faults, run, theme, width):
    def open_drawer(page):
        page.locator(f"tr[data-run-id='{run.pk}'] a").first.click()
        page.locator("#run-detail[open]").wait_for()

    assert faults(f"{LIST}?period=30d", open_drawer) == []


@look
def test_axe_finds_nothing_on_the_page_of_a_run(faults, run, theme, width):
    assert faults(f"{LIST}{run.pk}/") == []


@look
def test_axe_finds_nothing_on_the_errors_of_a_run(faults, run, theme, width):
    assert faults(f"{LIST}{run.pk}/errors/?page=2") == []


@look
def test_axe_finds_nothing_where_there_are_no_runs_yet(faults, theme, width, transactional_db):
    assert faults(LIST) == []


@look
def test_axe_finds_nothing_where_no_runs_match(faults, run, theme, width):
    assert faults(f"{LIST}?layer_name=nobody&status=failed") == []


@look
def test_axe_finds_nothing_on_the_totals(faults, run, theme, width):
    assert faults(f"{LIST}stats/") == []


@look
def test_axe_finds_nothing_where_a_request_failed(faults, run, theme, width, staff_page):
    def fail(page):
        page.evaluate("document.dispatchEvent(new CustomEvent('htmx:sendError'))")
        page.locator("#lr-alert").wait_for()

    assert faults(LIST, fail) == []
