from __future__ import annotations

import pytest

from layer_runs.tests.factories import StaffFactory

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
