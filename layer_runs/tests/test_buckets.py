"""A window cut for a chart: nothing between two buckets, nothing in both, and each a selection of its own."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from django.db.models import Count
from django.http import QueryDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_runs.buckets import Bucket, buckets, days
from layer_runs.filters import LayerRunFilterSet
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory
from layer_runs.windows import EVER, LATEST, PERIODS, Window, of_period, parse_since, parse_until

# A busy machine is no failure.
unhurried = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

NEW_YORK, LORD_HOWE, HAVANA = (ZoneInfo(name) for name in ("America/New_York", "Australia/Lord_Howe", "America/Havana"))
SAO_PAULO, CAIRO = ZoneInfo("America/Sao_Paulo"), ZoneInfo("Africa/Cairo")
# Its clocks went back over midnight, until 2011: a day that begins, and is yesterday again.
ST_JOHNS = ZoneInfo("America/St_Johns")
KATHMANDU, SANTIAGO, APIA = (ZoneInfo(name) for name in ("Asia/Kathmandu", "America/Santiago", "Pacific/Apia"))
ZONES = [UTC, NEW_YORK, LORD_HOWE, HAVANA, SAO_PAULO, CAIRO, ST_JOHNS, KATHMANDU, SANTIAGO, APIA]
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
YEARS = (datetime(2020, 3, 1, 9, tzinfo=UTC), NOW)
AT_MOST = {"hour": 49, "day": 92, "week": 60, "month": 60}


def between(since: str, until: str, zone=UTC) -> Window:
    return Window(parse_since(since, zone), parse_until(until, zone))


def edges(cut: list[Bucket]) -> list[str]:
    return [f"{edge:%Y-%m-%dT%H:%M%z}" for edge in [*(bucket.start for bucket in cut), cut[-1].end]]


def hours(bucket: Bucket) -> float:
    return (bucket.end.astimezone(UTC) - bucket.start.astimezone(UTC)) / timedelta(hours=1)


# -- which unit


@pytest.mark.parametrize(
    ("period", "unit", "number"), [("24h", "hour", 25), ("7d", "day", 7), ("30d", "day", 30), ("90d", "day", 90)]
)
def test_a_day_is_cut_into_hours_and_months_into_days(period, unit, number):
    cut = buckets(of_period(period, NOW, UTC), YEARS, NOW, UTC)
    assert ({bucket.unit for bucket in cut}, len(cut)) == ({unit}, number)
    assert cut[0].start == of_period(period, NOW, UTC).since
    assert cut[-1].start <= NOW < cut[-1].end


@pytest.mark.parametrize(
    ("oldest", "unit", "number"),
    [
        (NOW - timedelta(minutes=5), "hour", 14),
        (NOW - timedelta(days=1), "hour", 38),
        (NOW - timedelta(days=2), "day", 3),
        (NOW - timedelta(days=91), "day", 92),
        (NOW - timedelta(days=92), "week", 14),
        (NOW - timedelta(days=400), "week", 58),
        (NOW - timedelta(days=450), "month", 16),
        (NOW - timedelta(days=365 * 5), "year", 6),
    ],
)
def test_all_of_time_begins_on_the_day_of_the_first_run(oldest, unit, number):
    cut = buckets(EVER, (oldest, NOW - timedelta(minutes=1)), NOW, UTC)
    assert ({bucket.unit for bucket in cut}, len(cut)) == ({unit}, number)
    assert cut[0].start == oldest.replace(hour=0, minute=0)


@pytest.mark.parametrize(
    ("since", "until", "unit", "number"),
    [
        ("2026-11-01", "2026-11-01", "hour", 24),
        ("2026-11-01", "2026-11-02", "hour", 48),
        ("2026-11-01", "2026-11-03", "day", 3),
        ("2026-06-01", "2026-08-31", "day", 92),
        # Ninety-two days long, and a part of a ninety-third.
        ("2026-06-01T12:00", "2026-09-01T12:00", "week", 14),
        ("2025-07-28", "2026-09-20", "week", 60),
        ("2025-07-29", "2026-09-21", "month", 15),
        ("2021-01-15", "2025-12-19", "month", 60),
        ("2021-01-15", "2026-01-19", "year", 6),
    ],
)
def test_a_range_is_cut_into_no_more_than_a_chart_has_room_for(since, until, unit, number):
    cut = buckets(between(since, until), YEARS, NOW, UTC)
    assert ({bucket.unit for bucket in cut}, len(cut)) == ({unit}, number)
    assert (cut[0].start, cut[-1].end) == (parse_since(since, UTC), parse_until(until, UTC))


def test_weeks_begin_on_monday_and_months_on_their_first_but_for_the_first_of_them():
    cut = buckets(between("2026-01-01", "2026-09-01"), YEARS, NOW, UTC)
    assert (f"{cut[0].start:%a}", {f"{bucket.start:%a}" for bucket in cut[1:]}) == ("Thu", {"Mon"})
    cut = buckets(between("2024-01-15", "2026-09-01"), YEARS, NOW, UTC)
    assert (cut[0].start.day, {bucket.start.day for bucket in cut[1:]}) == (15, {1})


def test_days_are_every_day_however_many():
    cut = list(days(between("2021-01-01", "2026-11-22"), YEARS, NOW, UTC))
    assert len(cut) == 2_152
    assert {bucket.unit for bucket in cut} == {"day"}
    assert cut[1_000].params == {"since": "2023-09-28", "until": "2023-09-28"}


# -- where it begins and ends


def test_years_before_the_first_run_are_left_out():
    cut = buckets(between("2001-01-01", "2026-11-22"), (NOW - timedelta(days=10), NOW), NOW, UTC)
    assert edges(cut)[0] == "2026-11-12T00:00+0000"
    assert len(cut) == 11
    assert len(list(days(between("2001-01-01", "2026-11-22"), (NOW - timedelta(days=10), NOW), NOW, UTC))) == 11


def test_a_quiet_month_before_the_first_run_is_shown_as_one():
    cut = buckets(of_period("30d", NOW, UTC), (NOW - timedelta(days=2), NOW), NOW, UTC)
    assert len(cut) == 30


def test_a_database_without_runs_has_a_today():
    assert len(buckets(EVER, (None, None), NOW, UTC)) == 14
    assert len(buckets(of_period("7d", NOW, UTC), (None, None), NOW, UTC)) == 7
    assert list(days(EVER, (None, None), NOW, UTC))[0].params == {"since": "2026-11-22", "until": "2026-11-22"}


def test_the_run_of_a_skewed_clock_is_in_the_last_bucket():
    skewed = NOW + timedelta(days=3)
    for window in (EVER, of_period("7d", NOW, UTC)):
        cut = buckets(window, (NOW - timedelta(days=6), skewed), NOW, UTC)
        assert len(cut) == 7
        assert cut[-1].start <= NOW < skewed < cut[-1].end
        assert cut[-1].name == "22 Nov – 25 Nov 2026"
        assert cut[-1].params == {"since": "2026-11-22T00:00:00+00:00", "until": cut[-1].end.isoformat()}
    only = buckets(EVER, (skewed, skewed), NOW, UTC)
    assert only[-1].start <= skewed < only[-1].end


@pytest.mark.parametrize(
    "window",
    [
        Window(NOW + timedelta(days=1)),
        Window(NOW + timedelta(days=1), NOW + timedelta(days=2)),
        Window(until=datetime(2010, 1, 1, tzinfo=UTC)),
        Window(LATEST, LATEST),
    ],
)
def test_a_window_that_no_run_can_be_in_has_no_buckets(window):
    assert buckets(window, YEARS, NOW, UTC) == []
    assert list(days(window, YEARS, NOW, UTC)) == []


def test_a_range_that_ends_later_than_today_stops_with_the_bucket_of_now():
    cut = buckets(between("2026-11-20", "2099-01-01"), YEARS, NOW, UTC)
    assert edges(cut)[-1] == "2026-11-23T00:00+0000"


def test_only_the_end_of_the_window_itself_cuts_the_last_one_short():
    assert edges(buckets(between("2026-11-01", "2026-11-05T10:30"), YEARS, NOW, UTC))[-1] == "2026-11-05T10:30+0000"
    assert edges(buckets(of_period("24h", NOW, UTC), YEARS, NOW, UTC))[-1] == "2026-11-22T14:00+0000"


# -- clocks that change


@pytest.mark.parametrize(
    ("zone", "day", "long"),
    [
        (NEW_YORK, "2026-03-08", 23),
        (NEW_YORK, "2026-11-01", 25),
        (LORD_HOWE, "2026-04-05", 24.5),
        (LORD_HOWE, "2026-10-04", 23.5),
        # No midnight: the day begins at one o'clock.
        (HAVANA, "2026-03-08", 23),
        (CAIRO, "2026-04-24", 23),
        (SAO_PAULO, "2018-11-04", 23),
        # Two midnights.
        (HAVANA, "2026-11-01", 25),
        (SAO_PAULO, "2018-02-17", 25),
    ],
)
def test_a_day_is_one_bucket_whatever_the_clocks_do(zone, day, long):
    here = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=zone)
    window = Window((here - timedelta(days=3)).astimezone(UTC), (here + timedelta(days=3)).astimezone(UTC))
    cut = buckets(window, (window.since, window.until), here + timedelta(days=9), zone)
    assert [f"{bucket.start:%d}" for bucket in cut] == [f"{here + timedelta(days=n):%d}" for n in range(-3, 4)]
    assert [hours(bucket) for bucket in cut[1:-1]] == [24, 24, long, 24, 24]


def test_a_week_that_begins_at_a_midnight_that_does_not_exist_ends():
    # The window reaches an hour back, never to hide a run: that hour belongs to the day before.
    now = datetime(2026, 3, 14, 16, tzinfo=UTC)
    window = of_period("7d", now, HAVANA)
    cut = list(islice(days(window, (now, now), now, HAVANA), 50))
    assert [hours(bucket) for bucket in cut] == [1, 23, 24, 24, 24, 24, 24, 24]
    assert cut[0].start == window.since


def test_a_day_that_begins_twice_begins_once():
    # At one minute past the midnight of 7 November 2010 it was yesterday again, for 59 minutes.
    now = datetime(2010, 11, 10, 12, tzinfo=UTC)
    cut = list(days(Window(datetime(2010, 11, 7, 3, tzinfo=UTC)), (now, now), now, ST_JOHNS))
    assert edges(cut)[:3] == ["2010-11-06T23:30-0330", "2010-11-07T00:00-0330", "2010-11-08T00:00-0330"]


@pytest.mark.parametrize(
    ("zone", "day", "labels"),
    [
        (NEW_YORK, "2026-03-08", ["00", "01", "03", "04"]),
        (NEW_YORK, "2026-11-01", ["00", "01", "01", "02"]),
        (HAVANA, "2026-11-01", ["00", "00", "01", "02"]),
    ],
)
def test_an_hour_that_comes_twice_is_two_and_one_that_is_skipped_is_none(zone, day, labels):
    cut = buckets(between(day, day, zone), YEARS, datetime(2026, 12, 1, tzinfo=UTC), zone)
    assert [bucket.label for bucket in cut[:4]] == [f"{label}:00" for label in labels]
    assert {hours(bucket) for bucket in cut} == {1}
    assert len({bucket.name for bucket in cut}) == len(cut)
    assert len({str(bucket.params) for bucket in cut}) == len(cut)


def test_hours_shifted_by_half_of_one_still_begin_on_the_clock():
    now = datetime(2026, 12, 1, tzinfo=UTC)
    back = buckets(between("2026-04-05", "2026-04-05", LORD_HOWE), YEARS, now, LORD_HOWE)
    assert edges(back)[1:4] == ["2026-04-05T01:00+1100", "2026-04-05T01:30+1030", "2026-04-05T02:00+1030"]
    on = buckets(between("2026-10-04", "2026-10-04", LORD_HOWE), YEARS, now, LORD_HOWE)
    assert edges(on)[1:4] == ["2026-10-04T01:00+1030", "2026-10-04T02:30+1100", "2026-10-04T03:00+1100"]
    assert edges(buckets(between("2026-05-01", "2026-05-01", KATHMANDU), YEARS, now, KATHMANDU))[1].endswith(
        "01:00+0545"
    )


# -- what it is called


@pytest.mark.parametrize(
    ("since", "until", "unit", "label", "name"),
    [
        ("2026-11-07T14:00", "2026-11-07T15:00", "hour", "14:00", "Sat 7 Nov 2026, 14:00 – 15:00 UTC"),
        ("2026-11-07T13:37", "2026-11-07T14:00", "hour", "13:00", "Sat 7 Nov 2026, 13:37 – 14:00 UTC"),
        ("2026-11-07", "2026-11-07", "day", "7 Nov", "Sat 7 Nov 2026"),
        ("2026-11-02", "2026-11-08", "week", "2 Nov", "2 Nov – 8 Nov 2026"),
        ("2025-12-29", "2026-01-04", "week", "29 Dec", "29 Dec 2025 – 4 Jan 2026"),
        ("2026-11-02", "2026-11-04T12:00", "week", "2 Nov", "2 Nov – 4 Nov 2026"),
        ("2026-11-01", "2026-11-30", "month", "Nov 2026", "1 Nov – 30 Nov 2026"),
        ("2026-01-01", "2026-12-31", "year", "2026", "1 Jan – 31 Dec 2026"),
    ],
)
def test_it_says_what_it_is_on_an_axis_and_by_itself(since, until, unit, label, name):
    bucket = Bucket(parse_since(since, UTC), parse_until(until, UTC), unit)
    assert (bucket.label, bucket.name) == (label, name)


@pytest.mark.parametrize(
    ("since", "until", "params"),
    [
        ("2026-11-07", "2026-11-07", ["2026-11-07", "2026-11-07"]),
        ("2026-11-01", "2026-11-30", ["2026-11-01", "2026-11-30"]),
        ("2026-11-07T14:00", "2026-11-07T15:00", ["2026-11-07T14:00:00-05:00", "2026-11-07T15:00:00-05:00"]),
        ("2026-11-07", "2026-11-07T15:00", ["2026-11-07T00:00:00-05:00", "2026-11-07T15:00:00-05:00"]),
    ],
)
def test_its_parameters_are_bare_dates_where_it_is_whole_days(since, until, params):
    window = between(since, until, NEW_YORK)
    bucket = Bucket(window.since.astimezone(NEW_YORK), window.until.astimezone(NEW_YORK), "day")
    assert bucket.params == dict(zip(("since", "until"), params, strict=True))


# -- as a whole


@st.composite
def questions(draw) -> tuple:
    """A window, the bounds of what is stored, a moment and a zone, near the changes of the clocks of all of them."""
    zone = draw(st.sampled_from(ZONES))
    moment = st.datetimes(datetime(2009, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))
    hour = moment.map(lambda moment: moment.replace(minute=0, second=0, microsecond=0))
    now, oldest, newest = (draw(moment | hour) for _ in range(3))
    period = st.sampled_from(list(PERIODS)).map(lambda period: of_period(period, now, zone))
    length = st.integers(1, 800).map(lambda days: timedelta(days=days)) | st.integers(1, 90).map(
        lambda h: timedelta(hours=h)
    )
    since = draw(hour | moment)
    own = st.builds(lambda since, length: Window(since, since + length), st.just(since), length) | st.just(
        Window(since)
    )
    bounds = draw(st.sampled_from([(None, None), (min(oldest, newest), max(oldest, newest))]))
    return draw(period | own | st.just(Window(until=since))), bounds, now, zone


@unhurried
@given(questions())
def test_they_tile_the_window_without_gap_or_overlap(question):
    window, bounds, now, zone = question
    cut = list(islice(buckets(window, bounds, now, zone), 5_000))
    starts = [bucket.start.astimezone(UTC) for bucket in cut]
    ends = [bucket.end.astimezone(UTC) for bucket in cut]
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert ends[:-1] == starts[1:]
    assert all(one.unit == other.unit for one, other in pairwise(cut))
    assert not cut or len(cut) <= AT_MOST.get(cut[0].unit, 200)
    if cut and window.since and starts[0] != window.since:
        # What is left out lies before the first run.
        assert bounds[0] is None or starts[0] <= bounds[0]
    if cut and window.until:
        assert ends[-1] <= window.until
    for run in filter(None, bounds):
        inside = (window.since is None or window.since <= run) and (window.until is None or run < window.until)
        assert inside == any(start <= run < end for start, end in zip(starts, ends, strict=True))


@unhurried
@given(questions())
def test_the_parameters_of_each_are_read_back_as_its_own_edges(question):
    window, bounds, now, zone = question
    for bucket in buckets(window, bounds, now, zone):
        edges = parse_since(bucket.params["since"], zone), parse_until(bucket.params["until"], zone)
        assert edges == (bucket.start.astimezone(UTC), bucket.end.astimezone(UTC))


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ["America/New_York", "America/Havana", "Australia/Lord_Howe"])
@pytest.mark.parametrize(
    ("query", "now"),
    [
        ("period=24h", "2026-11-01T12:34:56"),
        ("period=7d", "2026-03-10T12:00"),
        ("period=all", "2026-11-03T02:00"),
        ("since=2026-10-30T13:07&until=2026-11-02", "2026-12-01T00:00"),
        ("since=2026-03-07&until=2026-03-08T05:30:30.5", "2026-12-01T00:00"),
        ("since=2026-01-01", "2026-11-03T02:00"),
    ],
)
def test_the_selection_of_each_holds_exactly_its_runs(settings, zone, query, now):
    settings.TIME_ZONE = zone
    now = datetime.fromisoformat(now).replace(tzinfo=UTC)
    chance = random.Random(query + zone)  # noqa: S311
    around = [now, datetime(2026, 3, 8, 6, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)]
    moments = [chance.choice(around) + timedelta(minutes=chance.randrange(-4_000, 4_000)) for _ in range(80)]
    # On the full hours, where edges are.
    moments += [moment.replace(minute=0) for moment in moments[:60]]
    LayerRun.objects.bulk_create(LayerRunFactory.build(started_at=moment, completed_at=None) for moment in moments)

    def selection(query: str) -> LayerRunFilterSet:
        return LayerRunFilterSet(QueryDict(query), LayerRun.objects.all(), now=now)

    whole = selection(query)
    cut = buckets(whole.window, LayerRun.objects.started_bounds(), now, ZoneInfo(zone))
    some = cut if len(cut) < 15 else chance.sample(cut, 15)
    for bucket in some:
        inside = [moment for moment in moments if bucket.start <= moment < bucket.end]
        assert selection(whole.link(period=None, **bucket.params).removeprefix("?")).qs.count() == len(inside)
    counts = {row["bucket"]: row["runs"] for row in whole.qs.per_bucket(cut, runs=Count("*"))}
    assert sum(counts.values()) == whole.qs.count() > 0
