from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_runs import formatting

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)  # a Saturday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (1_000, "1,000"),
        (24_214_728, "24,214,728"),
        (10**12, "1,000,000,000,000"),
        (-1_234, "−1,234"),
    ],
)
def test_it_separates_the_thousands_of_a_count(value: int | None, text: str) -> None:
    assert formatting.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10K"),
        (10_049, "10K"),
        (10_050, "10.1K"),
        (999_949, "999.9K"),
        (999_950, "1M"),
        (1_000_000, "1M"),
        (1_049_999, "1M"),
        (1_050_000, "1.1M"),
        (24_214_728, "24.2M"),
        (100_000_000, "100M"),
        (999_949_999, "999.9M"),
        (999_950_000, "1B"),
        (3_200_000_000, "3.2B"),
        (999_999_999_999, "1T"),
        (10**15, "1000T"),
        (-9_999, "−9,999"),
        (-50_000, "−50K"),
    ],
)
def test_it_shortens_a_number_for_a_card(value: int, text: str) -> None:
    assert formatting.compact(value) == text


@unhurried
@given(st.integers(0, 10**14))
def test_a_shortened_number_is_off_by_half_its_last_digit_at_most(value: int) -> None:
    number, unit = re.fullmatch(r"([\d,.]+)([KMBT]?)", formatting.compact(value)).groups()
    size = {"": 0, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}[unit]
    assert abs(Decimal(number.replace(",", "")) * (size or 1) - value) * 20 <= size
    assert len(number) <= 5


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (None, 3, "–"),
        (Decimal(0), 3, "$0"),
        (Decimal("0E-9"), 2, "$0"),
        (Decimal("1e-9"), 3, "<$0.001"),
        (Decimal("0.000499999"), 3, "<$0.001"),
        (Decimal("0.0005"), 3, "$0.001"),
        (Decimal("0.1054"), 3, "$0.105"),
        (Decimal("0.1055"), 3, "$0.106"),
        (Decimal("0.004999"), 2, "<$0.01"),
        (Decimal("0.005"), 2, "$0.01"),
        (Decimal("0.00005"), 4, "$0.0001"),
        (Decimal("118.2"), 2, "$118.20"),
        (Decimal("999.995"), 2, "$1,000.00"),
        (Decimal("999999.999999999"), 3, "$1,000,000.000"),
        (Decimal("9223372036.854775807"), 2, "$9,223,372,036.85"),
    ],
)
def test_it_writes_dollars_to_so_many_places(value: Decimal | None, places: int, text: str) -> None:
    assert formatting.usd(value, places) == text


@unhurried
@given(st.integers(1, 10**15), st.sampled_from([2, 3, 4]))
def test_a_cost_is_never_shown_as_nothing(nanos: int, places: int) -> None:
    text = formatting.usd(Decimal(nanos).scaleb(-9), places)
    assert text.startswith("<$") or re.search("[1-9]", text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "$0"),
        (Decimal("0E-9"), "$0"),
        (Decimal("0.000000001"), "$0.000000001"),
        (Decimal("0.1"), "$0.10"),
        (Decimal("0.179400000"), "$0.1794"),
        (Decimal(10), "$10.00"),
        (Decimal("1234.5"), "$1,234.50"),
        (Decimal("999999.999999999"), "$999,999.999999999"),
    ],
)
def test_it_writes_every_digit_of_a_cost(value: Decimal | None, text: str) -> None:
    assert formatting.usd_exact(value) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (47, "47 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (1_049, "1.0 s"),
        (1_050, "1.1 s"),
        (41_400, "41.4 s"),
        (59_949, "59.9 s"),
        (59_950, "1m 00s"),
        (60_499, "1m 00s"),
        (60_500, "1m 01s"),
        (105_000, "1m 45s"),
        (150_000, "2m 30s"),
        (3_599_499, "59m 59s"),
        (3_599_500, "1h 00m"),
        (7_500_000, "2h 05m"),
        (7_169_000, "1h 59m"),
        (7_170_000, "2h 00m"),
        (86_400_000, "24h 00m"),
        (360_000_000, "100h 00m"),
    ],
)
def test_it_writes_a_duration_in_the_unit_that_fits(milliseconds: int | None, text: str) -> None:
    assert formatting.duration(milliseconds) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(-1, "clock skew (−1 ms)"), (-5_000, "clock skew (−5.0 s)"), (-59_950, "clock skew (−1m 00s)")],
)
def test_d19_a_negative_duration_is_named_for_what_it_is(milliseconds: int, text: str) -> None:
    assert formatting.duration(milliseconds) == text


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (timedelta(0), "under a minute"),
        (timedelta(seconds=59, microseconds=999_999), "under a minute"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=59, seconds=59), "59 minutes"),
        (HOUR, "1 hour"),
        (timedelta(hours=3, minutes=59), "3 hours"),
        (timedelta(hours=28), "28 hours"),
        (2 * DAY - timedelta(seconds=1), "47 hours"),
        (2 * DAY, "2 days"),
        (60 * DAY, "60 days"),
        (61 * DAY, "2 months"),
        (92 * DAY, "3 months"),
        (729 * DAY, "23 months"),
        (730 * DAY, "2 years"),
        (3_650 * DAY, "10 years"),
    ],
)
def test_it_says_roughly_how_long(delta: timedelta, text: str) -> None:
    assert formatting.span(delta) == text


