"""The totals of a selection: a page, and a fragment for a dashboard of the host's own."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from layer_runs.models import LayerRun, Status
from layer_runs.tests.factories import LayerRunFactory

STATS = ["total", *Status.values, "other", "insights", "tokens", "cost"]


@pytest.fixture
def mixed_runs(db) -> list[LayerRun]:
    """Every status a different number of times, statuses of a source's own, and gaps in what is summed."""
    for number, status in enumerate([*Status.values, "exploded", "cancelled", ""], 1):
        LayerRunFactory.create_batch(
            number, status=status, insights_created=number, estimated_cost_usd=f"0.00000000{number}", layer_name="a"
        )
    LayerRunFactory(tokens_total=None, tokens_input=None, tokens_output=None, estimated_cost_usd=None, layer_name="b")
    LayerRunFactory(ago=timedelta(days=40), layer_name="b")
    return list(LayerRun.objects.all())


def counted(runs: list[LayerRun]) -> dict[str, str]:
    """The same figures, counted one by one."""
    statuses = Counter(run.status if run.status in Status.values else "other" for run in runs)
    figures = {name: str(statuses[name]) for name in (*Status.values, "other")}
    return figures | {
        "total": str(len(runs)),
        "insights": str(sum(run.insights_created for run in runs)),
        "tokens": str(sum(run.tokens_total or 0 for run in runs)),
        "cost": f"{sum((run.estimated_cost_usd or Decimal(0) for run in runs), Decimal(0)):f}",
    }


@pytest.mark.parametrize("view", ["list", "stats"])
@pytest.mark.parametrize("query", ["?period=all", "", "?layer_name=a", "?status=failed&status=exploded&period=30d"])
def test_stats_show_correct_counts(get, mixed_runs, view, query):
    chosen = {
        "?period=all": lambda run: True,
        "": lambda run: not (run.layer_name == "b" and run.tokens_total),
        "?layer_name=a": lambda run: run.layer_name == "a",
        "?status=failed&status=exploded&period=30d": lambda run: run.status in ("failed", "exploded"),
    }[query]
    stats = get(query, view).stats
    assert stats == counted([run for run in mixed_runs if chosen(run)])
    assert list(stats) == STATS


@pytest.mark.parametrize("view", ["list", "stats"])
def test_its_parts_add_up_to_the_total_unknown_statuses_included(get, mixed_runs, view):
    stats = get("?period=all", view).stats
    assert sum(int(stats[name]) for name in (*Status.values, "other")) == int(stats["total"]) == len(mixed_runs)
    assert stats["other"] == "24"


def test_each_figure_is_on_the_page_once(get, mixed_runs):
    assert [card.get("data-stat") for card in get("", "stats").all("*[@data-stat]")] == STATS


def test_q13_it_shows_nothing_as_0(get):
    answer = get("", "stats")
    assert answer.stats == dict.fromkeys(STATS, "0")
    assert "%" not in answer.text("*[@id='run-stats']")
    assert "nan" not in answer.source.casefold().replace("finance", "")


def test_it_shows_nothing_as_0_where_runs_have_nothing_to_add(get):
    LayerRunFactory(tokens_total=None, tokens_input=None, tokens_output=None, estimated_cost_usd=None)
    stats = get("", "stats").stats
    assert (stats["tokens"], stats["cost"]) == ("0", "0")


def test_d18_it_adds_money_without_losing_a_nano_dollar(get):
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(100, estimated_cost_usd="0.1"))
    LayerRunFactory(estimated_cost_usd="999999.000000001")
    assert Decimal(get("", "stats").stats["cost"]) == Decimal("1000009.000000001")


def test_d15_it_adds_the_largest_figures_there_can_be(get):
    LayerRun.objects.bulk_create(
        LayerRunFactory.build_batch(
            200, tokens_total=10**12, estimated_cost_usd="999999.999999999", insights_created=2**31 - 1
        )
    )
    stats = get("", "stats").stats
    assert stats["tokens"] == str(200 * 10**12)
    assert stats["insights"] == str(200 * (2**31 - 1))
    assert Decimal(stats["cost"]) == 200 * Decimal("999999.999999999")


def test_its_values_are_never_localised(get, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    settings.LANGUAGE_CODE = "de"
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(1_001, insights_created=7, estimated_cost_usd="1.25"))
    stats = get("", "stats").stats
    assert (stats["total"], stats["success"], stats["insights"]) == ("1001", "1001", "7007")
    assert stats["tokens"] == str(1_001 * 58_839)
    assert Decimal(stats["cost"]) == Decimal("1251.25")


