"""What axe-core finds on the pages: nothing, in both themes, wide and narrow. And that none scrolls sideways."""

from __future__ import annotations

from datetime import timedelta

import pytest

from layer_runs.models import LayerRun, Status
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strict_csp")]

LIST = "/layer-runs/"
LAYERS, ERRORS, COSTS, COMPARE = f"{LIST}layers/", f"{LIST}errors/", f"{LIST}costs/", f"{LIST}compare/"
each_theme = pytest.mark.parametrize("theme", ["light", "dark"])
each_width = pytest.mark.parametrize("width", [390, 1280])
# All but the list share most of their rules with it: each theme once, each width once.
two_looks = pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])


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
def history(run) -> LayerRun:
    """Beside the runs of every status, two months of layers: of versions, errors at two nodes and unpriced calls."""
    long_name = "a-layer-whose-name-is-much-longer-than-anyone-would-think-" * 2
    for days in range(1, 60, 3):
        for name in ("nightly-user-reflection", long_name, "weekly-self-reflection")[: 1 + days % 3]:
            version = {"layer_name": name, "layer_hash": f"{days // 20}7efb9b10c24d5f", "ago": timedelta(days=days)}
            if days % 4 == 0:
                nodes = [
                    {"topic": f"user:{n}", "error": f"Connection error {n}.", "node": "ab"[n % 2]} for n in range(4)
                ]
                LayerRunFactory(failing=True, errors=nodes, **version)
            else:
                one = LayerRunFactory(**version)
                LlmCallFactory(run=one)
                LlmCallFactory(run=one, model_name="a-new-model", estimated_cost_usd=None)
    LayerRunFactory(layer_name="silent-since-long-ago", ago=timedelta(days=80))
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
        assert too_wide(staff_page) == []
        return [
            f"{fault['id']}: {node['target']} {node['failureSummary']}" for fault in found for node in fault["nodes"]
        ]

    return faults


def too_wide(page) -> list[str]:
    """Name the widths, of the narrowest and the widest screen, at which the page can be scrolled sideways."""
    found = []
    for width in (390, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        scrolls = page.evaluate("document.documentElement.scrollWidth")
        if scrolls > width:
            found.append(f"{scrolls} px on a screen of {width}")
    return found


@each_theme
@each_width
def test_axe_finds_nothing_on_the_list(faults, run, theme, width):
    assert faults(LIST) == []


@two_looks
def test_axe_finds_nothing_on_a_filtered_list_with_its_menus_open(faults, run, theme, width):
    def open_menu(page):
        page.locator("summary", has_text="Status").click()

    query = "?layer_name=nightly-user-reflection&status=failed&since=garbage&sort=cost&page=7"
    assert faults(f"{LIST}{query}", open_menu) == []


@two_looks
def test_axe_finds_nothing_on_an_open_drawer(faults, run, theme, width):
    def open_drawer(page):
        page.locator(f"tr[data-run-id='{run.pk}'] a").first.click()
        page.locator("#run-detail[open]").wait_for()

    assert faults(f"{LIST}?period=30d", open_drawer) == []


@two_looks
def test_axe_finds_nothing_on_the_page_of_a_run(faults, run, theme, width):
    assert faults(f"{LIST}{run.pk}/") == []


@two_looks
def test_axe_finds_nothing_on_the_errors_of_a_run(faults, run, theme, width):
    assert faults(f"{LIST}{run.pk}/errors/?page=2") == []


@two_looks
def test_axe_finds_nothing_where_there_are_no_runs_yet(faults, theme, width, transactional_db):
    assert faults(LIST) == []


@two_looks
def test_axe_finds_nothing_where_no_runs_match(faults, run, theme, width):
    assert faults(f"{LIST}?layer_name=nobody&status=failed") == []


@two_looks
def test_axe_finds_nothing_on_the_totals(faults, run, theme, width):
    assert faults(f"{LIST}stats/") == []


@two_looks
def test_axe_finds_nothing_where_a_request_failed(faults, run, theme, width, staff_page):
    def fail(page):
        page.evaluate("document.dispatchEvent(new CustomEvent('htmx:sendError'))")
        page.locator("#lr-alert").wait_for()

    assert faults(LIST, fail) == []


@two_looks
@pytest.mark.parametrize("query", ["?period=90d", "?period=30d&sort=-runs", "?period=24h", "?layer_name=nobody"])
def test_axe_finds_nothing_on_the_layers(faults, history, theme, width, query):
    assert faults(f"{LAYERS}{query}") == []


@two_looks
@pytest.mark.parametrize("period", ["all", "24h"])
def test_axe_finds_nothing_on_one_layer(faults, history, theme, width, period):
    assert faults(f"{LAYERS}?layer_name={history.layer_name}&period={period}", unfold) == []


@two_looks
@pytest.mark.parametrize("query", ["?period=all", "?layer_name=nightly-user-reflection&period=90d", "?status=success"])
def test_axe_finds_nothing_on_the_errors(faults, history, theme, width, query):
    assert faults(f"{ERRORS}{query}", unfold) == []


@two_looks
def test_axe_finds_nothing_on_one_error(faults, history, theme, width):
    def open_group(page):
        page.locator("tr[data-cause] a.lr-cause").first.click()
        page.locator("#lr-group-title").wait_for()

    assert faults(f"{ERRORS}?period=all", open_group) == []


@two_looks
@pytest.mark.parametrize("query", ["?period=30d", "?period=all&by=layer", "?layer_name=nobody"])
def test_axe_finds_nothing_on_the_costs(faults, history, theme, width, query):
    assert faults(f"{COSTS}{query}", unfold) == []


@two_looks
def test_axe_finds_nothing_on_two_runs_compared(faults, history, theme, width):
    assert faults(f"{COMPARE}?b={history.pk}&period=all") == []


@two_looks
def test_axe_finds_nothing_where_two_runs_are_asked_for(faults, run, theme, width):
    assert faults(COMPARE) == []


@two_looks
def test_axe_finds_nothing_on_the_menu_of_rarer_filters_and_it_stays_on_the_screen(faults, history, theme, width):
    def open_more(page):
        page.locator("summary", has_text="More").click()
        box = page.locator(".lr-more").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width

    assert faults(f"{LIST}?min_cost=0.1&exclude_layer=nobody", open_more) == []


@two_looks
def test_axe_finds_nothing_on_the_list_of_keys(faults, run, theme, width):
    def ask(page):
        page.keyboard.press("?")
        page.locator("#lr-keys[open]").wait_for()

    assert faults(LIST, ask) == []


@two_looks
def test_axe_finds_nothing_on_what_live_says(faults, run, theme, width):
    def look_for_news(page):
        LayerRunFactory(ago=timedelta(0))
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.get_by_role("link", name="1 new run").wait_for()

    assert faults(f"{LIST}?live=1", look_for_news) == []


def unfold(page) -> None:
    """Open whatever explains or lists more."""
    page.evaluate("for (const fold of document.querySelectorAll('#run-results details')) fold.open = true")
