"""The Layers lens as it is answered: a row a layer, links that lead to exactly its runs, and its CSV."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from layer_runs.lines import visible
from layer_runs.models import LayerRun, Status
from layer_runs.tests.conftest import SCRIPT, Dom
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
URL = "/layer-runs/layers/"
COLUMNS = (
    "layer_name,runs,success,partial,failed,dry,running,crashed,other,success_rate,p50_seconds,p95_seconds,"
    "insights,tokens,cost_usd,silent"
)


@pytest.fixture
def some_runs() -> None:
    """Two layers that ran, and one that was silent in the last 30 days."""
    for n, status in enumerate(["success", "success", "failed", "dry", "crashed", "exploded"]):
        LayerRunFactory(layer_name="a", status=status, ago=timedelta(days=n, hours=1), estimated_cost_usd="0.10")
    LayerRunFactory(layer_name="b", ago=timedelta(days=2), estimated_cost_usd="0.05", took=timedelta(seconds=2))
    LayerRunFactory(layer_name="b", ago=timedelta(days=40))
    LayerRunFactory(layer_name="quiet one", ago=timedelta(days=45))


def layers(page: Dom) -> list[str]:
    return [row.get("data-layer") for row in page.all("tr[@data-layer]")]


def links(page: Dom, name: str) -> dict[str, str]:
    """The links of a layer's row by what they say."""
    row = page.one(f"tr[@data-layer='{name}']")
    # A link of a picture is an element of its own namespace.
    found = [link for link in row.iter() if str(link.tag).rpartition("}")[2] == "a"]
    return {page.text(link): link.get("href") for link in found}


def led_to(client: Client, url: str) -> Dom:
    """Where a link leads; nothing there was misunderstood."""
    response = client.get(url)
    assert response.status_code == 200
    page = Dom(response)
    assert page.alerts == {}
    return page


def test_there_is_a_row_a_layer_what_cost_most_first_and_the_silent_last(get, some_runs):
    page = get("?period=30d", "layers")
    assert layers(page) == ["a", "b", "quiet one"]
    assert page.total == "7"
    quiet = page.text("tr[@data-layer='quiet one']")
    assert "silent" in quiet and "45 days ago" in quiet and "%" not in quiet


def test_a_row_says_how_many_runs_its_rate_is_of(get, some_runs):
    said = get("?period=30d", "layers").text("tr[@data-layer='a']")
    assert "6 runs" in said and "50% 2 of 4" in said and "$0.60" in said


def test_the_foot_says_what_the_cards_say(get, some_runs):
    page, cards = get("?period=30d", "layers"), get("?period=30d", "list").stats
    foot = page.text("tfoot")
    assert f"{cards['total']} runs" in foot
    assert "$0.65" in foot and Decimal(cards["cost"]) == Decimal("0.65")
    assert f"{cards['insights']} " in foot
    assert f"of {sum(int(cards[name]) for name in ('success', 'partial', 'failed', 'crashed'))}" in foot


@pytest.mark.parametrize(
    ("said", "runs"), [("6 runs", 6), ("50% 2 of 4", 4), ("1m 30s 1m 30s", 5), ("60", 6), ("1 hour ago", 1)]
)
def test_each_number_leads_to_exactly_its_runs(some_runs, staff_client, said, runs):
    found = [
        url for text, url in links(led_to(staff_client, URL + "?period=30d"), "a").items() if text.startswith(said)
    ]
    (url,) = found
    page = led_to(staff_client, url)
    assert page.total == str(runs)
    assert {run.layer_name for run in LayerRun.objects.filter(pk__in=page.run_ids)} == {"a"}


def test_each_cell_leads_to_its_day_and_layer(some_runs, staff_client):
    # "Sat 21 Nov 2026: 1 failed"
    cells = [
        said.split(": ") + [url]
        for said, url in links(led_to(staff_client, URL + "?period=30d"), "a").items()
        if ": " in said
    ]
    assert sum(int(part.split()[0]) for _day, words, _url in cells for part in words.split(", ")) == 6
    for day, words, url in cells:
        page = led_to(staff_client, url)
        assert page.total == str(sum(int(part.split()[0]) for part in words.split(", "))), day
        assert {run.layer_name for run in LayerRun.objects.filter(pk__in=page.run_ids)} == {"a"}


def test_the_name_leads_to_the_layer_alone_and_the_last_run_of_a_silent_one_to_that_run(some_runs, staff_client):
    page = led_to(staff_client, URL + "?period=30d&status=success")
    assert "Success is only of the runs chosen by outcome (Status)." in page.text()
    assert led_to(staff_client, links(page, "b")["b"]).text("h2[@class='lr-layer__name']") == "b"
    (last,) = [url for text, url in links(page, "quiet one").items() if "45 days ago" in text]
    assert led_to(staff_client, last).total == "1"


