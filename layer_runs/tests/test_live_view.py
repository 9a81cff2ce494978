"""Looking for new runs: how many there are beyond those that were seen."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from layer_runs.models import LayerRun
from layer_runs.tests.conftest import client_of
from layer_runs.tests.factories import LayerRunFactory, StaffFactory

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true", "HX-Target": "run-news"}


@pytest.fixture
def news(staff_client, dom):
    """How many new runs it says there are, which has to be what its fragment says in words."""

    def news(query: str, client: Client = staff_client) -> int:
        answer = dom(client.get(reverse("layer_runs:live") + query, headers=HTMX))
        assert "<html" not in answer.source
        part = answer.one("*[@id='run-news']")
        number = int(part.get("data-new"))
        said = f"{number:,} new run{'' if number == 1 else 's'}" if number else ""
        assert answer.text(part).startswith(said)
        assert bool(answer.all("a")) == bool(number)
        return number

    return news


@pytest.fixture
def live_url(get):
    """Where the list asks for new runs."""

    def live_url(query: str, **options) -> str:
        return get(query, **options).one("*[@id='run-news']").get("data-url")

    return live_url


@pytest.mark.parametrize(("after", "new"), [(0, 5), (1, 4), (4, 1), (5, 0), (6, 0), (999_999_999_999, 0)])
def test_new_are_those_beyond_the_ones_that_were_seen(news, after, new):
    LayerRunFactory.create_batch(5)
    assert news(f"?after={after}") == new


@pytest.mark.parametrize(
    "after", ["", "-1", "abc", "1.0", "1e3", "٣", "²", "+1", "%201", "<script>", "0x1", "9" * 5_000]
)
def test_q01_a_number_that_is_none_finds_nothing_new(news, after):
    LayerRunFactory.create_batch(3)
    assert news(f"?after={after}") == 0
    assert news("") == 0


@pytest.mark.parametrize("query", ["", "?status=failed", "?period=24h", "?q=connection&min_duration=1m", "?sort=cost"])
def test_it_counts_what_the_list_counts(get, news, query):
    for status in ("failed", "success"):
        LayerRunFactory(status=status, failing=status == "failed")
        LayerRunFactory(status=status, ago=timedelta(days=3))
        LayerRunFactory(status=status, ago=timedelta(days=30))
    assert news(f"{query or '?'}&after=0") == int(get(query).total) > 0


@pytest.mark.parametrize("query", ["?live=1", "?live=1&status=failed&layer_name=a&q=x&sort=cost&page=2&per_page=50"])
def test_the_list_asks_for_what_is_beyond_its_own_total(live_url, query):
    asked = parse_qs(urlsplit(live_url(query)).query)
    wanted = parse_qs(query[1:])
    for name in ("live", "sort", "page", "per_page"):
        wanted.pop(name, None)
    assert asked.pop("after") == ["0"]
    assert asked.pop("since")
    assert asked == wanted


def test_the_runs_that_came_since_the_page_are_the_new_ones(live_url, news):
    LayerRunFactory.create_batch(3, layer_name="a")
    LayerRunFactory(layer_name="b")
    url = live_url("?live=1&layer_name=a")
    assert news(f"?{urlsplit(url).query}") == 0
    LayerRunFactory.create_batch(2, layer_name="a", ago=timedelta(0))
    LayerRunFactory(layer_name="b", ago=timedelta(0))
    assert news(f"?{urlsplit(url).query}") == 2


def test_a_day_that_slides_hides_no_new_run_behind_an_old_one(live_url, news):
    now = timezone.now()
    # About to leave the last 24 hours.
    LayerRunFactory(started_at=now - timedelta(hours=23, minutes=59))
    with time_machine.travel(now, tick=False):
        query = f"?{urlsplit(live_url('?live=1&period=24h')).query}"
    with time_machine.travel(now + timedelta(minutes=5), tick=False):
        LayerRunFactory(ago=timedelta(minutes=1))
        assert news(query) == 1


@pytest.mark.parametrize(
    ("query", "edges"),
    [
        ("?live=1&period=all", {}),
        ("?live=1&since=2026-01-01", {"since": ["2026-01-01"]}),
        ("?live=1&until=2099-01-01", {"until": ["2099-01-01"]}),
    ],
)
def test_a_window_that_does_not_slide_is_kept_as_it_is(live_url, query, edges):
    asked = parse_qs(urlsplit(live_url(query)).query)
    assert {name: asked[name] for name in ("since", "until") if name in asked} == edges
    assert asked.get("period") == (["all"] if "all" in query else None)


def test_nothing_asks_where_live_is_off(get):
    LayerRunFactory()
    for query in ("", "?live=0", "?live=yes", "?live="):
        assert get(query).all("*[@id='run-news']") == []


def test_live_is_remembered_in_the_address_and_the_links(get, query_of):
    LayerRunFactory.create_batch(25)
    answer = get("?live=1&status=success")
    following = query_of(answer.link("Next"))
    assert following == {"status": ["success"], "live": ["1"], "page": ["2"], "after": [answer.run_ids[-1]]}
    if get.is_page:
        assert answer.one("input[@name='live']").get("checked") is not None
        assert query_of(answer.link("Layers")) == {"status": ["success"], "live": ["1"]}
    assert [box for box in answer.all("input[@type='hidden']") if box.get("name") == "live"] == []


def test_a_bad_filter_is_left_out(news):
    LayerRunFactory.create_batch(2)
    assert news("?after=0&status=bogus&min_cost=NaN&since=x") == 2


def test_the_new_runs_are_a_link_to_the_page_that_asked_from_its_beginning(staff_client, dom, query_of):
    LayerRunFactory.create_batch(2)
    here = "http://testserver/layer-runs/?status=success&sort=cost&page=3&after=x&before=y&live=1"
    answer = dom(staff_client.get(reverse("layer_runs:live") + "?after=0", headers=HTMX | {"HX-Current-URL": here}))
    (link,) = answer.all("a")
    assert link.get("href") == link.get("hx-get")
    assert urlsplit(link.get("href")).path == "/layer-runs/"
    assert query_of(link.get("href")) == {"status": ["success"], "sort": ["cost"], "live": ["1"]}


@pytest.mark.parametrize(
    "here", ["https://evil.example/x", "http://testserver//evil.example/?a", "javascript:alert(1)", "\\\\evil.example"]
)
def test_a11_the_new_runs_lead_to_nowhere_else(staff_client, dom, here):
    LayerRunFactory()
    answer = dom(staff_client.get(reverse("layer_runs:live") + "?after=0", headers=HTMX | {"HX-Current-URL": here}))
    for link in answer.links:
        assert urlsplit(link)[:2] == ("", "")


def test_without_script_it_is_a_page(staff_client, dom):
    LayerRunFactory.create_batch(2, failing=True)
    page = dom(staff_client.get(reverse("layer_runs:live") + "?after=1&status=failed"))
    assert page.texts("h1") == ["1 new run"]
    assert parse_qs(urlsplit(page.link("See these runs")).query) == {"status": ["failed"]}


# -- who may ask


def test_a05_a_session_that_ended_moves_no_page(db):
    answer = Client().get(reverse("layer_runs:live") + "?after=1", headers=HTMX)
    assert (answer.status_code, answer.content) == (401, b"")
    assert "HX-Redirect" not in answer.headers


def test_a01_a_stranger_without_htmx_is_sent_to_the_login(db):
    answer = Client().get(reverse("layer_runs:live") + "?after=1")
    assert answer.status_code == 302
    assert parse_qs(urlsplit(answer["Location"]).query) == {"next": ["/layer-runs/live/?after=1"]}


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
def test_a02_who_may_not_view_runs_is_refused(headers):
    LayerRunFactory()
    assert client_of(StaffFactory(can=[])).get(reverse("layer_runs:live"), headers=headers).status_code == 403


def test_it_counts_for_nobody_by_what_they_may_not_read(news, blind_client):
    LayerRunFactory.create_batch(2, failing=True)
    assert news("?after=0&q=connection", client=blind_client) == 0
    assert news("?after=0&node=nowhere&topic=nobody&error=none", client=blind_client) == 2


def test_it_costs_one_look_at_the_runs(staff_client):
    LayerRunFactory.create_batch(2)
    with CaptureQueriesContext(connection) as queries:
        staff_client.get(reverse("layer_runs:live") + "?after=0", headers=HTMX)
    assert len([query for query in queries if LayerRun._meta.db_table in query["sql"]]) == 1
