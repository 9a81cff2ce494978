"""The keyboard alone: search, rows, the drawer, and the list of keys."""

from __future__ import annotations

from datetime import timedelta

import pytest

from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("strict_csp")]

LIST = "/layer-runs/"


@pytest.fixture
def runs(transactional_db) -> list[LayerRun]:
    """Three runs, the newest first."""
    return [LayerRunFactory(id=f"run-{n}", ago=timedelta(hours=n + 1)) for n in range(3)]


def focused_run(page) -> str | None:
    return page.evaluate("document.activeElement.closest('tr')?.dataset.runId ?? null")


def test_j_and_k_go_through_the_rows_and_stop_at_their_ends(staff_page, runs):
    staff_page.goto(LIST)
    seen = []
    for key in "jjjjkkkk":
        staff_page.keyboard.press(key)
        seen.append(focused_run(staff_page))
    assert seen == ["run-0", "run-1", "run-2", "run-2", "run-1", "run-0", "run-0", "run-0"]


def test_enter_opens_the_row_and_escape_comes_back_to_it(staff_page, runs):
    staff_page.goto(LIST)
    staff_page.keyboard.press("j")
    staff_page.keyboard.press("j")
    staff_page.keyboard.press("Enter")
    staff_page.locator("#run-detail[open]").wait_for()
    staff_page.wait_for_url(f"**{LIST}run-1/")
    # What lies below an open drawer is out of reach.
    staff_page.keyboard.press("j")
    assert focused_run(staff_page) is None
    staff_page.keyboard.press("Escape")
    staff_page.wait_for_url(f"**{LIST}")
    staff_page.wait_for_function("document.activeElement.closest('tr')?.dataset.runId === 'run-1'")


def test_a_slash_goes_to_the_search_and_no_key_acts_while_typing(staff_page, runs):
    staff_page.goto(LIST)
    staff_page.keyboard.press("/")
    box = staff_page.locator("input[name=q]")
    assert box.evaluate("box => box === document.activeElement")
    staff_page.keyboard.type("j/k?")
    assert box.input_value() == "j/k?"
    assert staff_page.locator("#lr-keys[open]").count() == 0


def test_a_question_mark_lists_the_keys_and_escape_closes_the_list(staff_page, runs):
    staff_page.goto(LIST)
    staff_page.keyboard.press("?")
    listed = staff_page.locator("#lr-keys[open]")
    assert listed.locator("kbd").all_inner_texts() == ["/", "j", "k", "Enter", "←", "→", "Esc", "?"]
    staff_page.keyboard.press("Escape")
    listed.wait_for(state="detached")


def test_the_list_of_keys_has_a_button_for_those_who_do_not_know_it(staff_page, runs):
    staff_page.goto(LIST)
    staff_page.get_by_role("button", name="?", exact=True).click()
    staff_page.locator("#lr-keys[open]").wait_for()


@pytest.mark.parametrize("chord", ["Control+j", "Alt+j", "Meta+/"])
def test_the_browsers_own_shortcuts_stay_its_own(staff_page, runs, chord):
    staff_page.goto(LIST)
    staff_page.keyboard.press(chord)
    assert focused_run(staff_page) is None
    assert staff_page.evaluate("document.activeElement.name") != "q"


def test_the_rows_are_found_again_after_a_swap(staff_page, runs):
    LayerRunFactory(id="failed", failing=True, ago=timedelta(hours=9))
    staff_page.goto(LIST)
    staff_page.locator("a[data-stat=failed]").click()
    staff_page.locator("#run-results[data-total='1']").wait_for()
    staff_page.evaluate("document.activeElement.blur()")
    staff_page.keyboard.press("j")
    assert focused_run(staff_page) == "failed"


def test_on_the_errors_lens_they_reach_every_cause_node_and_target(staff_page, transactional_db):
    refused = [{"topic": "t:1", "error": "Connection error.", "node": node} for node in ("generate", "reflect")]
    LayerRunFactory(errors=[*refused, {"topic": "t:2", "error": "Request timed out.", "node": "reflect"}])
    staff_page.goto("/layer-runs/errors/")
    seen = []
    for key in "jjjjjjk":
        staff_page.keyboard.press(key)
        seen.append(staff_page.evaluate("document.activeElement.innerText"))
    causes = ["Connection error", "generate", "reflect", "Request timed out"]
    assert seen == [*causes, "t:1", "t:2", "t:1"]