def test_the_change_leads_to_the_window_before(some_runs, staff_client):
    page = led_to(staff_client, URL + "?period=30d")
    (url,) = [url for text, url in links(page, "b").items() if text.endswith("%") and text[0] in "+−"]
    assert led_to(staff_client, url).total == "1"


def test_a_layer_that_is_new_is_called_so_unless_nothing_ran_before(get):
    LayerRunFactory(layer_name="a")
    assert "new" not in get("", "layers").text("tr[@data-layer='a']")
    LayerRunFactory(layer_name="b", ago=timedelta(days=8))
    assert "new" in get("", "layers").text("tr[@data-layer='a']")


def test_a_head_sorts_by_its_column_and_then_the_other_way(some_runs, staff_client):
    page = led_to(staff_client, URL + "?period=30d")
    by_name = led_to(staff_client, page.one("a[@id='lr-sort-name']").get("href"))
    assert layers(by_name) == ["a", "b", "quiet one"]
    by_name_turned = led_to(staff_client, by_name.one("a[@id='lr-sort-name']").get("href"))
    assert layers(by_name_turned) == ["b", "a", "quiet one"]
    head = next(head for head in page.all("th[@aria-sort]"))
    assert (page.text(head), head.get("aria-sort")) == ("Cost", "descending")


def test_the_sort_stays_with_the_lens_and_goes_to_no_other(get, some_runs, query_of):
    page = get("?period=30d&sort=name", "layers")
    assert "sort" in query_of(page.link("Success"))
    for text, url in links(page, "a").items():
        if urlsplit(url).path != URL:
            assert query_of(url).get("sort") in (None, ["-duration"]), text


def test_more_filters_hold_here_too(get, some_runs):
    assert layers(get("?period=30d&status=failed", "layers")) == ["a"]
    assert layers(get("?period=30d&exclude_layer=a", "layers")) == ["b", "quiet one"]
    assert layers(get("?period=all", "layers")) == ["a", "b", "quiet one"]


def test_nothing_yet_and_none_match_are_two_things(get):
    assert "No runs yet" in get("", "layers").text()
    LayerRunFactory(ago=timedelta(days=9))
    page = get("?layer_name=nobody", "layers")
    assert "No runs match" in page.text() and layers(page) == []


def test_only_silent_layers_are_shown_with_the_way_to_their_runs(get):
    LayerRunFactory(layer_name="a", ago=timedelta(days=9))
    page = get("", "layers")
    assert layers(page) == ["a"]
    assert "1 earlier run: show all" in page.text()


def test_a_bad_value_is_said_and_the_rest_holds(get, some_runs):
    page = get("?period=yesterday&layer_name=a&layer_name=b", "layers")
    assert list(page.alerts) == ["period"]
    assert layers(page) == ["a", "b"]


def test_odd_rows_are_listed_and_their_texts_stay_texts(get, odd_runs):
    page = get("?period=all", "layers")
    assert sorted(layers(page)) == sorted({visible(run.layer_name) for run in odd_runs.values()})
    assert page.live_parts == []
    assert SCRIPT in page.text()


def test_a_layer_without_a_name_has_no_link_to_other_runs(get, odd_runs):
    assert [url for url in links(get("?period=all", "layers"), "").values() if url] == []


def test_it_needs_no_more_than_to_see_runs(get, some_runs, blind_client):
    assert layers(get("?period=30d", "layers", client=blind_client)) == ["a", "b", "quiet one"]


def test_the_change_names_its_window_inside_a_sentence(get):
    with time_machine.travel("2026-11-22T12:00:00+00:00", tick=False):
        LayerRunFactory()
        day, week = get("?period=24h", "layers").text(), get("?period=7d", "layers").text()
    assert "with the period before (20 Nov 12:00 – 21 Nov 2026 12:00)." in day and "Today is not over" not in day
    assert "with the period before (9 – 15 Nov 2026). Today is not over." in week


def test_a_window_that_is_over_does_not_speak_of_today(get):
    with time_machine.travel("2026-11-22T12:00:00+00:00", tick=False):
        LayerRunFactory(ago=timedelta(days=5))
        assert "Today is not over" not in get("?since=2026-11-16&until=2026-11-20", "layers").text()