@pytest.mark.parametrize(
    ("fields", "name", "text"),
    [
        ({}, "cost", "Cost$0.18estimate"),
        ({"estimated_cost_usd": "0.000000001"}, "cost", "Cost<$0.01estimate"),
        ({"estimated_cost_usd": None}, "cost", "Cost$0estimate"),
        ({"unpriced_tokens": 1_500}, "cost", "Cost$0.18estimate, + 1,500 unpriced"),
        ({"tokens_total": 24_214_728}, "tokens", "Tokens24.2M"),
        ({"failing": True}, "failed", "Failed1100%"),
    ],
)
def test_it_says_a_figure_so_that_it_is_read_at_a_glance(get, fields, name, text):
    LayerRunFactory(**fields)
    assert get("", "stats").text(f"*[@data-stat='{name}']") == text


def test_it_shows_other_only_where_there_is_some(get):
    LayerRunFactory()
    hidden = get("", "stats").all("li[@hidden]")
    assert [part[0].get("data-stat") for part in hidden] == ["other"]
    LayerRunFactory(status="exploded")
    assert get("", "stats").all("li[@hidden]") == []


def test_its_fragment_is_the_cards_alone(staff_client):
    LayerRunFactory()
    answer = staff_client.get(reverse("layer_runs:stats"), headers={"HX-Request": "true", "HX-Target": "run-stats"})
    assert b'<div id="run-stats"' in answer.content
    assert b"<html" not in answer.content
    assert b"<form" not in answer.content


@pytest.mark.parametrize(
    "headers",
    [
        {"HX-Request": "true", "HX-Target": "run-results"},
        {"HX-Request": "true", "HX-Target": "run-stats", "HX-Boosted": "true"},
        {"HX-Request": "true", "HX-Target": "run-stats", "HX-History-Restore-Request": "true"},
    ],
)
def test_a09_any_other_request_gets_the_whole_page(staff_client, headers):
    assert b"<html" in staff_client.get(reverse("layer_runs:stats"), headers=headers).content


def test_a07_it_varies_on_what_its_answer_depends_on(get):
    varies = set(get("", "stats").response["Vary"].split(", "))
    assert {"Cookie", "HX-Request", "HX-Target", "HX-History-Restore-Request"} <= varies


@pytest.mark.parametrize("query", ["period=fortnight", "status=bogus", "since=garbage", f"q={'x' * 201}"])
def test_q12_it_leaves_a_bad_filter_out_and_says_so(get, query):
    LayerRunFactory()
    answer = get(f"?{query}", "stats")
    assert answer.stats["total"] == "1"
    assert list(answer.alerts) == [query.split("=")[0]]


def test_its_address_follows_its_filters(staff_client):
    url = reverse("layer_runs:stats")
    headers = {"HX-Request": "true", "HX-Target": "run-stats", "HX-Current-URL": f"http://testserver{url}?q=y"}
    assert staff_client.get(f"{url}?status=&q=x&period=7d", headers=headers)["HX-Push-Url"] == f"{url}?q=x"


def test_it_leaves_the_address_of_a_dashboard_of_the_hosts_own_alone(staff_client):
    headers = {"HX-Request": "true", "HX-Target": "run-stats", "HX-Current-URL": "http://testserver/desk/"}
    assert "HX-Push-Url" not in staff_client.get(reverse("layer_runs:stats"), headers=headers).headers


def test_it_leads_to_the_runs_it_counts(staff_client, dom, query_of):
    LayerRunFactory(failing=True)
    page = dom(staff_client.get(reverse("layer_runs:stats") + "?status=failed&period=30d"))
    assert query_of(page.link("See these runs")) == {"status": ["failed"], "period": ["30d"]}


def test_d_it_survives_every_odd_row(get, odd_runs):
    answer = get("?period=all", "stats")
    assert answer.stats == counted(list(odd_runs.values()))
    assert answer.live_parts == []


def test_it_reads_the_totals_in_one_query(get):
    LayerRunFactory.create_batch(3, failing=True)
    with CaptureQueriesContext(connection) as queries:
        get("", "stats")
    sums = [query["sql"] for query in queries if "SUM(" in query["sql"]]
    assert len(sums) == 1
    assert '"errors"' not in sums[0]
    # Session, user, permissions twice, the statuses there are and their sums; a page has its counted menus besides.
    assert len(queries) <= (17 if get.is_page else 6)
