from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_runs.windows import EARLIEST, EVER, LATEST, PERIODS, Window, before, of_period, parse_since, parse_until

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NEW_YORK = ZoneInfo("America/New_York")
ZONES = [UTC, NEW_YORK, ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/Havana")]
# Havana turns its clocks at midnight: one day a year begins twice, another has no midnight.


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize("period", [name for name in PERIODS if name.endswith("d")])
@pytest.mark.parametrize(
    ("now", "today", "midnight"),
    [
        (utc(2026, 6, 15, 12), date(2026, 6, 15), utc(2026, 6, 15, 4)),
        # Just before and just after a local midnight.
        (utc(2026, 6, 15, 3, 59, 59), date(2026, 6, 14), utc(2026, 6, 14, 4)),
        (utc(2026, 6, 15, 4), date(2026, 6, 15), utc(2026, 6, 15, 4)),
        # The days of 23 and 25 hours: 8 March and 1 November 2026.
        (utc(2026, 3, 8, 5), date(2026, 3, 8), utc(2026, 3, 8, 5)),
        (utc(2026, 3, 9, 3, 59), date(2026, 3, 8), utc(2026, 3, 8, 5)),
        (utc(2026, 3, 9, 4), date(2026, 3, 9), utc(2026, 3, 9, 4)),
        (utc(2026, 11, 1, 4), date(2026, 11, 1), utc(2026, 11, 1, 4)),
        (utc(2026, 11, 2, 4, 59), date(2026, 11, 1), utc(2026, 11, 1, 4)),
        (utc(2026, 11, 2, 5), date(2026, 11, 2), utc(2026, 11, 2, 5)),
    ],
)
def test_a_period_of_days_is_today_and_the_days_before_cut_at_midnight(period, now, today, midnight) -> None:
    window = of_period(period, now, NEW_YORK)
    first = window.since.astimezone(NEW_YORK)
    assert window.until is None
    assert (first.hour, first.minute, first.second, first.microsecond) == (0, 0, 0, 0)
    assert (today - first.date()).days == int(period[:-1]) - 1
    assert of_period("1d", now, NEW_YORK).since == midnight


@pytest.mark.parametrize(("day", "hours"), [("2026-03-07", 24), ("2026-03-08", 23), ("2026-11-01", 25)])
def test_a_day_is_as_long_as_its_clocks_make_it(day: str, hours: int) -> None:
    assert parse_until(day, NEW_YORK) - parse_since(day, NEW_YORK) == timedelta(hours=hours)


def test_a_week_over_a_clock_change_is_an_hour_off_a_plain_week() -> None:
    assert utc(2026, 3, 10, 4) - of_period("7d", utc(2026, 3, 10, 4), NEW_YORK).since == timedelta(days=6, hours=-1)
    assert utc(2026, 11, 3, 5) - of_period("7d", utc(2026, 11, 3, 5), NEW_YORK).since == timedelta(days=6, hours=1)


def test_the_window_does_not_move_between_two_looks_on_one_day() -> None:
    morning, evening = utc(2026, 6, 15, 4), utc(2026, 6, 16, 3, 59)
    assert of_period("7d", morning, NEW_YORK) == of_period("7d", evening, NEW_YORK)


def test_24_hours_slide_with_the_clock_even_over_a_clock_change() -> None:
    now = utc(2026, 11, 1, 12, 34, 56)
    assert of_period("24h", now, NEW_YORK) == Window(since=utc(2026, 10, 31, 12, 34, 56))


def test_all_has_no_edge_and_is_no_window() -> None:
    assert of_period("all", utc(2026, 6, 15), NEW_YORK) == EVER
    assert not EVER
    assert Window(since=EARLIEST)
    assert Window(until=LATEST)


@pytest.mark.parametrize("period", ["", "d", "garbage", "7days", "1.5d"])
def test_a_period_that_is_none_is_not_guessed_at(period: str) -> None:
    with pytest.raises(ValueError, match="int"):
        of_period(period, utc(2026, 6, 15), UTC)


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("2026-11-21", utc(2026, 11, 21, 5), utc(2026, 11, 22, 5)),
        ("  2026-11-21\n", utc(2026, 11, 21, 5), utc(2026, 11, 22, 5)),
        ("2026-12-31", utc(2026, 12, 31, 5), utc(2027, 1, 1, 5)),
        ("2024-02-29", utc(2024, 2, 29, 5), utc(2024, 3, 1, 5)),
        # A time is itself, and not a whole day.
        ("2026-11-21T00:00", utc(2026, 11, 21, 5), utc(2026, 11, 21, 5)),
        ("2026-11-21 13:30:15", utc(2026, 11, 21, 18, 30, 15), utc(2026, 11, 21, 18, 30, 15)),
        ("2026-11-21T13:30:15.5", utc(2026, 11, 21, 18, 30, 15, 500_000), utc(2026, 11, 21, 18, 30, 15, 500_000)),
        # An explicit offset is taken at its word, on any night.
        ("2026-11-21T13:30Z", utc(2026, 11, 21, 13, 30), utc(2026, 11, 21, 13, 30)),
        ("2026-11-01T01:30-05:00", utc(2026, 11, 1, 6, 30), utc(2026, 11, 1, 6, 30)),
        ("2026-03-08T02:30-05:00", utc(2026, 3, 8, 7, 30), utc(2026, 3, 8, 7, 30)),
    ],
)
def test_it_reads_dates_and_times(text: str, since: datetime, until: datetime) -> None:
    assert parse_since(text, NEW_YORK) == since
    assert parse_until(text, NEW_YORK) == until


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        # 01:30 comes twice on 1 November: the first one opens a window, the second closes it.
        ("2026-11-01T01:30", utc(2026, 11, 1, 5, 30), utc(2026, 11, 1, 6, 30)),
        ("2026-11-01T01:00", utc(2026, 11, 1, 5), utc(2026, 11, 1, 6)),
        ("2026-11-01T02:00", utc(2026, 11, 1, 7), utc(2026, 11, 1, 7)),
        # 02:30 does not come on 8 March: the clocks go from 02:00 (07:00 UTC) to 03:00.
        ("2026-03-08T02:30", utc(2026, 3, 8, 6, 30), utc(2026, 3, 8, 7, 30)),
        ("2026-03-08T03:00", utc(2026, 3, 8, 7), utc(2026, 3, 8, 7)),
    ],
)
def test_q10_an_hour_that_comes_twice_or_never_widens_the_window(text, since, until) -> None:
    assert parse_since(text, NEW_YORK) == since
    assert parse_until(text, NEW_YORK) == until


