"""The Runs lens, as a page and as the fragment that htmx swaps."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from urllib.parse import quote, urlencode

import html5lib
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from layer_runs.models import LayerRun, Status
from layer_runs.tables import LayerRunTable
from layer_runs.tests.factories import LayerRunFactory

SORTS = [
    f"{sign}{name}" for name, column in LayerRunTable.base_columns.items() if column.orderable for sign in ("", "-")
]
BAD_VALUES = [
    ("status", "status=bogus"),
    ("period", "period=fortnight"),
    ("period", "period=7D"),
    ("since", "since=garbage"),
    ("since", "since=2026-13-45"),
    ("until", "until=yesterday"),
    ("until", "since=2020-01-02&until=2020-01-01&period=all"),
    ("q", f"q={'x' * 201}"),
]


def ids(runs) -> list[str]:
    return [run.pk for run in runs]


def many(count: int, **fields) -> list[LayerRun]:
    return LayerRun.objects.bulk_create(LayerRunFactory.build_batch(count, **fields))


# -- what it shows


def test_it_shows_in_a_row_when_a_run_was_what_it_made_and_what_it_cost(get):
    run = LayerRunFactory(status="partial", targets_processed=8, targets_skipped=2, insights_created=1234)
    answer = get()
    assert answer.run_ids == [run.pk]
    row = answer.row(run.pk)
    for text in ("1 hour ago", run.layer_name, "partial", "8 of 10", "2 failed", "1,234", "58,839", "$0.179", "1m 30s"):
        assert text in row
    (moment,) = answer.all("tr[@data-run-id]//time")
    assert datetime.fromisoformat(moment.get("datetime")) == run.started_at
    assert moment.get("title") == f"{run.started_at.astimezone(UTC):%a %-d %B %Y, %H:%M:%S} UTC"


def test_it_calls_out_the_first_error_and_counts_the_rest(get):
    run = LayerRunFactory(failing=True)
    assert "Connection error, reflect, and 9 more" in get().row(run.pk)


def test_it_never_calls_a_cost_nothing(get):
    tiny = LayerRunFactory(estimated_cost_usd="0.000001")
    free = LayerRunFactory(estimated_cost_usd="0")
    unpriced = LayerRunFactory(estimated_cost_usd=None, unpriced_tokens=5)
    unknown = LayerRunFactory(estimated_cost_usd=None)
    mixed = LayerRunFactory(estimated_cost_usd="1", unpriced_tokens=5)
    answer = get()
    cells = {pk: answer.text(f"tr[@data-run-id='{pk}']/td[@class='lr-n lr-c-cost']") for pk in answer.run_ids}
    assert cells == {
        tiny.pk: "<$0.001",
        free.pk: "$0",
        unpriced.pk: "unpriced",
        unknown.pk: "–",
        mixed.pk: "$1.000+ unpriced",
    }


def test_it_says_that_a_cost_is_an_estimate(get):
    LayerRunFactory()
    assert "estimate" in get().text()


def test_it_names_itself_once(staff_client, dom):
    page = dom(staff_client.get(reverse("layer_runs:list")))
    assert page.texts("h1") == ["Layer runs"]
    assert page.text("title").startswith("Layer runs |")


def test_it_puts_a_badge_on_each_run_and_nowhere_else(get):
    run, other = LayerRunFactory(), LayerRunFactory(status="exploded")
    badges = get().all("*[@data-status]")
    assert [badge.get("data-status") for badge in badges] == [other.pk and "exploded", run.status]
    assert all("lr-badge" in badge.get("class") for badge in badges)


def test_it_says_how_long_a_running_run_gave_no_sign_of_life(get):
    quiet = LayerRunFactory(under_way=True, ago=timedelta(hours=3))
    lively = LayerRunFactory(under_way=True, ago=timedelta(hours=3), heartbeat_at=timezone.now())
    answer = get()
    assert "no sign of life for 3 hours" in answer.row(quiet.pk)
    assert "no sign of life" not in answer.row(lively.pk)


def test_it_is_html_without_mistakes(get, odd_runs):
    source = get("?period=all&status=bogus&layer_name=wide&layer_name=raw").source
    parser = html5lib.HTMLParser()
    parser.parse(source)
    mistakes = [error for _where, error, _more in parser.errors if not error.startswith("expected-doctype")]
    assert mistakes == []


def test_it_gives_no_id_twice(get, odd_runs):
    given = [element.get("id") for element in get("?period=all").root.iter() if element.get("id")]
    assert len(given) == len(set(given))


# -- the filters


def test_it_filters_by_layer(get):
    wanted, _other = LayerRunFactory(layer_name="channel-speak"), LayerRunFactory()
    answer = get("?layer_name=channel-speak")
    assert answer.run_ids == [wanted.pk]
    assert answer.total == answer.stats["total"] == "1"


@pytest.mark.parametrize("status", [*Status.values, "exploded"])
def test_it_filters_by_status(get, status):
    runs = {name: LayerRunFactory(status=name) for name in (*Status.values, "exploded")}
    answer = get(f"?status={status}")
    assert answer.run_ids == [runs[status].pk]
    assert answer.stats["total"] == "1"
    assert answer.alerts == {}


def test_it_takes_several_values_of_a_filter(get):
    a, b, _c = (LayerRunFactory(layer_name=name, status=name, model_name=name) for name in ("a", "b", "c"))
    for name in ("layer_name", "status", "model_name"):
        assert set(get(f"?{name}=a&{name}=b").run_ids) == {a.pk, b.pk}


def test_it_combines_filters(get):
    wanted = LayerRunFactory(layer_name="a", failing=True)
    LayerRunFactory(layer_name="a")
    LayerRunFactory(layer_name="b", failing=True)
    assert get("?layer_name=a&status=failed&q=connection").run_ids == [wanted.pk]


def test_it_finds_no_runs_of_an_unknown_layer_and_says_so_without_an_alarm(get):
    LayerRunFactory()
    answer = get("?layer_name=nobody")
    assert answer.run_ids == []
    assert answer.alerts == {}
    assert "No runs match" in answer.text()


def test_it_offers_a_source_only_where_there_are_several(staff_client, dom):
    LayerRunFactory(source="one")
    url = reverse("layer_runs:list")
    assert dom(staff_client.get(url)).all("input[@name='source']") == []
    two = LayerRunFactory(source="two")
    assert len(dom(staff_client.get(url)).all("input[@name='source']")) == 2
    assert dom(staff_client.get(f"{url}?source=two")).run_ids == [two.pk]


def test_it_checks_the_boxes_of_the_filters_in_force(staff_client, dom):
    LayerRunFactory(layer_name="a", failing=True)
    LayerRunFactory(layer_name="b")
    page = dom(staff_client.get(reverse("layer_runs:list") + "?layer_name=a&status=failed&period=30d&q=%20Conn%20"))
    checked = {(box.get("name"), box.get("value")) for box in page.all("input[@checked]")}
    assert checked == {("layer_name", "a"), ("status", "failed"), ("period", "30d")}
    assert page.one("input[@name='q']").get("value").strip() == "Conn"


# -- time


def test_it_shows_seven_days_cut_at_midnight_where_the_site_is(get, midnight_in_new_york):
    edge = datetime(2026, 6, 8, 4, tzinfo=UTC)  # midnight of 8 June in New York
    inside = LayerRunFactory(started_at=edge)
    LayerRunFactory(started_at=edge - timedelta(microseconds=1))
    answer = get()
    assert answer.run_ids == [inside.pk]
    assert answer.total == "1"
    assert re.search(r"8 – 14 Jun 2026\b.{0,20}\bAmerica/New_York", answer.text())


def test_it_has_no_upper_edge_so_a_run_from_the_future_is_listed(get):
    run = LayerRunFactory(ago=timedelta(minutes=-10, seconds=-30))
    assert "in 10 minutes" in get().row(run.pk)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("period=24h", "a b c"),
        ("period=30d", "a b c"),
        ("period=all", "a b c old"),
        ("since=2026-06-14", "b c"),
        ("since=2026-06-14T04:00", "b c"),
        ("since=2026-06-14T04:00:00.000001", "c"),
        ("since=2026-06-14T08:00%2B00:00", "b c"),
        ("until=2026-06-14T04:00", "a old"),
        ("until=2026-06-14T04:00:00.000001", "a b old"),
        ("until=2026-06-13", "a old"),
        ("until=2026-06-14", "a b c old"),
        ("since=2026-06-14&until=2026-06-14", "b c"),
        ("since=2026-06-14&period=24h", "b c"),
        ("until=2026-06-13&period=24h", "a old"),
        ("until=9999-12-31T23:59:59-12:00", "a b c old"),
        ("since=0001-01-01T00:00:00%2B14:00", "a b c old"),
    ],
)
def test_q11_it_reads_a_range_as_its_first_instant_to_the_one_after_its_last(
    get, midnight_in_new_york, query, expected
):
    for name, moment in {
        "old": "2020-01-01T00:00:00+00:00",
        "a": "2026-06-14T03:59:59.999999+00:00",  # the last instant of 13 June in New York
        "b": "2026-06-14T08:00:00+00:00",
        "c": "2026-06-15T03:00:00+00:00",
    }.items():
        LayerRunFactory(id=name, started_at=datetime.fromisoformat(moment))
    answer = get(f"?{query}")
    assert sorted(answer.run_ids) == expected.split()
    assert answer.alerts == {}


def test_it_marks_no_period_as_taken_when_a_range_is_in_force(staff_client, dom):
    page = dom(staff_client.get(reverse("layer_runs:list") + "?since=2026-01-01&period=30d"))
    assert [box for box in page.all("input[@name='period']") if box.get("checked") is not None] == []
    assert page.one("input[@name='since']").get("value") == "2026-01-01"


# -- mistakes


@pytest.mark.parametrize(("field", "query"), BAD_VALUES)
def test_q09_it_leaves_a_bad_filter_out_and_says_so(get, field, query):
    runs = [LayerRunFactory(), LayerRunFactory(failing=True)]
    answer = get(f"?{query}")
    assert set(answer.run_ids) == set(ids(runs))
    assert list(answer.alerts) == [field]
    assert "This filter was left out." in answer.alerts[field]
    assert answer.chips.keys() <= {"From 2020-01-02"}


def test_q09_it_keeps_the_other_filters_when_one_is_bad(get):
    wanted = LayerRunFactory(failing=True)
    LayerRunFactory()
    answer = get("?status=failed&since=garbage&layer_name=nightly-user-reflection")
    assert answer.run_ids == [wanted.pk]
    assert set(answer.chips) == {"Status failed", "Layer nightly-user-reflection"}
    assert "garbage" in answer.alerts["since"]


def test_q09_it_says_a_bad_value_as_text(get):
    LayerRunFactory()
    answer = get(f"?status={quote('<script>x()</script>')}&since={quote('<img src=x>')}")
    assert set(answer.alerts) == {"status", "since"}
    assert answer.live_parts == []


@pytest.mark.parametrize("value", ["0", "-5", "abc", "", "21", "1000000", "9" * 30, "20.0", "٢٠"])
def test_q01_q02_q03_it_takes_page_sizes_from_a_list_only(get, value):
    many(21)
    answer = get(f"?per_page={value}")
    assert len(answer.run_ids) == 20
    assert answer.alerts == {}
    assert not [link for link in answer.links if "per_page" in link]


@pytest.mark.parametrize("size", [50, 100])
def test_it_shows_as_many_rows_as_asked_for_from_the_list(get, query_of, size):
    many(101)
    answer = get(f"?per_page={size}")
    assert len(answer.run_ids) == size
    assert query_of(answer.link("Next")) == {"per_page": [str(size)], "page": ["2"], "after": [answer.run_ids[-1]]}


@pytest.mark.parametrize(
    "value", ["nope", "--status", "--tokens", "-", "?", "", "layer_name__x", "errors", "status", "layer_name"]
)
def test_q05_it_sorts_by_its_own_columns_only(get, query_of, value):
    runs = [LayerRunFactory(ago=timedelta(hours=hours)) for hours in (1, 2, 3)]
    answer = get(f"?sort={value}")
    assert answer.run_ids == ids(runs)
    assert answer.alerts == {}
    assert not [link for link in answer.links if value and query_of(link).get("sort") == [value]]


def test_q06_it_takes_one_sort_key_however_many_are_given(get):
    many(21)
    answer = get("?" + urlencode([("sort", sort) for sort in SORTS * 30]))
    assert max(map(len, answer.links)) < 200


@pytest.mark.parametrize(
    ("value", "page"),
    [
        ("0", 1),
        ("-1", 1),
        ("abc", 1),
        ("1.5", 1),
        ("4", 3),
        ("999999", 3),
        ("9" * 5000, 3),
        ("-" + "9" * 5000, 1),
    ],
)
def test_q04_it_goes_to_the_nearest_page_and_says_so(get, value, page):
    runs = many(45)
    answer = get(f"?page={value}")
    assert answer.run_ids == ids(LayerRun.objects.newest_first())[20 * page - 20 : 20 * page]
    assert f"this is page {page} of 3" in answer.alerts["page"]
    assert answer.total == str(len(runs))
    assert len(answer.alerts["page"]) < 120


@pytest.mark.parametrize("query", ["", "?page=1", "?page=2", "?page="])
def test_it_gives_no_notice_for_a_page_there_is(get, query):
    many(21)
    assert get(query).alerts == {}


def test_q23_it_ignores_unknown_parameters_and_does_not_carry_them_on(get):
    run = LayerRunFactory()
    answer = get("?_connector=OR&status[]=failed&evil=1&pk=x&errors__contains=a&q=")
    assert answer.run_ids == [run.pk]
    assert answer.alerts == {}
    for link in answer.links:
        assert not re.search("evil|_connector|status%5B|pk=|errors__", link), link


def test_q17_it_refuses_more_parameters_than_a_form_has(staff_client):
    assert staff_client.get(reverse("layer_runs:list") + "?" + "a=1&" * 1100).status_code == 400


def test_q15_it_refuses_what_is_no_text_in_any_parameter(get):
    LayerRunFactory()
    for value in ("%00", "a%00b", "%ff%fe", "%ed%a0%80", "%F0%9F"):
        for name in ("layer_name", "status", "q", "since", "model_name", "source", "page", "per_page", "sort", "evil"):
            assert "NUL" in get(f"?{name}={value}", status=400).source


def test_it_answers_hundreds_of_values_of_a_filter_with_a_page_of_a_bounded_size(get):
    runs = many(20)
    answer = get("?" + urlencode([("layer_name", f"layer-{n}") for n in range(350)]))
    assert len(answer.source) < 1_000_000
    assert "No more than 50 values" in answer.alerts["layer_name"]
    assert answer.total == str(len(runs))
    fifty = get("?" + urlencode([("layer_name", runs[0].layer_name), *(("layer_name", f"{n:20}") for n in range(49))]))
    assert fifty.alerts == {}
    assert fifty.total == str(len(runs))
    assert len(fifty.source) < 500_000


def test_it_leaves_out_a_value_longer_than_any_there_is(get):
    run = LayerRunFactory()
    answer = get(f"?layer_name={'x' * 201}&model_name={'x' * 7_000}")
    assert set(answer.alerts) == {"layer_name", "model_name"}
    assert answer.run_ids == [run.pk]
    assert len(answer.source) < 200_000


# -- search


@pytest.mark.parametrize(
    ("text", "decoy"),
    [
        ("100%", "100 percent"),
        ("snake_case", "snakeXcase"),
        ("it's", "its"),
        ("C:\\temp\\", "C:temp"),
        ('"quoted"', "quoted"),
        ("[a-z]*", "abc"),
        ("ÄRGER", "ARGER"),
    ],
)
def test_q22_it_searches_literally_in_errors_topics_and_nodes(get, text, decoy):
    error = {"topic": "t", "error": "e", "node": "n"}
    found = [LayerRunFactory(errors=[error, error | {where: f"before {text} after"}]) for where in error]
    for where in error:
        LayerRunFactory(errors=[error | {where: f"before {decoy} after"}])
    assert set(get(f"?q={quote(text)}").run_ids) == set(ids(found))


def test_it_searches_in_ids_and_without_regard_to_the_case_of_ascii(get):
    run = LayerRunFactory(id="zos:AbC_1")
    LayerRunFactory(id="zos:AbCx1")
    assert get("?q=aBc_1").run_ids == [run.pk]


def test_it_finds_a_run_once_however_many_of_its_errors_match(get):
    run = LayerRunFactory(failing=True)
    answer = get("?q=connection")
    assert answer.run_ids == [run.pk]
    assert answer.total == "1"


def test_it_searches_in_the_period_of_the_selection_only(get):
    old = LayerRunFactory(failing=True, ago=timedelta(days=20))
    assert get("?q=connection").run_ids == []
    assert get("?q=connection&period=30d").run_ids == [old.pk]


def test_it_looks_at_ids_only_for_those_who_may_not_see_details(get, blind_client):
    run = LayerRunFactory(id="abc", failing=True)
    for text in ("connection", "server:1", "reflect"):
        answer = get(f"?q={text}", client=blind_client)
        assert answer.run_ids == []
        assert answer.total == answer.stats["total"] == "0"
    assert get("?q=abc", client=blind_client).run_ids == [run.pk]


# -- cards


@pytest.mark.parametrize(
    "query", ["", "?layer_name=a", "?status=failed", "?period=all", "?q=connection", "?status=odd"]
)
def test_its_cards_always_describe_the_selection(get, query):
    for name, ago in product("ab", (1, 300)):
        LayerRunFactory(layer_name=name, ago=timedelta(hours=ago))
        LayerRunFactory(layer_name=name, ago=timedelta(hours=ago), failing=True)
        LayerRunFactory(layer_name=name, ago=timedelta(hours=ago), status="odd", estimated_cost_usd=None)
    answer = get(f"{query or '?'}&per_page=100")
    shown = LayerRun.objects.in_bulk(answer.run_ids).values()
    assert answer.total == answer.stats["total"] == str(len(shown))
    assert answer.stats["failed"] == str(sum(run.status == "failed" for run in shown))
    assert answer.stats["other"] == str(sum(run.status == "odd" for run in shown))
    assert Decimal(answer.stats["cost"]) == sum((run.estimated_cost_usd or 0 for run in shown), Decimal(0))


def test_its_cards_count_all_pages_and_not_the_one_that_is_shown(get):
    many(25)
    answer = get("?page=2")
    assert len(answer.run_ids) == 5
    assert answer.stats["total"] == answer.total == "25"
    assert answer.stats["insights"] == "250"


def test_a_card_leads_to_the_runs_it_counts(get, staff_client, dom):
    for status, count in {"failed": 3, "success": 2}.items():
        LayerRunFactory.create_batch(count, status=status, layer_name="a")
        LayerRunFactory(status=status, layer_name="b")
    answer = get("?layer_name=a")
    for card in answer.all("a[@data-stat]"):
        there = dom(staff_client.get(card.get("href")))
        assert there.total == card.get("data-value")
        assert "layer_name=a" in card.get("href")


# -- sorting and pages


def crowd() -> set[str]:
    """Runs that are all alike to a sort: same moments, equal keys, and some without any."""
    moment = timezone.now() - timedelta(hours=1)
    empty = {"tokens_total": None, "tokens_input": None, "tokens_output": None, "estimated_cost_usd": None}
    return {
        *ids(many(15, started_at=moment)),
        *ids(many(15, started_at=moment, completed_at=None, **empty)),
        *ids(many(15, ago=timedelta(hours=2), tokens_total=0, estimated_cost_usd="0")),
    }


@pytest.mark.parametrize("sort", SORTS)
def test_q07_pagination_works_the_union_of_all_pages_is_every_run_once(get, staff_client, dom, sort):
    everyone = crowd()
    answer = get(f"?sort={sort}")
    seen = answer.run_ids
    backwards = []
    while answer.all("a[@rel='next']"):
        answer = dom(staff_client.get(answer.link("Next")))
        seen += answer.run_ids
        backwards.append(answer.link("Previous"))
    assert len(backwards) == 2
    assert len(seen) == len(everyone)
    assert set(seen) == everyone
    assert dom(staff_client.get(backwards[-1])).run_ids == seen[20:40]


@pytest.mark.parametrize(("name", "field"), [("tokens", "tokens_total"), ("cost", "estimated_cost_usd")])
@pytest.mark.parametrize("descending", [False, True])
def test_it_sorts_by_a_column_with_empty_values_last_both_ways(get, name, field, descending):
    crowd()
    LayerRunFactory(tokens_total=7, estimated_cost_usd="0.000000007")
    answer = get(f"?per_page=100&sort={'-' if descending else ''}{name}")
    values = [getattr(LayerRun.objects.in_bulk(answer.run_ids)[pk], field) for pk in answer.run_ids]
    known = [value for value in values if value is not None]
    assert values[len(known) :] == [None] * 15
    assert known == sorted(known, reverse=descending)
    assert len(set(known)) == 3


def test_it_says_which_column_is_sorted_and_how(get, query_of):
    LayerRunFactory()
    for query, heading, direction, following in [
        ("", "Started", "descending", {"sort": ["started_at"]}),
        ("?sort=started_at", "Started", "ascending", {}),
        ("?sort=-cost", "Cost", "descending", {"sort": ["cost"]}),
        ("?sort=cost", "Cost", "ascending", {"sort": ["-cost"]}),
    ]:
        answer = get(query)
        (head,) = answer.all("th[@aria-sort]")
        assert (answer.text(head), head.get("aria-sort")) == (heading, direction)
        assert query_of(head.find(".//a").get("href")) == following


@pytest.mark.parametrize(
    ("query", "text"),
    [("", "1–20 of 25, newest first"), ("?page=2", "21–25 of 25"), ("?per_page=50&sort=cost", "1–25 of 25")],
)
def test_it_says_which_of_how_many_are_shown(get, query, text):
    many(25)
    assert text in get(query).text("nav[@aria-label='Pages']/p")


def test_it_offers_no_page_beyond_the_first_and_the_last(get):
    many(25)
    assert get().all("a[@rel='prev']") == []
    assert get("?page=2").all("a[@rel='next']") == []


# -- chips and links


def test_a_chip_takes_exactly_its_own_part_away(get, staff_client, dom, query_of):
    given = {
        "layer_name": ["a & b", "c"],
        "status": ["failed"],
        "since": ["2020-01-01"],
        "until": ["2200-01-01"],
        "q": ["x=1&y"],
        "sort": ["cost"],
    }
    answer = get("?" + urlencode(given, doseq=True) + "&page=3")
    assert set(answer.chips) == {
        *("Layer a & b", "Layer c", "Status failed", "From 2020-01-01", "Until 2200-01-01", "Search x=1&y"),
    }
    for chip, url in answer.chips.items():
        left = {name: [value for value in values if not chip.endswith(f" {value}")] for name, values in given.items()}
        assert query_of(url) == {name: values for name, values in left.items() if values}
        assert set(dom(staff_client.get(url)).chips) == set(answer.chips) - {chip}
    assert query_of(answer.link("clear")) == {"sort": ["cost"]}


def test_its_links_keep_the_selection_and_drop_the_page(get, query_of):
    many(45, layer_name="a", source="s")
    selection = {"layer_name": ["a"], "status": ["success"], "source": ["s"], "period": ["30d"], "q": ["0"]}
    answer = get("?" + urlencode(selection | {"page": ["2"], "per_page": ["20"], "sort": ["-tokens"]}, doseq=True))
    for link in answer.all("thead//a"):
        assert query_of(link.get("href")).items() >= selection.items()
        assert "page" not in query_of(link.get("href"))
    for chip in answer.chips.values():
        assert "page" not in query_of(chip)
        assert query_of(chip)["sort"] == ["-tokens"]


def test_its_links_are_links_before_they_are_requests_of_htmx(get):
    many(45, failing=True)
    for element in get("?layer_name=nightly-user-reflection").all("*[@hx-get]"):
        # In a chart an SVG's own link.
        if element.tag.rpartition("}")[2] == "a":
            assert element.get("href") == element.get("hx-get")
        else:
            assert element.tag in ("form", "input")


def test_its_tools_take_the_selection_along(staff_client, dom, query_of):
    LayerRunFactory(failing=True)
    page = dom(staff_client.get(reverse("layer_runs:list") + "?status=failed&sort=cost&period=30d"))
    for name in ("CSV", "JSON lines", "Admin"):
        assert query_of(page.link(name)).items() >= {"status": ["failed"], "period": ["30d"]}.items()


def test_its_form_carries_the_sort_and_the_page_size_on(get):
    LayerRunFactory()
    hidden = get("?sort=cost&per_page=50&evil=1").all("input[@type='hidden'][@form='run-filters']")
    assert {box.get("name"): box.get("value") for box in hidden} == {"sort": "cost", "per_page": "50"}


# -- nothing to show


def test_it_says_how_to_get_runs_in_when_there_are_none(get):
    answer = get("?status=failed")
    assert "No runs yet" in answer.text()
    assert "import_zos" in answer.text()
    assert "No runs match" not in answer.text()
    assert set(answer.stats.values()) == {"0"}
    assert answer.total == "0"


def test_it_says_how_to_widen_a_selection_that_holds_nothing(get, staff_client, dom, query_of):
    LayerRunFactory.create_batch(3, ago=timedelta(days=20))
    LayerRunFactory(ago=timedelta(days=20), failing=True)
    answer = get()
    assert "No runs match" in answer.text()
    assert "No runs yet" not in answer.text()
    url = answer.link("4 earlier runs: show all")
    assert query_of(url) == {"period": ["all"]}
    assert dom(staff_client.get(url)).total == "4"


def test_it_counts_the_runs_behind_each_way_on(get, staff_client, dom):
    LayerRunFactory.create_batch(2, layer_name="a")
    LayerRunFactory(layer_name="b", failing=True)
    LayerRunFactory(layer_name="a", failing=True, ago=timedelta(days=20))
    answer = get("?layer_name=a&status=failed")
    ways = {text: answer.link(text) for text in answer.texts("ul[@class='lr-ways']//a") if text[0].isdigit()}
    assert list(ways) == [
        "1 earlier run: show all",
        "2 runs: any status, same period",
        "3 runs: no filter, same period",
    ]
    for text, url in ways.items():
        assert dom(staff_client.get(url)).total == text.split()[0]


def test_it_says_other_runs_and_not_earlier_ones_beside_a_range_with_an_end(get, query_of):
    LayerRunFactory()
    answer = get("?until=2020-01-01")
    assert query_of(answer.link("1 other run: show all")) == {"period": ["all"]}


def test_it_admits_that_nothing_can_be_found_by_widening(get):
    LayerRunFactory()
    answer = get("?layer_name=nobody&period=all")
    assert "1 run: no filter, same period" in answer.text()


# -- htmx


def test_it_sends_only_the_results_to_a_request_that_names_them(staff_client):
    answer = staff_client.get(reverse("layer_runs:list"), headers={"HX-Request": "true", "HX-Target": "run-results"})
    assert answer.content.strip().startswith(b'<section id="run-results"')
    assert b"<html" not in answer.content
    assert b"<form" not in answer.content


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"HX-Request": "true"},
        {"HX-Request": "true", "HX-Target": "run-stats"},
        {"HX-Request": "true", "HX-Target": "somewhere-else"},
        {"HX-Target": "run-results"},
        {"HX-Request": "true", "HX-Target": "run-results", "HX-Boosted": "true"},
        {"HX-Request": "true", "HX-Target": "run-results", "HX-History-Restore-Request": "true"},
    ],
    ids=lambda headers: " ".join(headers.keys() | headers.values()) or "none",
)
def test_a09_it_sends_the_whole_page_to_every_other_request(staff_client, headers):
    answer = staff_client.get(reverse("layer_runs:list"), headers=headers)
    assert b"<html" in answer.content
    assert b'id="run-results"' in answer.content


def test_a07_a08_it_varies_on_what_its_answer_depends_on(get):
    varies = {name.strip() for name in get().response["Vary"].split(",")}
    assert varies >= {"Cookie", "HX-Request", "HX-Target", "HX-History-Restore-Request"}


@pytest.mark.parametrize(
    ("asked", "understood"),
    [
        ("", ""),
        ("?period=7d&per_page=20&sort=-started_at&page=1&q=&since=&evil=1", ""),
        (
            "?status=failed&status=failed&layer_name=b&layer_name=a&q=+x+",
            "?layer_name=b&layer_name=a&status=failed&q=x",
        ),
        ("?since=garbage&status=bogus&period=30d", "?period=30d"),
        ("?since=2026-11-01&period=30d", "?since=2026-11-01"),
        ("?sort=nope&per_page=7&page=0", ""),
        ("?sort=cost&per_page=20&page=2", "?sort=cost&page=2"),
        ("?page=99", "?page=3"),
    ],
)
def test_it_pushes_the_address_as_it_was_understood(staff_client, asked, understood):
    many(45)
    url = reverse("layer_runs:list")
    if "status" in asked or "since=2026" in asked:
        LayerRun.objects.all().delete()
    answer = staff_client.get(url + asked, headers={"HX-Request": "true", "HX-Target": "run-results"})
    assert answer["HX-Push-Url"] == url + understood


def test_it_pushes_no_address_to_a_plain_request(staff_client):
    assert "HX-Push-Url" not in staff_client.get(reverse("layer_runs:list") + "?page=1").headers


# -- what it costs


@pytest.mark.parametrize("query", ["", "?status=failed&layer_name=nightly-user-reflection&q=connection&sort=cost"])
def test_it_costs_as_many_queries_for_a_hundred_rows_as_for_one(get, django_assert_num_queries, query):
    LayerRunFactory(failing=True)
    with CaptureQueriesContext(
        connection,
    ) as one:
        get(f"{query or '?'}&per_page=100")
    many(99, failing=True)
    with django_assert_num_queries(len(one)):
        answer = get(f"{query or '?'}&per_page=100")
    assert len(answer.run_ids) == 100
    # Session, user, permissions twice, then the totals, the ends of time and the timeline, two each, and the rows;
    # a page has its four menus besides, their values and their counts, and the layers to leave out.
    assert len(one) <= (22 if get.is_page else 11)


@pytest.mark.parametrize("query", ["", "?q=connection&status=failed&sort=-duration"])
def test_d24_it_never_reads_the_errors_of_the_runs_it_lists(get, query):
    LayerRunFactory(failing=True)
    with CaptureQueriesContext(connection) as queries:
        assert len(get(query).run_ids) == 1
    table = LayerRun._meta.db_table
    read = [query["sql"] for query in queries if table in query["sql"]]
    assert read
    assert not [sql for sql in read if f'"{table}"."errors"' in sql or f'"{table}"."notes"' in sql]


def test_d24_it_stays_small_however_much_its_runs_have_to_say(get):
    many(20, errors=[{"topic": "t" * 10_000, "error": "x" * 100_000, "node": "n"}])
    assert len(get().source) < 300_000


# -- odd rows


def test_d_it_lists_every_odd_row_among_the_good_ones(get, odd_runs):
    good = LayerRunFactory()
    answer = get("?per_page=100&period=all")
    assert set(answer.run_ids) == {good.pk, *odd_runs}
    assert answer.live_parts == []


def test_d21_it_shows_an_unknown_status_as_it_is_and_counts_it_as_other(get, odd_runs, dom, staff_client):
    answer = get("?status=exploded")
    assert answer.run_ids == ["unknown"]
    assert (answer.stats["other"], answer.stats["total"]) == ("1", "1")
    assert "exploded" in answer.row("unknown")


@pytest.mark.parametrize(
    ("pk", "text"),
    [
        ("skewed", "clock skew (−5.0 s)"),
        ("future", "in 9 minutes"),
        ("silent", "no sign of life for 5 hours"),
        ("nothing", "(no name)"),
        ("text", "A bare text"),
        ("object", "An object and no list"),
        ("nulls", "An error without a message"),
        ("script", "<script>window.x=1</script>"),
        ("huge-figures", "1,000,000,000,000"),
        ("right-to-left", "🦀"),
    ],
)
def test_d08_d19_d20_it_says_what_is_odd_about_a_row(get, odd_runs, pk, text):
    assert text in get("?per_page=100&period=all").row(pk)


# -- the host's settings


def test_its_hooks_and_addresses_are_plain_numbers_whatever_the_language(get, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    settings.LANGUAGE_CODE = "de"
    many(1001, insights_created=1000, tokens_total=2_000_000, estimated_cost_usd="1.5")
    answer = get("?page=51")
    assert answer.total == answer.stats["total"] == answer.stats["success"] == "1001"
    assert answer.stats["insights"] == "1001000"
    assert answer.stats["tokens"] == "2002000000"
    assert Decimal(answer.stats["cost"]) == Decimal("1501.5")
    back = answer.one("a[@rel='prev']").get("href")
    assert back.endswith(f"page=50&before={answer.run_ids[0]}")


def test_the_link_of_a_row_is_the_address_of_its_run(get):
    run = LayerRunFactory(id="zos-1:a.b_c", layer_name="nightly")
    assert get("?status=success").link("nightly") == reverse("layer_runs:detail", args=[run.pk]) + "?status=success"
