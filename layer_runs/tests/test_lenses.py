"""What the lenses compute from a selection, as plain data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from layer_runs.errors import RunError
from layer_runs.filters import LayerRunFilterSet
from layer_runs.lenses import run as run_lens
from layer_runs.lenses import runs as runs_lens
from layer_runs.models import LayerRun, LlmCall, Status
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)


def selection(query: str = "") -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.all(), path="/runs/", now=NOW)


def run(**fields) -> LayerRun:
    return LayerRunFactory(**({"started_at": NOW - timedelta(hours=1)} | fields))


# -- totals and cards


def test_the_totals_of_nothing_are_zeros():
    sums = runs_lens.totals(LayerRun.objects.none())
    assert set(sums.values()) == {0}
    assert sums.keys() >= {"total", *Status.values, "other", "insights", "tokens", "cost"}


def test_the_totals_add_up_statuses_of_a_sources_own_included():
    for number, status in enumerate([*Status.values, "exploded", ""], 1):
        for _ in range(number):
            run(status=status)
    sums = runs_lens.totals(LayerRun.objects.all())
    assert {name: sums[name] for name in Status.values} == {name: n for n, name in enumerate(Status.values, 1)}
    assert sums["other"] == 7 + 8
    assert sums["total"] == sum(sums[name] for name in (*Status.values, "other")) == 36


def test_the_totals_add_up_in_one_query_whatever_order_the_runs_have():
    for status in ("success", "failed", "exploded"):
        run(status=status)
    with CaptureQueriesContext(connection) as queries:
        assert runs_lens.totals(LayerRun.objects.order_by("layer_name", "-started_at"))["total"] == 3
    (sums,) = [query["sql"] for query in queries if "SUM(" in query["sql"]]
    assert "ORDER BY" not in sums
    assert len(queries) <= 2


def test_every_figure_has_a_card_with_a_plain_value():
    run(estimated_cost_usd="1234.5", tokens_total=24_214_728, insights_created=3_204)
    run(status="exploded", estimated_cost_usd=None, unpriced_tokens=7, tokens_total=0, insights_created=0)
    here = selection("status=success&status=exploded")
    cards = {card["name"]: card for card in runs_lens.cards(here, runs_lens.totals(here.qs))}
    assert list(cards) == ["total", *Status.values, "other", "insights", "tokens", "cost"]
    assert (cards["total"]["value"], cards["other"]["value"], cards["failed"]["value"]) == ("2", "1", "0")
    assert (cards["tokens"]["value"], cards["tokens"]["text"]) == ("24214728", "24.2M")
    assert cards["tokens"]["title"] == "24,214,728 tokens"
    assert Decimal(cards["cost"]["value"]) == Decimal("1234.5")
    assert (cards["cost"]["text"], cards["cost"]["title"]) == ("$1,234.50", "$1,234.50")
    assert cards["cost"]["note"] == "estimate, + 7 unpriced"
    assert cards["success"]["note"] == "50%"
    assert [name for name, card in cards.items() if card["taken"]] == ["success"]
    assert [name for name, card in cards.items() if card["url"]] == Status.values
    assert cards["failed"]["url"] == "/runs/?status=failed"


# -- the ways on from nothing


@pytest.mark.parametrize(
    ("query", "ways"),
    [
        ("", [("2 earlier runs: show all", "/runs/?period=all")]),
        ("period=all&layer_name=x", [("2 runs: no filter, same period", "/runs/?period=all")]),
        ("period=all&status=dry", [("2 runs: any status, same period", "/runs/?period=all")]),
        ("until=2020-01-01", [("2 other runs: show all", "/runs/?period=all")]),
        ("since=2026-11-22", [("2 earlier runs: show all", "/runs/?period=all")]),
        ("layer_name=x", [("2 runs: no filter, all time", "/runs/?period=all")]),
        (
            "period=all&status=dry&layer_name=a",
            [
                ("1 run: any status, same period", "/runs/?layer_name=a&period=all"),
                ("2 runs: no filter, same period", "/runs/?period=all"),
            ],
        ),
    ],
)
def test_it_counts_what_a_wider_selection_holds(query, ways):
    for name in "ab":
        LayerRunFactory(layer_name=name, started_at=NOW - timedelta(days=100))
    assert [(way["text"], way["url"]) for way in runs_lens.ways_on(selection(query))] == ways


# -- one run


def error(position: int, message: str, node: str = "n") -> RunError:
    return RunError(position, message, f"t{position}", node)


def test_errors_that_say_the_same_at_the_same_node_are_one_group_in_their_first_order():
    groups = run_lens.error_groups([error(0, "b"), error(1, "a"), error(2, "b"), error(3, "b", "other")])
    assert [(group.error.message, [e.position for e in group.topics]) for group in groups] == [
        *(("b", [0, 2]), ("a", [1]), ("b", [3])),
    ]


@pytest.mark.parametrize(("length", "is_cut"), [(2_000, False), (2_001, True), (0, False)])
def test_a_text_is_cut_beyond_2000_characters(length, is_cut):
    (group,) = run_lens.error_groups([error(0, "x" * length)])
    assert group.is_cut is is_cut
    assert len(group.text) == min(length, 2_000)


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("Boom.", False),
        ("boom", False),
        ("Boom\nat line 1", True),
        ("Error code: 429 - {'message': 'Slow'}", True),
        ("x" * 300, True),
    ],
)
def test_the_whole_text_is_shown_only_where_it_says_more_than_its_title(message, more):
    (group,) = run_lens.error_groups([error(0, message)])
    assert group.says_more is more


@pytest.mark.parametrize(
    ("count", "page", "first", "last", "pages"),
    [(0, 1, 0, 0, 1), (1, 1, 1, 1, 1), (50, 1, 1, 50, 1), (51, 1, 1, 50, 2), (51, 2, 51, 51, 2), (120, 3, 101, 120, 3)],
)
def test_a_page_of_errors_says_where_it_lies_among_them_all(count, page, first, last, pages):
    made = run(errors=[{"topic": "t", "error": "e", "node": "n"}] * count)
    made = LayerRun.objects.get(pk=made.pk)
    found = run_lens.error_page(made, page)
    assert (found["first"], found["last"], found["pages"], found["count"]) == (first, last, pages, count)


def test_the_calls_of_a_run_are_summed_over_all_and_shown_in_their_order():
    made = run()
    LlmCall.objects.bulk_create(
        LlmCallFactory.build(
            run=made,
            id=f"{n:03}",
            success=n % 10 > 0,
            estimated_cost_usd="0.000000001",
            tokens_input=1,
            tokens_output=2,
            tokens_total=3,
            created_at=NOW + timedelta(seconds=120 - n),
        )
        for n in range(120)
    )
    calls = run_lens.calls_of(made)
    assert (calls["count"], calls["answered"], calls["failed"]) == (120, 108, 12)
    assert (calls["tokens_input"], calls["tokens_output"], calls["tokens"]) == (120, 240, 360)
    assert calls["cost"] == Decimal("0.00000012")
    assert [call.pk for call in calls["shown"]] == [f"{n:03}" for n in range(119, 19, -1)]


def test_a_run_without_calls_has_sums_of_nothing():
    calls = run_lens.calls_of(run())
    assert (calls["count"], calls["shown"], calls["cost"], calls["other_models"]) == (0, [], None, "")


def test_the_runs_around_a_run_are_the_two_before_and_the_two_after():
    runs = [run(id=f"{n}", started_at=NOW - timedelta(hours=n)) for n in range(7)]
    found = run_lens.neighbours(runs[3])
    assert [other.pk for other in found["around"]] == ["1", "2", "3", "4", "5"]
    assert (found["after"].pk, found["before"].pk) == ("2", "4")
    assert [other.pk for other in run_lens.neighbours(runs[0])["around"]] == ["0", "1", "2"]
    assert run_lens.neighbours(runs[6])["before"] is None


@pytest.mark.parametrize(
    ("matched", "processed", "failed", "widths"),
    [
        (10, 8, 2, ["100.00%", "80.00%", "20.00%"]),
        (3, 1, 0, ["100.00%", "33.33%", "0.00%"]),
        (0, 0, 0, []),
        # A source may count more processed than matched: the longest bar is the whole.
        (2, 4, 0, ["50.00%", "100.00%", "0.00%"]),
        (0, 0, 5, ["0.00%", "0.00%", "100.00%"]),
    ],
)
def test_the_bars_of_the_targets_are_never_longer_than_the_whole(matched, processed, failed, widths):
    made = LayerRunFactory.build(targets_matched=matched, targets_processed=processed, targets_skipped=failed)
    assert [part["width"] for part in run_lens.funnel(made)] == widths


@pytest.mark.parametrize(
    ("notes", "lines"),
    [
        ({}, []),
        ({"original_id": "a/b"}, ["Its id at the source is “a/b”."]),
        ({"altered": {"layer_name": "cut"}}, ["layer_name could not be kept as it came: cut."]),
        ({"nulled": {"tokens_total": "lots"}}, ["tokens_total could not be read: “lots”."]),
        ({"altered": ["x"]}, ["altered: ['x']"]),
        (["x"], ["note: ['x']"]),
        ("x", ["note: x"]),
        ({"anything": 7}, ["anything: 7"]),
    ],
)
def test_a_note_of_any_shape_is_a_line(notes, lines):
    assert list(run_lens.note_lines(notes)) == lines


def test_a_report_for_those_who_may_not_see_details_reads_none():
    made = run(failing=True)
    LlmCallFactory(run=made)
    made = LayerRun.objects.for_list().get(pk=made.pk)
    with CaptureQueriesContext(connection) as queries:
        report = run_lens.report(made, NOW, with_details=False)
    assert not report["errors"]
    assert not report["calls"]
    assert report["note_lines"] == []
    assert not [sql for sql in (query["sql"] for query in queries) if '."errors"' in sql or "llmcall" in sql]
