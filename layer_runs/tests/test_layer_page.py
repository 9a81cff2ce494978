"""The page of one layer: its history, its versions, and where they changed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlencode, urlsplit

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from layer_runs.lenses.layer import RUNS_DRAWN
from layer_runs.models import LayerRun
from layer_runs.tests.conftest import ATTRIBUTE, SCRIPT, Dom
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
URL = "/layer-runs/layers/"
NAME = "nightly-user-reflection"
ONE = f"?layer_name={NAME}&period=90d"
FAILING = [{"topic": "t", "error": "Overloaded", "node": "reflect"}]


@pytest.fixture(autouse=True)
def noon():
    with time_machine.travel("2026-11-22T12:00:00+00:00", tick=False):
        yield


def nights(layer_hash: str, days: Iterable[int], **fields) -> None:
    for day in days:
        LayerRunFactory(layer_hash=layer_hash, ago=timedelta(days=day), **fields)


@pytest.fixture
def two_versions() -> None:
    """Twelve good nights, then twelve of which eight failed; other layers went on as ever."""
    nights("oldhash1oldhash1", range(24, 12, -1), targets_processed=10, estimated_cost_usd="0.30")
    nights("newhash2newhash2", range(12, 4, -1), failing=True, estimated_cost_usd="0.10", errors=FAILING)
    nights("newhash2newhash2", range(4, 0, -1), targets_processed=5, estimated_cost_usd="0.60")
    for day in range(1, 25):
        LayerRunFactory.create_batch(2, layer_name="another", ago=timedelta(days=day, hours=1), targets_processed=3)


def version(page: Dom, layer_hash: str) -> str:
    return page.text(f"tr[@data-version='{layer_hash}']")


def svg(page: Dom, name: str, tag: str) -> list[str]:
    """The titles of what a chart draws with this tag."""
    chart = page.one(f"div[@data-chart='{name}']")
    return [page.text(title) for each in chart.iter(tag) for title in each.findall("title")]


def test_one_selected_layer_is_shown_with_its_cards_and_versions(get, two_versions):
    page = get(ONE, "layers")
    assert page.texts("h2")[0] == NAME
    assert page.stats["total"] == page.total == "24"
    assert [row.get("data-version") for row in page.all("tr[@data-version]")] == [
        "newhash2newhash2",
        "oldhash1oldhash1",
    ]
    assert page.all("tr[@data-layer]") == []


def test_two_selected_layers_are_rows_again(get, two_versions):
    page = get(f"{ONE}&layer_name=another", "layers")
    assert len(page.all("tr[@data-layer]")) == 2 and page.all("tr[@data-version]") == []


def test_the_figures_of_a_version_stand_beside_their_difference_to_the_one_before(get, two_versions):
    page = get(ONE, "layers")
    new, old = version(page, "newhash2newhash2"), version(page, "oldhash1oldhash1")
    assert "33% 4 of 12, −67 pts" in new and "100% 12 of 12" in old
    # 8 runs of 10 failed targets each, 4 runs of 5 processed ones.
    assert "80% 80 of 100, +80 pts" in new
    assert "67% 8 of 12, +67 pts" in new and "0% 0 of 12" in old
    # $0.10 x 8 + $0.60 x 4 over 20 targets, against $0.30 over 10.
    assert "$0.1600 +433%" in new and "$0.0300" in old
    assert f"{round(58_839 * 12 / 20):,} " in new and f"{round(58_839 / 10):,} " in old


def test_the_first_bad_version_is_marked_with_the_day_it_began(get, two_versions):
    page = get(ONE, "layers")
    new = page.one("tr[@data-version='newhash2newhash2']")
    assert new.get("data-verdict") == "worse"
    assert "worse since 10 Nov p = 0.001, the first bad version" in page.text(new)
    assert page.one("tr[@data-version='oldhash1oldhash1']").get("data-verdict") == "first"
    assert "v2 is worse than v1, since 10 Nov." in page.text("p[@class='lr-layer__say']")


def test_a_version_has_the_same_number_in_every_window_and_in_the_charts(get, two_versions):
    nights("lastly", [2, 1])
    expected = {"oldhash1oldhash1": "v1", "newhash2newhash2": "v2", "lastly": "v3"}
    for query in ("period=all", "period=30d", "period=7d", "since=2026-11-20", "period=90d&layer_hash=lastly"):
        page = get(f"?layer_name={NAME}&{query}", "layers")
        rows = {row.get("data-version"): page.text(row).split()[0] for row in page.all("tr[@data-version]")}
        assert rows and rows.items() <= expected.items(), query
        marks = [title.split() for title in svg(page, "lengths", "g") if title[0] == "v" and ":" not in title]
        assert {tuple(mark) for mark in marks} == {(number, name[:7]) for name, number in rows.items()}


def test_only_the_first_version_ever_is_called_the_first_seen(two_versions, staff_client):
    lately = Dom(staff_client.get(f"{URL}?layer_name={NAME}&period=7d"))
    row = lately.one("tr[@data-version='newhash2newhash2']")
    assert "v2" in lately.text(row) and "the first seen" not in lately.text()
    ever = Dom(staff_client.get(lately.link("no earlier version in this window")))
    assert "the first seen" in version(ever, "oldhash1oldhash1")
    assert ever.one("tr[@data-version='newhash2newhash2']").get("data-verdict") == "worse"
    # Chosen by its hash, it is not the window that hides the one before.
    alone = Dom(staff_client.get(f"{URL}?layer_name={NAME}&period=all&layer_hash=newhash2newhash2"))
    assert len(Dom(staff_client.get(alone.link("no earlier version in this selection"))).all("tr[@data-version]")) == 2


@pytest.mark.parametrize(
    "query",
    ["status=failed", "status=success&status=partial", "has_errors=1", "node=reflect", "min_cost=0.2", "q=Overloaded"],
)
def test_versions_and_the_sentence_are_of_all_runs_whatever_was_chosen_by_outcome(get, two_versions, query):
    whole, chosen = get(ONE, "layers"), get(f"{ONE}&{query}", "layers")
    assert chosen.total != whole.total
    said = "p[@class='lr-layer__say']"
    assert chosen.text(said) == whole.text(said)
    for layer_hash in ("newhash2newhash2", "oldhash1oldhash1"):
        assert version(chosen, layer_hash) == version(whole, layer_hash)
    matrix = "table[@class='lr-table lr-matrix']"
    assert chosen.text(matrix) == whole.text(matrix)
    notice = "are of runs of every outcome, not only of those chosen ("
    assert notice in chosen.text() and notice not in whole.text()
    assert len(svg(chosen, "lengths", "a")) == int(chosen.total)


def test_a_number_of_all_runs_leads_to_all_of_them(two_versions, staff_client):
    page = Dom(staff_client.get(f"{URL}{ONE}&status=failed"))
    row = page.one("tr[@data-version='newhash2newhash2']")
    (url,) = [link.get("href") for link in row.iter("a") if page.text(link) == "12"]
    assert Dom(staff_client.get(url)).total == "12"


def test_what_the_figures_of_a_version_mean_is_said_in_a_fold_and_a_median_has_its_number(get, two_versions):
    page = get(ONE, "layers")
    assert "1m 30s of 12" in version(page, "newhash2newhash2")
    folds = " ".join(page.text(fold) for fold in page.all("details[@class='lr-fold']"))
    for told in ("Targets failed are", "Bad runs are", "p50: half", "per target are sums ÷ targets processed"):
        assert told in folds


def test_too_few_runs_are_no_verdict(get):
    nights("old", range(20, 11, -1))
    nights("new", range(11, 1, -1), failing=True)
    assert "too few runs to tell 9 of 10" in version(get(ONE, "layers"), "new")


def test_the_nights_of_an_outage_are_named_and_left_out(get, two_versions):
    for name in "abcdefgh":
        LayerRunFactory(layer_name=name, failing=True, ago=timedelta(days=6))
    page = get(ONE, "layers")
    assert "(16 Nov)" in page.text()
    assert "64% 7 of 11" in version(page, "newhash2newhash2")
    # Also where the layer is seen through another filter.
    assert "(16 Nov)" in get(f"{ONE}&status=success", "layers").text()


def test_without_an_outage_that_is_said(get, two_versions):
    assert "there was none" in get(ONE, "layers").text()


@pytest.mark.parametrize("said", ["12", "33%", "35,303"])
def test_the_numbers_of_a_version_lead_to_its_runs(two_versions, staff_client, said):
    page = Dom(staff_client.get(URL + ONE))
    row = page.one("tr[@data-version='newhash2newhash2']")
    (url,) = [link.get("href") for link in row.iter("a") if page.text(link) == said]
    answer = staff_client.get(url)
    assert answer.status_code == 200
    if urlsplit(url).path == "/layer-runs/":
        found = Dom(answer)
        assert found.total == "12"
        assert {run.layer_hash for run in LayerRun.objects.filter(pk__in=found.run_ids)} == {"newhash2newhash2"}


def test_a_version_can_be_looked_at_alone(two_versions, staff_client):
    page = Dom(staff_client.get(URL + ONE))
    alone = Dom(staff_client.get(page.link("oldhash1")))
    assert alone.total == "12"
    assert [row.get("data-version") for row in alone.all("tr[@data-version]")] == ["oldhash1oldhash1"]


def test_the_newest_two_versions_stand_side_by_side_by_runs_that_had_something_to_do(
    two_versions, staff_client, query_of
):
    LayerRunFactory(layer_hash="newhash2newhash2", ago=timedelta(hours=1), status="dry", targets_processed=0)
    url = Dom(staff_client.get(URL + ONE)).link("Compare")
    ids = query_of(url)
    before, after = LayerRun.objects.get(pk=ids["a"][0]), LayerRun.objects.get(pk=ids["b"][0])
    assert (before.layer_hash, after.layer_hash) == ("oldhash1oldhash1", "newhash2newhash2")
    assert (before.targets_processed, after.targets_processed) == (10, 5)
    assert staff_client.get(url).status_code == 200


def test_each_run_is_a_dot_and_each_change_of_version_a_mark(get, two_versions):
    page = get(ONE, "layers")
    dots = svg(page, "lengths", "a")
    assert len(dots) == 24 and all("1m 30s" in dot for dot in dots)
    marks = [title for title in svg(page, "lengths", "g") if title.startswith("v") and ":" not in title]
    assert marks == ["v1 oldhash", "v2 newhash"]
    # A failed run processed no target: what one cost is not known, and not nothing.
    assert sorted({dot.split(": ")[1].split(",")[0] for dot in svg(page, "target-costs", "a")}) == [
        "$0.0300",
        "$0.1200",
    ]


def test_a_version_that_came_back_has_a_mark_each_time_and_one_row(get):
    nights("a", range(9, 6, -1))
    nights("b", range(6, 3, -1))
    nights("a", range(3, 0, -1))
    page = get(ONE, "layers")
    marks = [title for title in svg(page, "lengths", "g") if title.startswith("v") and ":" not in title]
    assert marks == ["v1 a", "v2 b", "v1 a"]
    assert len(page.all("tr[@data-version]")) == 2
    assert "also ran after v2 began on 16 Nov" in version(page, "a")


def test_of_many_runs_the_newest_are_drawn_and_that_is_said(get):
    LayerRunFactory.create_batch(RUNS_DRAWN + 3, ago=timedelta(days=1))
    page = get(ONE, "layers")
    assert len(svg(page, "lengths", "a")) == RUNS_DRAWN
    assert f"the newest {RUNS_DRAWN} of {RUNS_DRAWN + 3}" in page.text()
    assert page.stats["total"] == str(RUNS_DRAWN + 3)


def test_a_nightly_layer_shows_its_outcomes_and_a_busy_one_its_timeline(get, two_versions):
    assert get(ONE, "layers").all("div[@data-chart='outcomes']")
    busy = get("?layer_name=another&period=90d", "layers")
    assert busy.all("div[@data-chart='timeline']") and not busy.all("div[@data-chart='outcomes']")


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"status": "dry", "targets_matched": 0, "targets_processed": 0}, "The last 2 runs matched no targets."),
        ({"failing": True}, "The last 2 runs went wrong."),
        ({}, "the last one 24 hours ago."),
    ],
)
def test_it_begins_with_what_the_last_runs_have_in_common(get, last, said):
    nights("a", range(5, 2, -1))
    nights("a", range(2, 0, -1), **last)
    assert said in get(ONE, "layers").text("p[@class='lr-layer__say']")


def test_the_nodes_that_failed_are_for_those_who_may_see_details(get, two_versions, blind_client):
    said = get(ONE, "layers").text("table[@class='lr-table lr-matrix']")
    # 8 errors among 100 targets worked on; none among 120.
    assert said.endswith("v1 oldhash v2 newhash reflect 0 (0 of 120) 8.0 (8 of 100)")
    blind = get(ONE, "layers", client=blind_client)
    assert "reflect 0" not in blind.text() and "may view run details" in blind.text()
    assert not blind.all("table[@class='lr-table lr-matrix']")
    assert len(blind.all("tr[@data-version]")) == 2


def test_odd_hashes_and_layers_stay_texts(get, odd_runs):
    for name in (SCRIPT, ATTRIBUTE, "W" * 200, "raw"):
        page = get("?" + urlencode({"period": "all", "layer_name": name}), "layers")
        assert page.live_parts == []
        assert page.texts("h2")[0] == " ".join(name.split())


def test_a_layer_that_did_not_run_is_silent_here_too(get):
    LayerRunFactory(ago=timedelta(days=100))
    page = get(ONE, "layers")
    assert [row.get("data-layer") for row in page.all("tr[@data-silent]")] == [NAME]
    assert "1 earlier run: show all" in page.text()


def test_an_unpriced_version_is_not_called_cheap(get):
    nights("a", range(3, 0, -1), estimated_cost_usd=Decimal("0.05"), unpriced_tokens=7)
    assert "$0.0050 + unpriced" in version(get(ONE, "layers"), "a")


def test_the_number_of_queries_is_the_same_for_three_runs_and_for_sixty(staff_client):
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert staff_client.get(URL + ONE).status_code == 200
        return len(queries)

    # Two of them on one day: a timeline either way.
    nights("a", [3, 2, 2], errors=FAILING)
    few = count()
    for n in range(57):
        LayerRunFactory(layer_hash=f"hash {n % 7}", ago=timedelta(days=30 - n / 2), errors=FAILING)
    assert count() == few