@unhurried
@given(st.integers(0, 10_000 * 86_400), st.integers(0, 10_000 * 86_400))
def test_a_longer_time_never_reads_as_a_shorter_one(one: int, other: int) -> None:
    sizes = {"minute": 60, "hour": 3_600, "day": 86_400, "month": 2_600_000, "year": 31_500_000}

    def shown(seconds: int) -> int:
        found = re.fullmatch(r"(\d+) ([a-z]+?)s?", formatting.span(timedelta(seconds=seconds)))
        return int(found[1]) * sizes[found[2]] if found else 0

    shorter, longer = sorted([one, other])
    assert shown(shorter) <= shown(longer)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW, "under a minute ago"),
        (NOW - timedelta(seconds=30), "under a minute ago"),
        (NOW - 28 * HOUR, "28 hours ago"),
        (NOW - 3 * DAY, "3 days ago"),
    ],
)
def test_it_says_how_long_ago(moment: datetime, text: str) -> None:
    assert formatting.relative(moment, NOW) == text


@pytest.mark.parametrize(
    ("ahead", "text"),
    [
        (timedelta(microseconds=1), "in under a minute"),
        (timedelta(minutes=10), "in 10 minutes"),
        (HOUR, "in 1 hour"),
        (3 * DAY, "in 3 days"),
    ],
)
def test_d20_a_moment_in_the_future_has_no_negative_age(ahead: timedelta, text: str) -> None:
    assert formatting.relative(NOW + ahead, NOW) == text


@pytest.mark.parametrize(
    ("moment", "zone", "text"),
    [
        (datetime(2026, 11, 21, 4, 6, tzinfo=UTC), UTC, "Sat 04:06"),
        (datetime(2026, 11, 21, 4, 6, tzinfo=UTC), NEW_YORK, "Fri 23:06"),
        (NOW + HOUR, UTC, "Sat 10:30"),
        (NOW - 7 * DAY + timedelta(seconds=1), UTC, "Sat 09:30"),
        (NOW - 7 * DAY, UTC, "14 Nov 09:30"),
        (NOW + 7 * DAY, UTC, "28 Nov 09:30"),
        (datetime(2026, 11, 7, 3, 56, tzinfo=UTC), UTC, "7 Nov 03:56"),
        (datetime(2025, 12, 31, 23, 59, tzinfo=UTC), UTC, "31 Dec 2025 23:59"),
        # Already 2026 in London, still 2025 in New York.
        (datetime(2026, 1, 1, 1, 0, tzinfo=UTC), UTC, "1 Jan 01:00"),
        (datetime(2026, 1, 1, 1, 0, tzinfo=UTC), NEW_YORK, "31 Dec 2025 20:00"),
        # Summer time is four hours behind, winter time five.
        (datetime(2026, 7, 1, 12, 0, tzinfo=UTC), NEW_YORK, "1 Jul 08:00"),
        (datetime(2026, 2, 1, 12, 0, tzinfo=UTC), NEW_YORK, "1 Feb 07:00"),
    ],
)
def test_it_tells_two_runs_of_a_night_apart_by_the_clock(moment: datetime, zone, text: str) -> None:
    assert formatting.clock(moment, NOW, zone) == text


@pytest.mark.parametrize(
    ("moment", "zone", "text"),
    [
        (None, UTC, "–"),
        (datetime(2026, 11, 21, 4, 6, tzinfo=UTC), UTC, "Sat 21 November 2026, 04:06:00 UTC"),
        (datetime(2026, 11, 1, 5, 30, 9, tzinfo=UTC), NEW_YORK, "Sun 1 November 2026, 01:30:09 EDT"),
        (datetime(2026, 11, 1, 6, 30, 9, tzinfo=UTC), NEW_YORK, "Sun 1 November 2026, 01:30:09 EST"),
    ],
)
def test_an_exact_time_names_its_zone_so_that_a_repeated_hour_is_told_apart(moment, zone, text: str) -> None:
    assert formatting.exact(moment, zone) == text


