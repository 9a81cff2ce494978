"""The Costs page and its file: one truth on the cards, in the tables, in the download and on the other lenses."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from urllib.parse import urlsplit

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from layer_runs.models import LayerRun
from layer_runs.tests.conftest import ATTRIBUTE, SCRIPT
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
HEADS = ["day", "layer_name", "model_name", "call_type", "calls", "tokens_input", "tokens_output", "cost_usd"]


@pytest.fixture(autouse=True)
def the_day():
    with time_machine.travel(NOW, tick=False):
        yield


def called(*costs: str | None, age: timedelta = timedelta(hours=1), **fields) -> LayerRun:
    """A run with a call for each of these costs, and figures that are their sums."""
    number = len(costs)
    run = LayerRunFactory(
        **{
            "started_at": NOW - age,
            "tokens_input": 100 * number,
            "tokens_output": 10 * number,
            "tokens_total": 110 * number,
            "estimated_cost_usd": sum((Decimal(cost) for cost in costs if cost), Decimal(0)),
            "unpriced_tokens": 110 * sum(cost is None for cost in costs),
        }
        | fields
    )
    for cost in costs:
        LlmCallFactory(run=run, estimated_cost_usd=cost, tokens_input=100, tokens_output=10, tokens_total=110)
    return run


@pytest.fixture
def three_weeks() -> None:
    """A run a day of two layers, some failed, some without calls; the window before has them too."""
    for number in range(21):
        layer = f"layer-{number % 2}"
        if number % 5:
            called("0.123456789", "0.01", age=timedelta(days=number), layer_name=layer)
        else:
            LayerRunFactory(started_at=NOW - timedelta(days=number), layer_name=layer, status="failed")


@pytest.fixture
def rows(staff_client) -> Callable[..., list[dict[str, str]]]:
    def rows(query: str = "") -> list[dict[str, str]]:
        response = staff_client.get(reverse("layer_runs:costs_csv") + query)
        assert response.status_code == 200
        return list(csv.DictReader(StringIO(b"".join(response.streaming_content).decode())))

    return rows


# -- one truth


@pytest.mark.parametrize("query", ["", "?period=24h", "?period=all", "?layer_name=layer-1", "?status=failed"])
def test_the_file_adds_up_to_the_cards_and_the_cards_to_those_of_the_runs(three_weeks, get, rows, query):
    costs, runs, file = get(query, "costs").stats, get(query).stats, rows(query)
    assert Decimal(costs["cost"]) == Decimal(runs["cost"]) == sum(Decimal(row["cost_usd"]) for row in file)
    assert int(costs["tokens_input"]) == sum(int(row["tokens_input"]) for row in file)
    assert int(costs["tokens_output"]) == sum(int(row["tokens_output"]) for row in file)
    assert int(costs["tokens_input"]) + int(costs["tokens_output"]) == int(runs["tokens"])


def test_the_page_is_about_the_same_runs_as_every_other_lens(three_weeks, get):
    assert get("?layer_name=layer-1", "costs").total == get("?layer_name=layer-1").total == "3"


def test_each_table_has_a_foot_that_is_the_card(three_weeks, get):
    page = get("?period=30d", "costs")
    tables = [table for table in page.all("table[@data-table]") if table.get("data-table") != "changes"]
    assert len(tables) == 5
    for table in tables:
        feet = [cell.get("data-value") for cell in table.findall(".//tfoot//td")]
        assert page.stats["cost"] in feet
        body = list(table.findall(".//tbody/tr"))
        place = feet.index(page.stats["cost"])
        found = [row.findall("td")[place - len(feet)].get("data-value") for row in body]
        assert sum(Decimal(each) for each in found) == Decimal(page.stats["cost"])


def test_the_file_has_the_columns_it_promises_and_exact_money(rows):
    called("0.123456789", "0.000000001", layer_name="a")
    (row,) = rows()
    assert list(row)[:8] == HEADS
    assert row == {
        "day": "2026-11-22",
        "layer_name": "a",
        "model_name": "claude-sonnet-4-6",
        "call_type": "reflection",
        "calls": "2",
        "tokens_input": "200",
        "tokens_output": "20",
        "cost_usd": "0.123456790",
        "unpriced_tokens": "0",
    }


def test_the_file_refuses_a_mistake_in_the_query(staff_client):
    response = staff_client.get(reverse("layer_runs:costs_csv") + "?since=yesterday")
    assert response.status_code == 400
    assert b"From" in response.content


def test_no_cell_of_the_file_is_a_formula(rows):
    called("0.10", layer_name="=cmd|' /C calc'!A0", model_name="@x")
    assert rows()[0]["layer_name"] == "'=cmd|' /C calc'!A0"


def test_the_file_is_cut_into_days_of_the_sites_zone(rows, settings):
    settings.TIME_ZONE = "America/New_York"
    called("0.10", started_at=datetime(2026, 11, 22, 4, 59, tzinfo=UTC))
    called("0.20", started_at=datetime(2026, 11, 22, 5, 0, tzinfo=UTC))
    assert [(row["day"], row["cost_usd"]) for row in rows()] == [
        ("2026-11-21", "0.100000000"),
        ("2026-11-22", "0.200000000"),
    ]


# -- the page


def test_the_cards_are_plain_numbers_and_zero_where_there_is_none(get):
    assert get("", "costs").stats == dict.fromkeys(
        [
            *("cost", "tokens_input", "tokens_output", "cost_per_run", "cost_per_target", "cost_per_insight"),
            *("wasted", "unpriced"),
        ],
        "0",
    )


def test_every_figure_has_its_definition_on_hover_and_one_tap_away(get):
    page = get("", "costs")
    meanings = {page.text(entry.find("dt")): page.text(entry.find("dd")) for entry in page.all("dl/div")}
    for card in page.all("*[@data-stat]"):
        label = page.text(card.findall("span")[0])
        assert meanings[label]
        assert card.get("title").endswith(meanings[label])


def test_nothing_yet_is_not_none_that_match(get):
    assert "No runs yet" in get("", "costs").texts("h2")
    called("0.10", age=timedelta(days=40))
    page = get("", "costs")
    assert "No runs match" in page.texts("h2")
    assert "1 earlier run: show all" in page.text()


def test_one_run_is_a_page_of_its_own_figures(get):
    run = called("0.10", "0.20", layer_name="a")
    called("5", layer_name="b")
    page = get(f"?q={run.pk}", "costs")
    assert (page.total, page.stats["cost"]) == ("1", "0.300000000")


def test_a_cost_that_is_missing_is_said_and_not_taken_for_none(get):
    called("0.10", None, layer_name="dear")
    page = get("", "costs")
    assert page.stats["unpriced"] == "1"
    assert "+ 110 tokens not in the cost" in page.text("*[@data-stat='unpriced']")
    assert "1 run with unpriced tokens" in page.text("section[@id='unpriced-runs']")
    url = page.one("*[@data-stat='unpriced']").get("href")
    assert (urlsplit(url).path, urlsplit(url).query) == (reverse("layer_runs:list"), "unpriced=1")


def test_more_runs_with_unpriced_tokens_than_are_named_are_a_link_away(get):
    for number in range(11):
        called(None, age=timedelta(hours=number + 1))
    url = get("", "costs").link("All 11")
    assert get(f"?{urlsplit(url).query}").total == "11"


def test_runs_that_cost_nothing_have_a_page_without_an_infinite_figure(get):
    called(None, insights_created=0, targets_processed=0, targets_skipped=0, targets_matched=0)
    page = get("", "costs")
    assert page.stats["cost"] == "0"
    assert not {"inf", "nan", "NaN", "Infinity"} & set(page.text().split())


def test_the_chart_is_stacked_by_model_or_by_layer_and_keeps_the_selection(three_weeks, get, query_of):
    page = get("?status=success", "costs")
    other = page.link("by layer instead")
    assert query_of(other) == {"status": ["success"], "by": ["layer"]}
    page = get(f"?{urlsplit(other).query}", "costs")
    assert [page.text(entry) for entry in page.all("ul[@class='lr-legend']/li")] == ["layer-0", "layer-1"]
    assert query_of(page.link("by model instead")) == {"status": ["success"]}


def test_what_only_this_page_knows_is_not_in_the_links_to_others(three_weeks, get, query_of):
    page = get("?by=layer&sort=-per_run&period=30d", "costs")
    runs = reverse("layer_runs:list")
    leading = [link for link in page.links if urlsplit(link).path == runs]
    assert leading
    assert all(
        set(query_of(link)) <= {"period", "layer_name", "called", "call_type", "until", "since", "status"}
        for link in leading
    )


def test_a_sort_is_a_link_and_a_wrong_one_is_the_default(three_weeks, get):
    page = get("?period=30d&sort=-change", "costs")
    (head,) = page.all("th[@aria-sort]")
    assert (page.text(head), head.get("aria-sort")) == ("Change", "descending")
    page = get("?sort=nonsense", "costs")
    assert page.text(page.one("th[@aria-sort]")) == "Cost"


def test_why_it_changed_names_the_window_before_and_shows_it(three_weeks, get, query_of):
    page = get("", "costs")
    link = page.link("9 – 15 Nov 2026")
    before = get(f"?{urlsplit(link).query}", "costs")
    causes = [Decimal(row.findall("td")[-1].get("data-value")) for row in page.all("tr[@data-cause]")]
    assert sum(causes) == Decimal(page.stats["cost"]) - Decimal(before.stats["cost"])
    assert len(causes) == 4


def test_all_time_says_that_nothing_lies_before_it(three_weeks, get):
    assert "All time has no window before it" in get("?period=all", "costs").text()


FAR = [
    *("since=2030-01-01", "since=2200-01-01", "since=9999-12-31", "since=2000-01-01", "since=1000-01-01"),
    *("until=2000-01-01", "until=1000-01-01", "until=9999-12-31", "since=2000-01-01&until=2200-01-01"),
]


@pytest.mark.parametrize("query", FAR)
@pytest.mark.parametrize("runs", [0, 3], ids=["no-runs", "runs"])
def test_a_window_at_the_edge_of_time_has_a_page_and_a_file(get, rows, query, runs):
    for number in range(runs):
        called("0.10", age=timedelta(days=number))
    page = get(f"?{query}", "costs")
    assert Decimal(page.stats["cost"]) == sum(Decimal(row["cost_usd"]) for row in rows(f"?{query}"))


def test_a_window_with_none_before_it_says_so(get):
    called("0.10")
    assert "There is no window before this one" in get("?since=2000-01-01", "costs").text()
    assert "has no first day" in get("?until=2026-12-01", "costs").text()


def test_stored_text_stays_text(odd_runs, get):
    for run in LayerRun.objects.exclude(pk="huge-figures"):
        LlmCallFactory(run=run, model_name=SCRIPT, call_type=ATTRIBUTE[:50], model_profile=ATTRIBUTE[:50])
    for by in ("model", "layer"):
        page = get(f"?period=all&by={by}", "costs")
        assert page.live_parts == []
        assert int(page.total) == len(odd_runs)


def test_odd_figures_add_up_as_well(odd_runs, get, rows):
    page = get("?period=all", "costs")
    assert Decimal(page.stats["cost"]) == sum(Decimal(row["cost_usd"]) for row in rows("?period=all"))
    assert Decimal(page.stats["cost"]) == sum(run.estimated_cost_usd or 0 for run in odd_runs.values())


def test_a_mistake_leaves_a_message_and_the_rest_of_the_page(three_weeks, get):
    page = get("?min_cost=much", "costs")
    assert set(page.alerts) == {"min_cost"}
    assert page.total == "7"


def test_costs_are_for_those_who_may_see_runs_and_say_nothing_of_errors(three_weeks, get, blind_client, client):
    assert Decimal(get("", "costs", client=blind_client).stats["cost"])
    assert client.get(reverse("layer_runs:costs")).status_code == 302


def test_it_takes_as_many_queries_for_many_runs_as_for_few(staff_client):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            staff_client.get(reverse("layer_runs:costs"), headers={"HX-Request": "true", "HX-Target": "run-results"})
        return len(captured)

    called("0.10", layer_name="a")
    called("0.10", layer_name="a", age=timedelta(days=8))
    few = queries()
    for number in range(20):
        called("0.10", "0.20", layer_name=f"layer-{number}", age=timedelta(days=number % 14))
    assert queries() == few <= 20
