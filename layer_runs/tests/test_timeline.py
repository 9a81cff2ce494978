"""The timeline tells the same of the same runs as the cards, and each of its links leads to what it shows."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from layer_runs import charts
from layer_runs.buckets import Bucket, buckets
from layer_runs.filters import LayerRunFilterSet
from layer_runs.lenses import runs as runs_lens
from layer_runs.lenses import timeline
from layer_runs.models import LayerRun, Status
from layer_runs.tests.conftest import ATTRIBUTE, SCRIPT
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
UNKNOWN = ["exploded", ""]
STATUSES = [*Status.values, "other"]


def selection(query: str = "", now: datetime = NOW) -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.all(), path="/runs/", now=now)


def cut(chosen: LayerRunFilterSet) -> list[Bucket]:
    bounds = LayerRun.objects.started_bounds()
    return buckets(chosen.window, bounds, chosen.now, timezone.get_default_timezone())


def drawn(chosen: LayerRunFilterSet) -> timeline.Timeline:
    return timeline.drawn(chosen, cut(chosen), timezone.get_default_timezone())


def started(*moments: datetime, **fields) -> list[LayerRun]:
    return LayerRun.objects.bulk_create(LayerRunFactory.build(started_at=moment, **fields) for moment in moments)


def counted(chosen: LayerRunFilterSet, cuts: list[Bucket]) -> list[Counter[str]]:
    """The same, run by run."""
    rows = list(chosen.qs.values_list("started_at", "status"))
    return [
        Counter(
            status if status in Status.values else "other"
            for moment, status in rows
            if bucket.start <= moment < bucket.end
        )
        for bucket in cuts
    ]


@pytest.fixture
def many_runs(db) -> None:
    """Runs of every status at odd distances over two months, some of them right at the edges of hours and days."""
    statuses = [*Status.values, *UNKNOWN]
    days = [(10, 3), (10, 4), (10, 24), (10, 25), (11, 1), (11, 2), (11, 21), (11, 22)]
    edges = [datetime(2026, *day, hour, tzinfo=UTC) for day in days for hour in (0, 4, 5, 13)]
    moments = [NOW - timedelta(minutes=97 * n * (n % 5 + 1)) for n in range(200)]
    moments += [edge + timedelta(microseconds=shift) for edge in edges for shift in (-1, 0, 1)]
    LayerRun.objects.bulk_create(
        LayerRunFactory.build(started_at=moment, status=statuses[n % len(statuses)], layer_name=f"layer {n % 3}")
        for n, moment in enumerate(moments)
    )


# A day of 23 hours, one of 25, days that begin at odd times, and one that a zone skipped half an hour of.
WINDOWS = [
    *("period=24h", "period=7d", "period=30d", "period=90d", "period=all"),
    *("since=2026-11-01&until=2026-11-01", "since=2026-10-25&until=2026-10-26", "since=2026-10-04&until=2026-10-05"),
    *("since=2026-11-21T04:59:59Z&until=2026-11-22T13:30:00Z", "until=2026-11-21", "since=2026-06-01"),
    *("period=30d&status=failed&status=exploded", "period=90d&layer_name=layer+1"),
]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_the_columns_hold_the_runs_of_their_time_and_add_up_to_the_cards(many_runs, settings, zone):
    settings.TIME_ZONE = zone
    for query in WINDOWS:
        chosen = selection(query)
        cuts = cut(chosen)
        counts = timeline.timeline(chosen.qs, cuts)
        assert counts == counted(chosen, cuts), query
        sums, totals = sum(counts, Counter()), runs_lens.totals(chosen.qs)
        assert {name: sums[name] for name in STATUSES} == {name: totals[name] for name in STATUSES}, query
        assert totals["total"] == sums.total() > 0, query


def test_each_column_leads_to_exactly_its_own_runs(many_runs, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    for query in ("period=24h", "period=7d", "period=all&status=failed", "since=2026-10-25&until=2026-10-25"):
        chosen = selection(query)
        columns, counts = drawn(chosen).chart.columns, counted(chosen, cut(chosen))
        assert [bool(column.url) for column in columns] == [bool(count) for count in counts]
        for column, count in zip(columns, counts, strict=True):
            if count:
                target = urlsplit(column.url)
                assert target.path == "/runs/"
                own = selection(target.query)
                assert own.qs.count() == count.total(), column.url
                assert own.values.get("status") == chosen.values.get("status")


def test_a_day_of_23_hours_has_23_columns_and_one_of_25_has_25(settings):
    settings.TIME_ZONE = "Europe/Berlin"
    zone = ZoneInfo("Europe/Berlin")
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        first = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=zone).astimezone(UTC)
        started(*(first + timedelta(minutes=30, hours=n) for n in range(hours)))
        chosen = selection(f"since={day}&until={day}")
        assert [counts.total() for counts in timeline.timeline(chosen.qs, cut(chosen))] == [1] * hours


def test_today_has_a_column_and_tomorrow_has_none(settings):
    settings.TIME_ZONE = "UTC"
    started(NOW - timedelta(days=3))
    columns = drawn(selection("period=7d")).chart.columns
    assert [column.title.split(":")[0] for column in columns][-1] == "Sun 22 Nov 2026"
    assert len(columns) == 7


def test_a_time_without_runs_is_a_gap_and_no_link():
    started(NOW - timedelta(days=3), NOW)
    columns = drawn(selection("period=7d")).chart.columns
    assert [column.gap for column in columns] == [True, True, True, False, True, True, False]
    assert [bool(column.url) for column in columns] == [not column.gap for column in columns]
    assert columns[0].title.endswith(": no run")


def test_all_columns_are_counted_in_one_query_by_the_index_alone(many_runs):
    chosen = selection("period=30d")
    cuts = cut(chosen)
    with CaptureQueriesContext(connection) as queries:
        timeline.drawn(chosen, cuts, UTC)
    counting = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert len(counting) == 1
    # The other asks for the statuses there are, by a hop an index entry.
    assert len(queries) <= 2


@pytest.mark.parametrize(
    ("query", "title", "sentence"),
    [
        ("period=all", "Runs per hour", "All time, UTC"),
        ("period=24h", "Runs per hour", "From Sat 21 November 2026, 13:30:00 UTC"),
        (
            "since=2026-11-07T03:00&until=2026-11-07T05:00",
            "Runs per hour",
            "From Sat 7 November 2026, 03:00:00 UTC until Sat 7 November 2026, 05:00:00 UTC",
        ),
        ("since=2026-11-07&until=2026-11-07", "Runs per hour", "Sat 7 Nov 2026, UTC"),
        ("period=30d", "Runs per day", "24 Oct – 22 Nov 2026, UTC"),
        ("since=2026-01-01", "Runs per week", "1 Jan – 22 Nov 2026, UTC"),
        ("since=2025-12-30&until=2026-01-02", "Runs per day", "30 Dec 2025 – 2 Jan 2026, UTC"),
    ],
)
def test_it_names_what_a_column_is_and_which_days_in_which_zone(query, title, sentence):
    found = drawn(selection(query))
    assert (found.title, found.sentence) == (title, sentence)
    assert found.chart.label == f"{title}, stacked by status"


def test_it_speaks_of_the_zone_of_the_site(midnight_in_new_york):
    LayerRunFactory()
    found = drawn(selection("period=7d", midnight_in_new_york))
    assert found.sentence == "8 – 14 Jun 2026, America/New_York"


@pytest.mark.parametrize("query", ["period=7d", "period=all"])
def test_a_run_dated_ahead_does_not_stretch_what_the_window_is_called(query):
    started(NOW - timedelta(days=2), NOW + timedelta(days=300))
    text = {"period=7d": "16 – 22 Nov 2026, UTC", "period=all": "All time, UTC"}[query]
    assert drawn(selection(query)).sentence == text


def test_there_is_none_where_a_window_holds_no_time():
    assert timeline.drawn(selection("since=2026-11-30"), [], UTC) is None


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        ({"failed": 11}, ("11 failed", "failed")),
        ({"failed": 5, "success": 5}, ("5 failed", "failed")),
        ({"failed": 4, "success": 5}, ("", "")),
        ({"partial": 9, "dry": 3, "success": 1}, ("9 partial", "partial")),
        ({"failed": 1, "partial": 8, "dry": 9}, ("9 went wrong", "partial")),
        ({"crashed": 2, "failed": 2}, ("4 went wrong", "failed")),
        ({"failed": 1_200}, ("1,200 failed", "failed")),
        # One run is no outage.
        ({"failed": 1}, ("", "")),
        ({"dry": 5, "running": 2, "other": 3}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_a_column_half_of_which_went_wrong_says_so(counts, note):
    for status, number in counts.items():
        started(*[NOW] * number, status="exploded" if status == "other" else status)
    chart = drawn(selection("since=2026-11-22T13:00Z&until=2026-11-22T14:00Z")).chart
    assert [(each.text, each.tone) for each in chart.notes] == ([note] if note[0] else [])


# -- the legend


def legend(query: str) -> dict[str, charts.Series]:
    return {entry.name: entry for entry in drawn(selection(query)).chart.legend}


def status_of(url: str) -> list[str]:
    return QueryDict(urlsplit(url).query).getlist("status")


def test_a_click_in_the_legend_adds_a_status_to_the_selection_and_a_second_one_takes_it_away():
    started(NOW)
    assert status_of(legend("")["failed"].url) == ["failed"]
    assert status_of(legend("status=failed")["crashed"].url) == ["failed", "crashed"]
    assert status_of(legend("status=failed&status=crashed")["failed"].url) == ["crashed"]
    assert status_of(legend("status=failed")["failed"].url) == []
    assert [name for name, entry in legend("status=failed").items() if entry.taken] == ["failed"]


def test_the_legend_names_the_usual_statuses_and_the_others_where_there_are_some():
    usual = ["failed", "crashed", "partial", "dry", "success"]
    started(NOW)
    assert list(legend("")) == usual
    started(NOW, status="running")
    started(NOW, status="exploded")
    started(NOW, status="melted")
    assert set(legend("")) - set(usual) == {"running", "other"}
    assert legend("")["other"].title == "exploded, melted"
    assert status_of(legend("")["other"].url) == ["exploded", "melted"]
    assert legend("status=exploded&status=melted")["other"].taken
    assert status_of(legend("status=exploded&status=melted&status=dry")["other"].url) == ["dry"]


def test_runs_without_a_status_are_counted_though_nothing_can_ask_for_them():
    started(NOW, status="")
    assert legend("")["other"].url == ""
    (column,) = [column for column in drawn(selection("")).chart.columns if not column.gap]
    assert column.title.endswith(": 1 run, 1 other")


# -- on the page


def test_the_page_shows_a_column_a_day_and_the_table_adds_up_to_the_cards(get):
    now = timezone.now()
    for days, status in (
        (0, "success"),
        (0, "failed"),
        (2, "partial"),
        (2, "exploded"),
        (6, "success"),
        (40, "failed"),
    ):
        LayerRunFactory(ago=timedelta(days=days), status=status)
    page = get("?period=7d")
    (chart,) = [svg for svg in page.all("{*}svg") if svg.get("role") == "group"]
    assert chart.get("aria-label") == "Runs per day, stacked by status"
    assert len(chart.findall("{*}a")) == 3
    assert len(chart.findall(".//{*}rect[@class='lr-hit']")) == 7
    (table,) = [each for each in page.all("table") if page.text(each.find("caption")) == chart.get("aria-label")]
    assert len(table.findall("tbody/tr")) == 7
    foot = dict(
        zip(
            [page.text(each) for each in table.findall("thead/tr/th")],
            [page.text(each) for each in table.find("tfoot/tr")],
            strict=True,
        )
    )
    assert foot["All"] == page.total == "5"
    assert {name: foot.get(name, "0") for name in Status.values} == {name: page.stats[name] for name in Status.values}
    assert now.strftime("%b %Y") in page.text(table.findall("tbody/tr")[-1])


@pytest.mark.parametrize("word", [SCRIPT, ATTRIBUTE, "<b onclick=x>"])
def test_a_hostile_status_stays_a_text_in_the_chart_and_its_legend(get, word):
    run = LayerRunFactory(status=word)
    run.refresh_from_db()
    page = get("?period=24h")
    assert page.live_parts == []
    assert run.status not in page.source
    (other,) = [each for each in page.all("a") if (each.get("id") or "").endswith("-other")]
    assert other.get("title") == run.status
    assert page.total == "1"