def test_a_day_is_the_day_in_the_zone_of_the_reader() -> None:
    moment = datetime(2026, 11, 16, 3, 0, tzinfo=UTC)
    assert (formatting.day(moment, UTC), formatting.day(moment, NEW_YORK)) == ("16 Nov 2026", "15 Nov 2026")


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, ""),
        (0, 5, "0%"),
        (5, 5, "100%"),
        (1, 3, "33%"),
        (1, 200, "0.5%"),
        (1, 100, "1%"),
        (99, 100, "99%"),
        (199, 200, "99.5%"),
        (1, 1_000, "0.1%"),
        (1, 2_000, "0.1%"),
        (1, 2_001, "<0.1%"),
        (9_994, 10_000, "99.9%"),
        (9_995, 10_000, ">99.9%"),
        (999_999, 1_000_000, ">99.9%"),
        (3, 2, "150%"),
    ],
)
def test_a_share_keeps_its_decimals_only_where_rounding_would_lie(part: int, whole: int, text: str) -> None:
    assert formatting.share(part, whole) == text


@unhurried
@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_only_none_is_0_percent_and_only_all_is_100_percent(part: int, rest: int) -> None:
    assert formatting.share(part, part + rest) not in {"0%", "0.0%", "100%", "100.0%"}


@pytest.mark.parametrize(("number", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1_000, "1,000 runs")])
def test_it_counts_nouns(number: int, text: str) -> None:
    assert formatting.plural(number, "run") == text


RATE_LIMIT = (
    "Error code: 429 - {'type': 'error', 'error': {'type': 'rate_limit_error', 'message': 'This request would exceed"
    " your organization\\u2019s rate limit of 400,000 input tokens per minute'}}"
)
OVERLOADED = "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}"


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("", ""),
        (" \n\t ", ""),
        ("Request timed out.", "Request timed out"),
        ("Connecting...", "Connecting..."),
        ("peer closed connection", "Peer closed connection"),
        ("\n\n  First   line \nsecond line", "First line"),
        ("Traceback:\r\n  File x", "Traceback:"),
        (OVERLOADED, "Overloaded"),
        (RATE_LIMIT, "This request would exceed your organization’s rate limit of 400,000 input tokens per minute"),
        # The message holds an apostrophe, so Python quotes it with double quotes.
        ("""Error code: 400 - {'error': {'message': "It's too long: 5, or more"}}""", "It's too long: 5, or more"),
        ('{"error": {"message": "Invalid key.", "code": 401}}', "Invalid key"),
        ('{"message": "He said \\"hi\\", then left", "code": 1}', 'He said "hi", then left'),
        ("{'message': 'It\\'s \"so\"'}", 'It\'s "so"'),
        ('{"message": "first\\nsecond"}', "First"),
        # Cut by the source, at any place.
        ("Error code: 400 - {'error': {'message': 'prompt is too lo", "Prompt is too lo"),
        ("Error code: 400 - {'error': {'mess", "Error code: 400 - {'error': {'mess"),
        ("{'message': ''}", "{'message': ''}"),
        ("{'message': '  '}", "{'message': ' '}"),
        ("{'message': 5}", "{'message': 5}"),
        (".", "."),
        ("caf\\u00e9", "Café"),
        ("smile \\ud83d\\ude00", "Smile 😀"),
        ("half \\ud83d", "Half \\ud83d"),
        # An escape may not smuggle in what the door keeps out, nor turn the line around.
        ("nul \\u0000, bell \\u0007, bidi \\u202e", "Nul \\u0000, bell \\u0007, bidi \\u202e"),
        ("<script>window.x=1</script>", "<script>window.x=1</script>"),
    ],
)
def test_the_title_of_an_error_is_the_sentence_a_person_would_quote(message: str, title: str) -> None:
    assert formatting.error_title(message) == title


@unhurried
@given(st.text(st.sampled_from("mesag:' \"{},.\\u0d8\n\x1f") | st.characters(), max_size=60))
def test_an_error_that_says_something_has_a_title_of_one_storable_line(message: str) -> None:
    title = formatting.error_title(message)
    assert bool(title) == bool(message.strip())
    assert len(title.splitlines()) <= 1
    assert title == title.strip()
    assert "\x00" not in title or "\x00" in message


