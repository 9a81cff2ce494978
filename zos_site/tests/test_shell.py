from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.template.loader import render_to_string
from django.test import Client

from layer_runs.tests.factories import StaffFactory

pytestmark = pytest.mark.django_db


def page_of(user, path: str) -> str:
    client = Client()
    client.force_login(user)
    return client.get(path).content.decode()


def test_it_has_nothing_to_complain_about():
    said = StringIO()
    call_command("check", stdout=said, stderr=said)
    assert said.getvalue() == "System check identified no issues (0 silenced).\n"


def test_it_wears_its_name_on_the_login_page(client):
    page = client.get("/admin/login/").content.decode()
    assert "Zos administration" in page
    assert "Django administration" not in page


def test_it_leads_to_the_runs_those_who_may_see_them():
    assert 'href="/layer-runs/"' in page_of(StaffFactory(), "/admin/")


def test_it_does_not_lead_to_the_runs_those_who_may_not():
    assert 'href="/layer-runs/"' not in page_of(StaffFactory(can=[]), "/admin/")


def test_it_starts_at_the_runs(client):
    assert client.get("/").url == "/layer-runs/"


def test_it_says_in_plain_words_that_there_is_nothing_at_an_address(client):
    response = client.get("/nowhere/")
    assert response.status_code == 404
    assert "There is nothing at this address" in response.content.decode()


@pytest.mark.parametrize("host", ["testserver", "evil.example"])
def test_it_says_in_plain_words_that_a_request_is_refused(host, settings):
    settings.SECURE_SSL_REDIRECT = host == "evil.example"
    client = Client(HTTP_HOST=host)
    client.force_login(StaffFactory(is_superuser=True))
    response = client.get("/admin/auth/user/?logentry__user__password=a")
    assert response.status_code == 400
    assert "This request could not be understood" in response.content.decode()


def test_it_can_say_that_something_broke_without_user_database_or_static_files(django_db_blocker):
    with django_db_blocker.block():
        page = render_to_string("500.html")
    assert "Something went wrong" in page
    assert "/static/" not in page
