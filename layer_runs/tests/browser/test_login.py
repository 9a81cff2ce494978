from __future__ import annotations

import pytest

from layer_runs.tests.factories import LayerRunFactory, StaffFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_it_lets_a_staff_user_in_by_the_form(page):
    user = StaffFactory()
    user.set_password("correct horse")
    user.save()
    page.goto("/admin/")
    page.get_by_label("Username").fill(user.username)
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Log out").wait_for()
    assert page.url.endswith("/admin/")


def test_it_knows_the_staff_user_whose_session_it_was_given(staff_page):
    staff_page.goto("/admin/")
    assert staff_page.get_by_role("button", name="Log out").is_visible()


def test_a10_a_log_out_leaves_nothing_of_the_runs_in_the_browser(staff_page):
    LayerRunFactory(layer_name="what-nobody-else-may-read", failing=True)
    staff_page.goto("/layer-runs/")
    staff_page.get_by_role("link", name="Tokens").click()
    staff_page.wait_for_url("**sort=-tokens")
    staff_page.locator("tr[data-run-id] a").first.click()
    staff_page.locator("#run-detail[open] #run-title").wait_for()
    staff_page.keyboard.press("Escape")
    staff_page.wait_for_url("**sort=-tokens")
    staff_page.evaluate("localStorage.setItem('kept', 'by somebody'); sessionStorage.setItem('kept', 'too')")
    staff_page.get_by_role("button", name="Log out").click()
    staff_page.get_by_text("Logged out").first.wait_for()
    kept = staff_page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "kept" not in kept
    assert "what-nobody-else-may-read" not in kept
    staff_page.go_back()
    staff_page.wait_for_url("**/admin/login/**")