@pytest.mark.parametrize(
    ("text", "edge"),
    [
        ("0001-01-01", EARLIEST),
        ("0001-01-01T00:00:00+14:00", EARLIEST),
        ("0001-01-01T00:00:00", EARLIEST),
        ("1969-12-31T23:59:59-12:00", EARLIEST),
        ("1999-12-30", EARLIEST),
        ("2200-01-02", LATEST),
        ("9999-12-31", LATEST),
        ("9999-12-31T23:59:59", LATEST),
        ("9999-12-31T23:59:59-12:00", LATEST),
        ("9999-12-31T23:59:59.999999-23:59", LATEST),
    ],
)
@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_q11_a_moment_outside_the_calendar_is_the_nearest_one_inside(text: str, edge: datetime, zone) -> None:
    assert parse_since(text, zone) == edge
    assert parse_until(text, zone) == edge


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "garbage",
        "2026",
        "2026-13-45",
        "2026-02-30",
        "2026-11-21T25:00",
        "2026-11-21T10:00+99:00",
        "21.11.2026",
        "11/21/2026",
        "10000-01-01",
        "-2026-01-01",
        "0000-01-01",
        "9999-W52-7",
        "2026-11-21T",
        "now",
        "1763700000",
        "NaN",
        "2026-11-21\x00",
        "2026-11-21\udcffT10:00",
        "9" * 5_000,
    ],
)
@pytest.mark.parametrize("parse", [parse_since, parse_until])
def test_q09_what_is_no_date_is_refused_and_never_guessed(parse, text: str) -> None:
    with pytest.raises(ValueError):
        parse(text, NEW_YORK)