def test_a_title_is_found_in_a_megabyte_without_waiting() -> None:
    for hostile in ("'message': '" * 80_000, "'message':" + " " * 10**6, "'message': \"" + "\\" * 10**6, "'" * 10**6):
        assert formatting.error_title(hostile)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (OVERLOADED, "529"),
        ("HTTP 404 Not Found", "404"),
        ("status: 503", "503"),
        ("error CODE: 400 - x", "400"),
        ("Error code: 5291", ""),
        ("Error code: x", ""),
        ("got HTTP 404", ""),
        ("", ""),
    ],
)
def test_it_reads_the_code_an_error_begins_with(message: str, code: str) -> None:
    assert formatting.error_code(message) == code


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (13, 73, "17.8"),
        (0, 5, "0"),
        (3, 2, "150.0"),
        (1, 4_000, "<0.1"),
        (1, 1_000, "0.1"),
        (99, 1, "9,900.0"),
        (1, 0, "–"),
    ],
)
def test_a_rate_for_every_hundred_never_rounds_something_to_nothing(part, whole, text):
    assert formatting.per_100(part, whole) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("4.234", "+$4.23"), ("-0.59", "−$0.59"), ("0", "$0"), ("0.004", "+<$0.01"), ("-0.004", "−<$0.01")],
)
def test_a_difference_in_money_has_a_sign_and_never_rounds_to_nothing(value, text):
    assert formatting.usd_change(Decimal(value)) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("0.174", "+17%"),
        ("-0.08", "−8%"),
        ("0.004", "+0.4%"),
        ("-0.0001", "±0%"),
        ("0", "±0%"),
        ("12.5", "+1,250%"),
        ("-1", "−100%"),
        ("1", "+100%"),
        # All but nothing is not all.
        ("-0.998", "−99.8%"),
        ("-0.9997", "−>99.9%"),
        ("0.994", "+99.4%"),
        ("1.004", "+100.4%"),
        ("1.0002", "+>100%"),
        ("-0.99", "−99%"),
        ("1.01", "+101%"),
        (None, "–"),
    ],
)
def test_a_relative_difference_is_told_from_none(part, text):
    assert formatting.change(part if part is None else Decimal(part)) == text


@pytest.mark.parametrize(("part", "text"), [("0.0184", "1.8%"), ("0", "0.0%"), ("1", "100.0%"), ("-0.0125", "−1.2%")])
def test_a_part_that_stands_beside_another_keeps_a_decimal(part, text):
    assert formatting.percent(Decimal(part)) == text


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (None, 2, "–"),
        (Decimal("0.895"), 2, "0.90"),
        (Decimal(0), 2, "0.00"),
        (Decimal("0.004"), 2, "<0.01"),
        (Decimal("1234.5"), 0, "1,235"),
    ],
)
def test_a_ratio_never_rounds_something_to_nothing(value, places, text):
    assert formatting.ratio(value, places) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1.0, "p = 1.00"),
        (0.36666, "p = 0.37"),
        (0.0952, "p = 0.10"),
        (0.0484, "p = 0.048"),
        (0.0499, "p = 0.0499"),
        (0.0501, "p = 0.0501"),
        (0.0004, "p < 0.001"),
        (0.0, "p < 0.001"),
    ],
)
def test_p_values_are_rounded_but_never_across_the_limit(p, text):
    assert formatting.p_value(p) == text


@pytest.mark.parametrize(
    ("since", "until", "text"),
    [
        (None, None, "All time, UTC"),
        ("2026-08-25", None, "25 Aug – 22 Nov 2026, UTC"),
        ("2026-11-16", "2026-11-23", "16 – 22 Nov 2026, UTC"),
        ("2025-12-30", "2026-01-03", "30 Dec 2025 – 2 Jan 2026, UTC"),
        ("2025-11-16", None, "16 Nov 2025 – 22 Nov 2026, UTC"),
        ("2026-10-02", "2026-10-03", "Fri 2 Oct 2026, UTC"),
        ("2026-11-22", None, "Sun 22 Nov 2026, UTC"),
        # A window that lies ahead begins on its first day and not on this one.
        ("2026-12-01", None, "Tue 1 Dec 2026, UTC"),
        (None, "2026-10-03", "Until 2 Oct 2026, UTC"),
        ("2026-11-21T13:30", None, "From Sat 21 November 2026, 13:30:00 UTC"),
        (
            "2026-11-07T03:00",
            "2026-11-08",
            "From Sat 7 November 2026, 03:00:00 UTC until Sun 8 November 2026, 00:00:00 UTC",
        ),
    ],
)
def test_a_window_of_whole_days_is_named_as_short_as_it_can_be(since, until, text):
    edges = [moment and datetime.fromisoformat(moment).replace(tzinfo=UTC) for moment in (since, until)]
    assert formatting.stretch(*edges, datetime(2026, 11, 22, 13, 30, tzinfo=UTC), UTC) == text


def test_the_days_of_a_window_are_those_of_its_zone_across_a_clock_change():
    zone = ZoneInfo("America/New_York")
    since, until = (datetime(2026, 11, day, tzinfo=zone).astimezone(UTC) for day in (1, 3))
    now = datetime(2026, 11, 3, 3, 0, tzinfo=UTC)
    assert formatting.stretch(since, until, now, zone) == "1 – 2 Nov 2026, America/New_York"
    # It is the third in UTC, and still the second there.
    assert formatting.stretch(since, None, now, zone) == "1 – 2 Nov 2026, America/New_York"
