"""The Errors page over HTTP: its rows and links, one group opened, what it says when nothing went wrong, its CSV."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from layer_runs.fingerprints import fingerprint
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
REFUSED, SLOW = "Connection error.", "Request timed out."


def error(message: str = REFUSED, topic: str = "t:1", node: str = "reflect") -> dict[str, str]:
    return {"topic": topic, "error": message, "node": node}


def run(*errors: dict[str, str], **fields) -> LayerRun:
    return LayerRunFactory(**{"errors": list(errors), "status": "partial" if errors else "success"} | fields)


@pytest.fixture
def three_runs() -> None:
    """Two causes, one of them at two nodes; one run without errors."""
    run(error(topic="t:1"), error(topic="t:2", node="generate"), error(SLOW), id="both", layer_name="a")
    run(error(topic="t:3"), id="one", layer_name="b", ago=timedelta(days=2))
    run(id="well")


def rows(page) -> dict[str, str]:
    return {row.get("data-fingerprint"): page.text(row) for row in page.all("tr[@data-fingerprint]")}


def test_every_group_is_one_row_and_every_cause_another_where_it_has_several_nodes(get, three_runs):
    page = get(view="errors")

    assert sorted(rows(page)) == sorted(
        [fingerprint("reflect", REFUSED), fingerprint("generate", REFUSED), fingerprint("reflect", SLOW)]
    )
    assert len(page.all("tr[@data-cause]")) == 2
    assert page.text("h2[@id='lr-causes-title']") == "2 causes"
    assert "4 errors in 2 of 3 runs" in page.text("section[@id='run-results']")
    assert page.total == "3"


def test_a_number_leads_to_exactly_the_runs_behind_it(get, three_runs, staff_client, dom, query_of):
    page = get(view="errors")

    for row in page.all("tr[@data-cause]") + page.all("tr[@data-fingerprint]"):
        (runs,) = [cell for cell in row.findall("td") if "lr-c-runs" in cell.get("class")]
        link = runs.find("a").get("href")
        assert urlsplit(link).path == reverse("layer_runs:list")
        listed = dom(staff_client.get(link))
        assert listed.total == page.text(runs)
    cause = page.all("tr[@data-cause]")[0]
    assert len(query_of(cause.find("th/a").get("href"))["error"]) == 2


def test_an_opened_group_shows_its_message_its_runs_and_its_targets(get, three_runs):
    key = fingerprint("reflect", REFUSED)

    page = get(f"?error={key}", view="errors")

    assert page.text("h2[@id='lr-group-title']") == "Connection error"
    assert page.text("pre") == REFUSED
    assert "2 errors in 2 runs of 2 layers, on 2 days." in page.text("article")
    assert page.run_ids == ["both", "one"]
    assert [row.get("data-topic") for row in page.all("tr[@data-topic]")] == ["t:1", "t:3"]
    assert list(rows(page)) == [key]


def test_a_bar_of_a_group_leads_to_the_group_in_its_own_days(get, three_runs, query_of):
    key = fingerprint("reflect", REFUSED)

    page = get(f"?error={key}", view="errors")

    bars = [link.get("href") for link in page.all("svg//a")]
    assert len(bars) == 2
    for link in bars:
        assert query_of(link)["error"] == [key]
        assert len(rows(get(f"?{urlsplit(link).query}", view="errors"))) == 1


def leave_out(page, row) -> str:
    (link,) = [link for link in row.iter("a") if page.text(link).startswith("leave out")]
    assert link.get("hx-get") == link.get("href")
    return f"?{urlsplit(link.get('href')).query}"


def test_the_runs_with_an_error_can_be_left_out_and_their_other_errors_go_with_them(get, three_runs):
    (slow,) = [row for row in get(view="errors").all("tr[@data-cause]") if "timed out" in "".join(row.itertext())]

    after = get(leave_out(get(view="errors"), slow), view="errors")

    # The run `both` had it, and the one cause left is that of the other run.
    assert list(rows(after)) == [fingerprint("reflect", REFUSED)]
    assert after.total == "2"
    assert "1 error in 1 of 2 runs" in after.text("section[@id='run-results']")
    (chip,) = after.chips.values()
    assert len(rows(get(f"?{urlsplit(chip).query}", view="errors"))) == 3


def test_every_row_leaves_out_its_own_errors_besides_those_that_are_out(get, three_runs, query_of):
    run(error("Late."), layer_name="c")
    out = fingerprint("reflect", "Late.")
    page = get(f"?exclude_error={out}&layer_name=a&layer_name=b", view="errors")

    found = [query_of(leave_out(page, row)) for row in page.all("table[@class='lr-table lr-causes']/tbody/tr")]

    refused = [fingerprint(node, REFUSED) for node in ("reflect", "generate")]
    mine = [refused, refused[:1], refused[1:], [fingerprint("reflect", SLOW)]]
    assert sorted(sorted(asked["exclude_error"]) for asked in found) == sorted(sorted([out, *each]) for each in mine)
    assert all(asked["layer_name"] == ["a", "b"] and "error" not in asked for asked in found)


def test_the_page_of_one_error_leads_to_the_runs_without_it(get, three_runs):
    page = get(f"?error={fingerprint('generate', REFUSED)}", view="errors")

    after = get(leave_out(page, page.one("article")), view="errors")

    assert list(rows(after)) == [fingerprint("reflect", REFUSED)]
    assert after.total == "2"


def test_without_a_run_from_before_the_window_nothing_is_called_new(get, three_runs):
    assert "new in this window" not in get(view="errors").text("section[@id='run-results']")


def test_a_new_error_is_said_to_be_new_and_one_that_was_away_to_be_back(get):
    run(error())
    run(error(SLOW))
    run(error(SLOW), ago=timedelta(days=20))

    found = rows(get(view="errors"))

    assert "new in this window" in found[fingerprint("reflect", REFUSED)]
    assert "back after 20 days" in found[fingerprint("reflect", SLOW)]
    assert "new in" not in found[fingerprint("reflect", SLOW)]


def test_without_errors_the_page_says_so_calmly_and_how_to_see_earlier_ones(get, query_of):
    run()
    run(error(), ago=timedelta(days=40))

    page = get(view="errors")

    assert page.text("section[@id='run-results']//h2") == "No errors in 1 run"
    assert query_of(page.link("1 error in other times"))["period"] == ["all"]
    assert rows(page) == {}


def test_runs_that_crashed_without_a_word_are_named_where_there_are_no_errors_at_all(get, staff_client, dom):
    run(status="crashed", completed_at=None)

    page = get(view="errors")

    assert dom(staff_client.get(page.link("1 failed or crashed run left no error"))).total == "1"


def test_an_error_of_another_time_is_not_taken_for_no_runs(get):
    run(error(), ago=timedelta(days=40))
    run()

    page = get(f"?error={fingerprint('reflect', REFUSED)}", view="errors")

    assert page.text("section[@id='run-results']//h2") == "This error was not seen"
    assert page.link("1 error in other times")


def test_an_empty_database_has_no_errors_yet(get):
    assert "No runs yet" in get(view="errors").text("section[@id='run-results']")


def test_without_the_permission_nothing_is_said_of_errors(three_runs, blind_client):
    for name in ("errors", "errors_csv"):
        response = blind_client.get(reverse(f"layer_runs:{name}"))
        assert response.status_code == 403
        assert b"permission" in response.content
        assert REFUSED.encode() not in response.content


def test_hostile_errors_stay_text(get, odd_runs):
    call_command("rebuild_derived", verbosity=0)
    page = get("?period=all", view="errors")
    keys = list(rows(page))

    assert page.live_parts == []
    assert len(keys) > 5
    for key in keys:
        opened = get(f"?period=all&error={key}", view="errors")
        assert opened.live_parts == []
        assert list(rows(opened)) == [key]


def test_a_mistake_in_the_selection_is_said_and_drops_only_its_filter(get, three_runs):
    page = get("?since=yesterday", view="errors")

    assert "since" in page.alerts
    assert len(rows(page)) == 3


def test_all_targets_are_shown_on_demand_and_the_page_remembers(get):
    run(*(error(topic=f"t:{n}") for n in range(15)))

    page = get(view="errors")
    every = get(f"?{urlsplit(page.link('Show all 15')).query}", view="errors")

    assert len(page.all("tr[@data-topic]")) == 10
    assert len(every.all("tr[@data-topic]")) == 15


def test_a_layer_in_the_selection_turns_the_list_of_nodes_into_a_matrix(get):
    run(error(), layer_name="a", layer_hash="v1", ago=timedelta(days=1))
    run(layer_name="a", layer_hash="v2")
    run(error(), layer_name="b")

    heads = [
        get(query, view="errors").texts("table[@class='lr-table lr-matrix']//code") for query in ("", "?layer_name=a")
    ]

    assert heads == [[], ["v1", "v2"]]


def test_the_order_follows_the_head_that_was_clicked(get):
    run(error(), error(), ago=timedelta(days=3))
    run(error(SLOW))
    page = get(view="errors")

    link = next(a for a in page.all("a[@id='lr-sort-last_seen']")).get("href")
    by_last_seen = get(f"?{urlsplit(link).query}", view="errors")

    assert list(rows(page)) == [fingerprint("reflect", REFUSED), fingerprint("reflect", SLOW)]
    assert list(rows(by_last_seen)) == [fingerprint("reflect", SLOW), fingerprint("reflect", REFUSED)]


# --- CSV


def download(client, query: str = "") -> list[dict[str, str]]:
    response = client.get(reverse("layer_runs:errors_csv") + query)
    assert response.status_code == 200
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


def test_the_file_has_a_row_a_group_with_what_the_page_says(three_runs, staff_client):
    found = download(staff_client)

    assert list(found[0])[:8] == [
        *("fingerprint", "title", "node", "errors", "runs", "targets", "first_seen", "last_seen"),
    ]
    reflect = found[0]
    assert {name: reflect[name] for name in ("fingerprint", "title", "node", "errors", "runs", "targets")} == {
        "fingerprint": fingerprint("reflect", REFUSED),
        "title": "Connection error",
        "node": "reflect",
        "errors": "2",
        "runs": "2",
        "targets": "2",
    }
    seen = [datetime.fromisoformat(reflect[name]) for name in ("first_seen", "last_seen")]
    assert seen == list(LayerRun.objects.exclude(pk="well").order_by("started_at").values_list("started_at", flat=True))
    assert len(found) == 3


def test_the_file_follows_the_selection_and_dates_over_all_time(staff_client):
    run(error(), ago=timedelta(days=100))
    run(error(), layer_name="a")
    run(error(SLOW), layer_name="b")

    (row,) = download(staff_client, "?layer_name=a")

    assert (row["errors"], row["title"]) == ("1", "Connection error")
    assert timezone.now() - datetime.fromisoformat(row["first_seen"]) > timedelta(days=99)


def test_no_cell_of_the_file_is_a_formula(staff_client):
    run(error("=HYPERLINK(1)", node="@node"))

    (row,) = download(staff_client)

    assert (row["title"], row["node"]) == ("'=HYPERLINK(1)", "'@node")


def test_a_mistake_in_the_query_never_widens_the_file(three_runs, staff_client):
    response = staff_client.get(reverse("layer_runs:errors_csv") + "?since=yesterday")

    assert response.status_code == 400
    assert "yesterday" in response.content.decode()
