from __future__ import annotations

import logging
from datetime import timedelta

import pytest
import time_machine
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth import authenticate
from django.test import Client, RequestFactory
from django.utils import timezone

from layer_runs.tests.factories import StaffFactory
from zos_site.login import client_ip

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"  # noqa: S105


@pytest.fixture
def ada():
    user = StaffFactory(username="ada")
    user.set_password(PASSWORD)
    user.save()
    return user


def attempt(given: str = "wrong", *, name: str = "ada", ip: str = "192.0.2.1", next: str = "", **extra: str):
    data = {"username": name, "password": given, "next": next}
    return Client().post(LOGIN, data, REMOTE_ADDR=ip, **extra)


def statuses(number: int, **said: str) -> list[int]:
    return [attempt(**said).status_code for _ in range(number)]


def test_a13_it_rests_after_five_failures_and_lets_in_after_a_quarter_of_an_hour(ada):
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        assert statuses(4) == [200] * 4
        fifth = attempt()
        assert (fifth.status_code, fifth["Retry-After"]) == (429, "900")
        assert "no-store" in fifth["Cache-Control"]
        assert attempt(PASSWORD).status_code == 429
    # Trying on did not prolong it.
    with time_machine.travel(now + timedelta(minutes=14, seconds=50), tick=False):
        assert attempt(PASSWORD).status_code == 429
    with time_machine.travel(now + timedelta(minutes=15, seconds=1), tick=False):
        assert attempt(PASSWORD).status_code == 302


def test_a13_it_says_so_in_the_look_of_the_admin(ada):
    statuses(4)
    page = attempt().content.decode()
    assert "Too many failed logins" in page
    assert "In 15 minutes you can try again" in page
    assert "Zos administration" in page
    assert "ada" not in page


def test_a13_nobody_can_keep_another_out(ada):
    assert statuses(6)[-1] == 429
    assert attempt(PASSWORD, ip="192.0.2.2").status_code == 302


def test_a13_the_others_behind_the_same_address_can_log_in(ada):
    assert statuses(6)[-1] == 429
    user = StaffFactory(username="grace")
    user.set_password(PASSWORD)
    user.save()
    assert attempt(PASSWORD, name="grace").status_code == 302


def test_a13_names_that_do_not_exist_are_treated_like_those_that_do(ada):
    assert statuses(5, name="nobody") == statuses(5)


def test_a13_a_success_forgets_the_failures_before_it(ada):
    assert statuses(4) == [200] * 4
    assert attempt(PASSWORD).status_code == 302
    assert statuses(4) == [200] * 4


def test_a13_another_browser_or_a_header_of_the_visitors_own_is_no_way_around(ada):
    answers = [attempt(HTTP_USER_AGENT=str(n), HTTP_X_FORWARDED_FOR=f"203.0.113.{n}").status_code for n in range(5)]
    assert answers[-1] == 429


def test_a13_it_keeps_nothing_of_the_visitor_but_name_address_and_number(ada):
    attempt("hush", HTTP_USER_AGENT="Mozilla/5.0 (Ada)", HTTP_ACCEPT="text/odd")
    kept = AccessAttempt.objects.values().get()
    assert (kept["username"], kept["ip_address"], kept["failures_since_start"]) == ("ada", "192.0.2.1", 1)
    assert [word for word in ("hush", "Mozilla", "text/odd") if word in str(kept)] == []
    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        attempt(PASSWORD, ip="192.0.2.9")
    assert AccessAttempt.objects.count() == 0
    assert AccessLog.objects.count() == 0


def test_a13_commands_are_not_held_off(ada):
    statuses(6)
    assert authenticate(username="ada", password=PASSWORD) == ada
    assert authenticate(username="ada", password="wrong") is None