@pytest.mark.parametrize("has_runs", [True, False])
@pytest.mark.parametrize(
    "edge", ["since=2000-01-01", "since=2030-01-01", "since=2200-01-01", "since=9999-12-31", "until=2000-01-01"]
)
def test_a_window_at_the_end_of_time_is_a_page_and_a_csv(staff_client, edge, has_runs):
    if has_runs:
        LayerRunFactory(layer_name="a")
    for url in (URL, reverse("layer_runs:layers_csv")):
        for more in ("", "&layer_name=a", "&status=failed"):
            answer = staff_client.get(f"{url}?{edge}{more}")
            assert answer.status_code == 200
            assert b"".join(answer)  # A download that nobody reads keeps its turn.
    rows = download(staff_client, f"?{edge}")
    expected = {"since=2000-01-01": [("1", "0")], "until=2000-01-01": []}.get(edge, [("0", "1")])
    assert [(row["runs"], row["silent"]) for row in rows] == (expected if has_runs else [])


# -- CSV


def download(client: Client, query: str = "?period=30d", status: int = 200) -> list[dict[str, str]]:
    response = client.get(reverse("layer_runs:layers_csv") + query)
    assert response.status_code == status
    text = response.getvalue().decode()
    assert text.splitlines()[0].startswith(COLUMNS)
    assert response["Content-Type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_says_what_the_page_says(staff_client, some_runs):
    a, b, quiet = download(staff_client)
    assert a == {
        "layer_name": "a",
        "runs": "6",
        **dict.fromkeys(Status.values, "1"),
        "success": "2",
        "partial": "0",
        "running": "0",
        "other": "1",
        "success_rate": "0.5",
        "p50_seconds": "90.000",
        "p95_seconds": "90.000",
        "insights": "60",
        "tokens": str(58_839 * 6),
        "cost_usd": "0.600000000",
        "silent": "0",
    }
    assert (b["layer_name"], b["runs"], b["p50_seconds"], Decimal(b["cost_usd"])) == (
        "b",
        "1",
        "2.000",
        Decimal("0.05"),
    )
    assert (quiet["layer_name"], quiet["runs"], quiet["silent"]) == ("quiet one", "0", "1")
    assert (quiet["success_rate"], quiet["p50_seconds"], quiet["p95_seconds"]) == ("", "", "")
    assert (quiet["insights"], quiet["tokens"], Decimal(quiet["cost_usd"])) == ("0", "0", 0)


def test_the_csv_holds_to_the_selection_and_sums_to_the_cards(staff_client, get, some_runs):
    rows = download(staff_client, "?period=30d&status=success&status=dry")
    cards = get("?period=30d&status=success&status=dry").stats
    assert str(sum(int(row["runs"]) for row in rows)) == cards["total"]
    assert str(sum(Decimal(row["cost_usd"]) for row in rows)) == cards["cost"]
    assert str(sum(int(row["tokens"]) for row in rows)) == cards["tokens"]


def test_the_csv_is_empty_where_a_rate_is_of_nothing(staff_client):
    LayerRunFactory(layer_name="a", status="dry")
    (row,) = download(staff_client)
    assert (row["dry"], row["success_rate"], row["p50_seconds"]) == ("1", "", "")


def test_the_csv_calls_no_layer_silent_that_ran_without_matching(staff_client):
    LayerRunFactory(layer_name="a", failing=True, ago=timedelta(days=40))
    LayerRunFactory(layer_name="a", ago=timedelta(days=1))
    assert download(staff_client, "?period=30d&status=failed") == []


def test_no_spreadsheet_takes_a_name_for_a_formula(staff_client):
    LayerRunFactory(layer_name="=1+1")
    assert [row["layer_name"] for row in download(staff_client)] == ["'=1+1"]


def test_a_mistake_in_the_query_of_the_csv_is_an_answer_of_its_own(staff_client, some_runs):
    response = staff_client.get(reverse("layer_runs:layers_csv") + "?period=yesterday")
    assert response.status_code == 400
    assert b"is not a period" in response.getvalue()


def test_the_page_offers_the_csv_of_its_selection(staff_client, some_runs):
    page = led_to(staff_client, URL + "?period=30d&status=failed&sort=name")
    url = page.link("CSV")
    assert urlsplit(url).path == reverse("layer_runs:layers_csv")
    assert [row["layer_name"] for row in csv.DictReader(io.StringIO(staff_client.get(url).getvalue().decode()))] == [
        "a"
    ]


def test_strangers_get_neither(client, some_runs):
    for url in (URL, reverse("layer_runs:layers_csv")):
        assert client.get(url).status_code == 302


def test_the_last_run_of_now_is_said_once(get):
    LayerRunFactory(layer_name="a", started_at=timezone.now() + timedelta(minutes=5))
    assert "in 4 minutes" in get("", "layers").text("tr[@data-layer='a']")