@unhurried
@given(
    st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?([+-]\d\d:\d\d|Z)?)?", fullmatch=True)
)
def test_q11_any_text_is_a_moment_that_can_be_stored_or_a_plain_refusal(text: str) -> None:
    try:
        since, until = parse_since(text, NEW_YORK), parse_until(text, NEW_YORK)
    except ValueError:
        return
    assert EARLIEST <= since <= until <= LATEST
    assert since.tzinfo is UTC


@unhurried
@given(st.datetimes(datetime(2001, 1, 1), datetime(2199, 1, 1)), st.sampled_from(ZONES))
def test_a_moment_is_always_inside_the_window_its_own_wall_clock_asks_for(moment: datetime, zone) -> None:
    moment = moment.replace(tzinfo=UTC)
    wall = moment.astimezone(zone).replace(tzinfo=None)
    assert parse_since(wall.isoformat(), zone) <= moment <= parse_until(wall.isoformat(), zone)
    assert parse_since(f"{wall:%Y-%m-%d}", zone) <= moment < parse_until(f"{wall:%Y-%m-%d}", zone)


@unhurried
@given(st.dates(date(2001, 1, 1), date(2198, 1, 1)))
def test_the_days_of_new_york_follow_each_other_without_gap_or_overlap(day: date) -> None:
    days = [day + timedelta(days=n) for n in range(3)]
    for one, following in pairwise(days):
        assert parse_until(one.isoformat(), NEW_YORK) == parse_since(following.isoformat(), NEW_YORK)


@unhurried
@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))])))
def test_a_time_with_an_offset_does_not_depend_on_the_zone_of_the_site(moment: datetime) -> None:
    text = moment.isoformat()
    assert {parse_since(text, zone) for zone in ZONES} == {parse_until(text, zone) for zone in ZONES}
    assert len({parse_since(text, zone) for zone in ZONES}) == 1


# -- the window before


@pytest.mark.parametrize(
    ("window", "earlier"),
    [
        # A week that has not ended yet is seven days, and so is the one before.
        (Window(utc(2026, 6, 9, 4)), Window(utc(2026, 6, 2, 4), utc(2026, 6, 9, 4))),
        # The day of 23 hours in the window, and then in the one before it.
        (Window(utc(2026, 3, 8, 5), utc(2026, 3, 10, 4)), Window(utc(2026, 3, 6, 5), utc(2026, 3, 8, 5))),
        (Window(utc(2026, 3, 9, 4), utc(2026, 3, 11, 4)), Window(utc(2026, 3, 7, 5), utc(2026, 3, 9, 4))),
        # What is no whole days goes back by its length.
        (Window(utc(2026, 6, 14, 16)), Window(utc(2026, 6, 13, 16), utc(2026, 6, 14, 16))),
        (Window(utc(2026, 6, 1, 5), utc(2026, 6, 1, 7)), Window(utc(2026, 6, 1, 3), utc(2026, 6, 1, 5))),
        (EVER, None),
        (Window(until=utc(2026, 6, 1)), None),
    ],
)
def test_the_window_before_is_as_long_and_ends_where_this_one_begins(window, earlier) -> None:
    assert before(window, utc(2026, 6, 15, 16), NEW_YORK) == earlier


@unhurried
@given(
    st.datetimes(datetime(2001, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(sorted(PERIODS)),
    st.sampled_from(ZONES),
)
def test_the_window_before_a_period_is_never_empty_and_never_overlaps(now, period, zone) -> None:
    window = of_period(period, now, zone)
    earlier = before(window, now, zone)
    if period == "all":
        assert earlier is None
        return
    assert earlier.until == window.since
    assert earlier.since < earlier.until
    days = 1 if period == "24h" else int(period[:-1])
    assert abs(earlier.until - earlier.since - timedelta(days=days)) <= timedelta(days=1, hours=1)


# -- two windows


@unhurried
@given(st.tuples(*[st.none() | st.datetimes(timezones=st.just(UTC))] * 5))
def test_what_lies_in_both_of_two_windows_lies_in_each(moments) -> None:
    one, other, moment = Window(*moments[:2]), Window(*moments[2:4]), moments[4] or utc(2026, 1, 1)

    def holds(window: Window) -> bool:
        return (window.since is None or window.since <= moment) and (window.until is None or moment < window.until)

    assert holds(one & other) == holds(other & one) == (holds(one) and holds(other))
    assert one & EVER == one