def test_the_log_says_who_came_in_who_did_not_and_who_left(ada, caplog):
    caplog.set_level(logging.INFO, "zos_site.login")
    statuses(6)
    client = Client()
    client.post(LOGIN, {"username": "ada", "password": PASSWORD}, REMOTE_ADDR="192.0.2.7")
    client.post("/admin/logout/", REMOTE_ADDR="192.0.2.7")
    lines = [record.getMessage() for record in caplog.records if record.name == "zos_site.login"]
    assert lines == [
        *["Failed login: ada from 192.0.2.1"] * 4,
        *["Refused for a while: ada from 192.0.2.1"] * 2,
        "Login: ada from 192.0.2.7",
        "Logout: ada from 192.0.2.7",
    ]


@pytest.mark.parametrize(
    "next", ["https://evil.example/", "//evil.example", "\\\\evil.example", "https:evil.example", "javascript:alert(1)"]
)
def test_a11_the_login_leads_to_no_other_site(ada, next):
    answer = attempt(PASSWORD, next=next)
    assert answer.status_code == 302
    assert answer["Location"] == "/admin/"


def test_a11_it_leads_where_one_wanted_to_go(ada):
    assert attempt(PASSWORD, next="/layer-runs/?status=failed")["Location"] == "/layer-runs/?status=failed"


def test_a12_a_session_that_somebody_prepared_is_not_the_one_after_the_login(ada, settings):
    client = Client()
    session = client.session
    session["planted"] = "x"
    session.save()
    planted = session.session_key
    client.cookies[settings.SESSION_COOKIE_NAME] = planted
    client.post(LOGIN, {"username": "ada", "password": PASSWORD})
    assert client.session.session_key != planted
    assert client.session["_auth_user_id"] == str(ada.pk)
    other = Client()
    other.cookies[settings.SESSION_COOKIE_NAME] = planted
    assert other.get("/admin/").status_code == 302


@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "testserver@evil.example", "a b", "-"])
def test_a14_it_answers_to_no_name_but_its_own(host):
    for path in ("/layer-runs/", LOGIN, "/healthz"):
        answer = Client(HTTP_HOST=host).get(path)
        assert answer.status_code == 400
        assert "evil.example" not in answer.content.decode()


def test_forms_work_with_cookies_that_no_script_can_read(ada):
    client = Client(enforce_csrf_checks=True)
    page = client.get(LOGIN)
    token = page.content.decode().split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    entered = client.post(LOGIN, {"username": "ada", "password": PASSWORD, "csrfmiddlewaretoken": token})
    assert entered.status_code == 302
    for cookie in client.cookies.values():
        assert (bool(cookie["httponly"]), cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "believed"),
    [
        (0, "192.0.2.1", "203.0.113.5", "192.0.2.1"),
        (1, "10.0.0.1", "203.0.113.5", "203.0.113.5"),
        (1, "10.0.0.1", "6.6.6.6, 203.0.113.5", "203.0.113.5"),
        (2, "10.0.0.1", "6.6.6.6, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
        (2, "10.0.0.1", "203.0.113.5", "10.0.0.1"),
        (1, "10.0.0.1", "", "10.0.0.1"),
        (1, "10.0.0.1", "unknown", "10.0.0.1"),
        (1, "", "203.0.113.5", "203.0.113.5"),
        (0, "", "", None),
        (0, "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::"),
        (0, "::ffff:192.0.2.1", "", "192.0.2.1"),
    ],
)
def test_it_believes_an_address_only_from_those_it_trusts(settings, proxies, peer, forwarded, believed):
    settings.TRUSTED_PROXIES = proxies
    headers = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert client_ip(RequestFactory().get("/", REMOTE_ADDR=peer, **headers)) == believed


def test_a13_behind_a_proxy_each_visitor_is_counted_alone(ada, settings):
    settings.TRUSTED_PROXIES = 1
    assert statuses(5, HTTP_X_FORWARDED_FOR="203.0.113.5")[-1] == 429
    assert attempt(PASSWORD, HTTP_X_FORWARDED_FOR="203.0.113.6").status_code == 302
