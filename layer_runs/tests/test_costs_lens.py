"""What runs spent and on what: rows that add up to their runs, whatever those say."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from layer_runs.buckets import Bucket, buckets
from layer_runs.filters import LayerRunFilterSet
from layer_runs.lenses.compare.fields import cost_per_target
from layer_runs.lenses.costs import costs
from layer_runs.lenses.costs.cards import length
from layer_runs.lenses.costs.daily import daily
from layer_runs.lenses.costs.spending import BEYOND, CALLS, RUN, Spending, Sums, Use, spending, spending_before
from layer_runs.lenses.versions import versions
from layer_runs.models import LayerRun, LlmCall, RunUsage
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory
from layer_runs.windows import Window

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
HAIKU, SONNET = {"model_name": "haiku", "model_profile": "simple"}, {"model_name": "sonnet", "model_profile": "deep"}


def usd(text: str) -> Decimal:
    return Decimal(text)


def run(cost: str | None = "0", **fields) -> LayerRun:
    """A run that used nothing but what it is told, by default an hour ago."""
    nothing = {"tokens_input": 0, "tokens_output": 0, "tokens_total": 0, "started_at": NOW - timedelta(hours=1)}
    return LayerRunFactory(**(nothing | {"estimated_cost_usd": cost} | fields))


def called(*costs: str | None, tokens: tuple[int, int] = (100, 10), **fields) -> LayerRun:
    """A run with a call to the haiku for each of these costs, and figures that are the sums of its calls."""
    number = len(costs)
    some = {"tokens_input": tokens[0], "tokens_output": tokens[1], "tokens_total": sum(tokens)}
    whole = run(
        sum((usd(cost) for cost in costs if cost is not None), Decimal(0)),
        **{name: number * value for name, value in some.items()},
        unpriced_tokens=sum(tokens) * sum(cost is None for cost in costs),
        **fields,
    )
    LlmCall.objects.bulk_create(
        LlmCallFactory.build(
            run=whole, estimated_cost_usd=cost, topic=f"user:{place}", call_type="filter", **HAIKU, **some
        )
        for place, cost in enumerate(costs)
    )
    return whole


def selection(query: str = "period=7d") -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.for_list(), path="/costs/", now=NOW)


def cut(some: LayerRunFilterSet) -> list[Bucket]:
    return buckets(some.window, LayerRun.objects.started_bounds(), NOW, UTC)


def spent(query: str = "period=7d") -> Spending:
    some = selection(query)
    return spending(some.qs, cut(some))


def page(query: str = "period=7d", **options) -> dict:
    some = selection(query)
    return costs(some, cut(some), LayerRun.objects.started_bounds(), NOW, UTC, **options)


@pytest.fixture
def a_month() -> list[LayerRun]:
    """Runs of two months, four layers and every status: most with calls, some without, some that fail a target."""
    dice = random.Random(20261122)  # noqa: S311
    made = []
    for number in range(40):
        status = dice.choice(["success", "partial", "failed", "crashed", "dry", "exploded"])
        parts = (dice.randint(0, 9_000), dice.randint(0, 900))
        fields = {
            "layer_name": dice.choice(["a", "b", "c", "d"]),
            "status": status,
            "started_at": NOW - timedelta(hours=dice.randint(0, 60 * 24)),
            "insights_created": dice.randint(0, 5),
            "targets_processed": dice.randint(0, 5),
            "targets_skipped": dice.randint(0, 3),
            "errors": [{"topic": "user:0", "error": "Overloaded", "node": "reflect"}] if status == "partial" else [],
        }
        if number % 4:
            calls = [f"0.{dice.randint(0, 10**9 - 1):09}" for _call in range(dice.randint(1, 3))]
            made.append(called(*calls, tokens=parts, **fields))
        else:
            own = {"tokens_input": parts[0], "tokens_output": parts[1], "tokens_total": sum(parts)}
            made.append(run(f"0.{dice.randint(0, 10**9 - 1):09}", **own, **fields, **dice.choice([HAIKU, SONNET])))
    return made


# -- the truth of money


def sums_of_runs(runs) -> Sums:
    return Sums(
        calls=sum(LlmCall.objects.filter(run=each).count() for each in runs),
        tokens_input=sum(each.tokens_input for each in runs),
        tokens_output=sum(each.tokens_output for each in runs),
        tokens=sum(each.tokens_total for each in runs),
        cost=sum((usd(str(each.estimated_cost_usd)) for each in runs), Decimal(0)),
        unpriced=sum(each.unpriced_tokens for each in runs),
    )


@pytest.mark.parametrize("query", ["period=30d", "period=all", "period=30d&status=partial", "period=all&layer_name=b"])
def test_every_way_to_break_spending_down_adds_up_to_the_runs(a_month, query):
    whole = sums_of_runs(list(selection(query).qs))
    here = spent(query)
    assert whole.cost
    assert here.whole.sums == whole._replace(calls=0)
    for key in (
        lambda use: use.layer,
        lambda use: use.model,
        lambda use: use.profile,
        lambda use: use.call_type,
        lambda use: (use.layer, use.model, use.profile, use.call_type),
    ):
        assert sum(here.by(key).values(), Sums()) == whole
        assert sum(here.by_bucket_and(key).values(), Sums()) == whole
    assert not [use for use in here.uses if use.origin == BEYOND]


def test_spending_is_broken_down_by_what_the_calls_say(a_month):
    expected: dict[tuple[str, str, str], list] = defaultdict(lambda: [0, Decimal(0)])
    for call in LlmCall.objects.select_related("run"):
        some = expected[call.run.layer_name, call.model_name, call.call_type]
        some[0] += 1
        some[1] += call.estimated_cost_usd
    found = spent("period=all").by(lambda use: (use.layer, use.model, use.call_type, use.origin))
    assert {key[:3]: [sums.calls, sums.cost] for key, sums in found.items() if key[3] == CALLS} == expected


def test_a_run_without_calls_counts_under_its_own_model_and_no_call():
    called("0.50")
    run("0.25", tokens_input=9, tokens_total=9, **SONNET)
    assert spent().by(lambda use: (use.model, use.profile, use.call_type, use.origin)) == {
        ("haiku", "simple", "filter", CALLS): Sums(1, 100, 10, 110, usd("0.50")),
        ("sonnet", "deep", "", RUN): Sums(0, 9, 0, 9, usd("0.25")),
    }


def test_what_a_run_says_beyond_its_calls_is_a_row_of_its_own():
    # As a foreign writer may leave them: runs that say more, and less, than their calls.
    more, less = called("0.50", layer_name="more"), called("0.50", layer_name="less")
    called("0.50", layer_name="right")
    LayerRun.objects.filter(pk=more.pk).update(estimated_cost_usd="0.80", tokens_input=101)
    LayerRun.objects.filter(pk=less.pk).update(estimated_cost_usd="0.10")
    here = spent()
    beyond = {use.layer: use for use in here.uses if use.origin == BEYOND}
    assert beyond == {
        "more": Use(6, "more", "", "", "", Sums(tokens_input=1, cost=usd("0.30")), BEYOND),
        "less": Use(6, "less", "", "", "", Sums(cost=usd("-0.40")), BEYOND),
    }
    assert here.whole.sums.cost == sum(sums.cost for sums in here.by(lambda use: use.layer).values()) == usd("1.40")


def test_usage_of_runs_that_are_gone_never_breaks_the_sum():
    one = called("0.50")
    # Another layer and another day than its run, which only raw SQL can write.
    RunUsage.objects.filter(run=one).update(layer_name="elsewhere", started_at=NOW - timedelta(days=2))
    here = spent()
    assert here.whole.sums.cost == usd("0.50")
    assert sum(here.by(lambda use: use.model).values(), Sums()).cost == usd("0.50")
    assert {layer: sums.cost for layer, sums in here.by(lambda use: use.layer).items()} == {
        "nightly-user-reflection": usd("0.50"),
        "elsewhere": Decimal(0),
    }


def test_the_window_before_is_read_in_brief_and_says_the_same_of_cost_and_tokens(a_month):
    some = selection("period=30d")
    full, brief = spending(some.qs, cut(some)), spending_before(some.qs, cut(some))

    def key(use: Use) -> tuple[str, str]:
        return use.layer, use.model

    in_brief = [{name: sums.in_brief() for name, sums in side.by(key).items()} for side in (full, brief)]
    assert in_brief[0] == in_brief[1]
    assert {layer: (ran.runs, ran.sums) for layer, ran in brief.by_layer().items()} == {
        layer: (ran.runs, ran.sums) for layer, ran in full.by_layer().items()
    }


# -- cards


def card(name: str, query: str = "period=7d") -> dict:
    (found,) = [each for each in page(query)["cards"] if each["name"] == name]
    return found


def value(name: str, query: str = "period=7d") -> Decimal:
    return Decimal(card(name, query)["value"])


def test_wasted_is_all_of_failed_and_crashed_runs_and_the_calls_of_failed_targets_in_the_others():
    failing = [{"topic": "user:1", "error": "Overloaded", "node": "reflect"}]
    called("0.10", "0.20", status="success")
    called("0.01", "0.02", status="partial", errors=failing)  # its second call is wasted
    called("0.001", "0.002", status="failed", errors=failing)  # both are
    called("0.0001", status="crashed")
    run("0.00001", status="failed", **SONNET)
    assert value("wasted") == usd("0.02") + usd("0.003") + usd("0.0001") + usd("0.00001")
    assert card("wasted")["note"] == "7% of the cost"
    assert page()["layers"].foot.cells[9].value == card("wasted")["value"]


def test_wasted_agrees_with_the_calls_and_runs_read_one_by_one(a_month):
    wasted = Decimal(0)
    for each in LayerRun.objects.all():
        if each.status in ("failed", "crashed"):
            wasted += each.estimated_cost_usd
        else:
            topics = {error["topic"] for error in each.errors}
            wasted += sum(call.estimated_cost_usd for call in each.calls.all() if call.topic in topics)
    assert wasted
    assert value("wasted", "period=all") == wasted


def test_the_cost_of_a_run_a_target_and_an_insight_are_divisions_of_the_cost():
    called("0.60", targets_processed=3, targets_skipped=1, insights_created=2)
    called("0.30", targets_processed=2, targets_skipped=0, insights_created=1, status="partial")
    assert value("cost") == usd("0.90")
    assert value("cost_per_run") == usd("0.45")
    assert value("cost_per_target") == usd("0.18")  # by the 5 that were processed; the one that failed cost too
    assert value("cost_per_insight") == usd("0.30")


def test_the_cost_of_no_insight_is_none_and_not_infinite():
    called("0.60", insights_created=0, targets_processed=0, targets_skipped=0)
    assert [(card(name)["value"], card(name)["text"]) for name in ("cost_per_target", "cost_per_insight")] == [
        ("0", "–"),
        ("0", "–"),
    ]


def test_a_card_says_how_much_more_it_is_than_in_the_window_before():
    called("1.20")
    called("1.00", started_at=NOW - timedelta(days=8))
    assert card("cost")["note"] == "+20% on the 7 days before"
    assert card("cost_per_run")["note"] == "+20%, ÷ 1"
    assert "since=2026-11-09" in card("cost")["note_url"]
    assert card("cost", "period=all")["note"] == ""


def test_a_window_of_a_clock_change_is_as_many_days_as_the_calendar_says():
    berlin = ZoneInfo("Europe/Berlin")
    # Ten days, one of them of 25 hours.
    since, until = (datetime(2026, *date, tzinfo=berlin) for date in ((10, 20), (10, 30)))
    assert length(Window(since, until), berlin) == "10 days"
    assert length(Window(NOW - timedelta(hours=6), NOW), berlin) == "6 hours"
    # What slides is made of hours, and no calendar day; one of a thing is not counted.
    assert length(Window(NOW - timedelta(hours=24), NOW), berlin) == "24 hours"
    assert length(Window(NOW - timedelta(hours=1), NOW), berlin) == "hour"
    assert length(Window(since, since + timedelta(days=1)), berlin) == "day"


def test_a_ratio_says_what_it_is_divided_by():
    called("0.60", targets_processed=3, targets_skipped=4, insights_created=2)
    called("0.30", targets_processed=2, targets_skipped=0, insights_created=1)
    notes = [card(name)["note"] for name in ("cost_per_run", "cost_per_target", "cost_per_insight")]
    assert notes == ["÷ 2", "÷ 5", "÷ 3"]
    assert [row[4] for row in rows(page()["layers"])] == ["2"]


def test_a_target_costs_the_same_on_every_page():
    mine = called("0.60", layer_name="a", targets_processed=3, targets_skipped=4, status="partial")
    here = Decimal("0.60") / 3
    assert value("cost_per_target") == here
    (row,) = page()["layers"].rows
    assert Decimal(row.cells[6].value) == here
    (version,) = versions(LayerRun.objects.filter(layer_name="a"), [])
    mine.refresh_from_db()
    assert version.cost_per_target == cost_per_target(mine) == here


def test_wasted_leads_to_the_runs_that_came_to_nothing_where_there_are_any():
    failing = [{"topic": "user:0", "error": "Overloaded", "node": "reflect"}]
    called("0.40", status="partial", errors=failing)
    # All of it is calls of one that went on: no query names those.
    assert (card("wasted")["value"], card("wasted")["url"]) == ("0.400000000", "")
    lost = {called("0.20", status="failed"), called("0.10", status="crashed")}
    called("0.80")
    assert runs_behind(card("wasted")["url"]) == lost
    assert "calls of failed targets in other runs come on top" in card("wasted")["title"]
    assert {each.status for each in runs_behind(card("wasted", "status=failed&status=success")["url"])} == {"failed"}


def runs_behind(url: str) -> set[LayerRun]:
    return set(selection(url.partition("?")[2]).qs)


def test_unpriced_leads_to_the_runs_with_unpriced_tokens():
    called("0.10", layer_name="a")
    unpriced = {called("0.10", None, layer_name="a"), called(None, layer_name="b")}
    assert runs_behind(card("unpriced")["url"]) == runs_behind(page()["unpriced"].url) == unpriced
    assert runs_behind(card("unpriced", "unpriced=1&layer_name=a")["url"]) == {
        each for each in unpriced if each.layer_name == "a"
    }
    by_model = [runs_behind(each.url) for each in page("unpriced=1")["unpriced"].models]
    assert set.union(*by_model) == unpriced and len(by_model) == 2
    assert card("unpriced", "unpriced=0")["url"] == ""


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("period=7d", True),
        ("since=2026-11-20&until=2026-11-22", True),
        ("since=2026-11-20&until=2026-11-30", True),
        ("since=2026-11-18&until=2026-11-21", False),
        ("since=2026-11-22T10:00", False),  # as long as the time before it
        ("period=24h", False),
    ],
)
def test_where_today_is_not_over_the_comparison_says_so(query, said):
    called("0.10")
    called("0.10", started_at=NOW - timedelta(days=2))
    for number in range(3, 20):
        called("0.10", started_at=NOW - timedelta(days=number))
    here, warning = page(query), "Today is not over"
    assert (warning in here["before"]["caveat"]) is said
    assert (warning in next(head["title"] for head in here["heads"] if head["name"] == "change")) is said
    assert (warning in dict(here["definitions"])["Change"]) is said
    (cost,) = [each for each in here["cards"] if each["name"] == "cost"]
    assert (warning in cost["title"]) is (said and here["before"]["runs"] > 0)


def test_nothing_in_the_window_before_is_said_with_its_length():
    called("0.10")
    assert card("cost", "period=24h")["note"] == "nothing in the 24 hours before"
    assert card("cost", "since=2026-11-22")["note"] == "nothing in the day before"


def test_unpriced_runs_are_counted_and_named_with_their_models():
    called("0.10", "0.20")
    dear = called("0.10", None, layer_name="b")
    run("0", layer_name="c", unpriced_tokens=70, tokens_total=70, **SONNET)
    here = page()
    assert card("unpriced")["value"] == "2"
    assert (here["unpriced"].count, here["unpriced"].tokens) == (2, 180)
    assert [(each.layer, each.model, each.tokens, bool(each.url)) for each in here["unpriced"].models] == [
        ("b", "haiku", 110, True),
        ("c", "sonnet", 70, False),  # without calls there is no model called to ask for
    ]
    assert [(each.layer, each.tokens) for each in here["unpriced"].runs] == [("b", 110), ("c", 70)]
    assert f"/{dear.pk}/" in here["unpriced"].runs[0].url


# -- tables


def rows(table) -> list[list[str]]:
    return [[row.name, *(cell.text for cell in row.cells)] for row in table.rows]


def exact(table, place: int) -> list[Decimal]:
    return [Decimal(row.cells[place].value) for row in table.rows]


@pytest.mark.parametrize("query", ["period=30d", "period=all", "period=30d&status=partial"])
def test_every_table_adds_up_to_the_cards(a_month, query):
    here = page(query)
    cards = {each["name"]: Decimal(each["value"]) for each in here["cards"]}
    for table, place in [
        (here["layers"], 0),
        (here["uses"], 3),
        *((table, 2) for _id, _title, _head, table in here["smaller"]),
    ]:
        assert sum(exact(table, place)) == cards["cost"] == Decimal(table.foot.cells[place].value)
    assert sum(exact(here["uses"], 1)) == cards["tokens_input"]
    assert sum(exact(here["uses"], 2)) == cards["tokens_output"]


def test_a_row_leads_to_the_runs_behind_it():
    mine = called("0.50", layer_name="a")
    called("0.25", layer_name="b")
    run("0.25", layer_name="a", **SONNET)
    here = page()
    by_name = {row.name: row.cells[0].url for row in here["layers"].rows}
    for name, url in by_name.items():
        assert set(selection(url.partition("?")[2]).qs) == set(LayerRun.objects.filter(layer_name=name))
    (haiku,) = [row for row in here["uses"].rows if row.name == "haiku"]
    found = selection(haiku.cells[3].url.partition("?")[2]).qs
    assert mine in found
    assert all(each.calls.filter(model_name="haiku").exists() for each in found)
    assert "runs that called it; their whole cost differs" in haiku.cells[3].title


def test_a_row_that_no_query_can_name_leads_nowhere():
    called("0.50", layer_name="")
    run("0.25", **SONNET)
    here = page()
    assert [row.cells[0].url for row in here["layers"].rows if row.name == "(no name)"] == [""]
    assert [row.cells[3].url for row in here["uses"].rows if row.name == "sonnet"] == [""]
    # Two models called are asked for as either of them: not the runs that called both.
    assert all(not row.cells[3].url for row in page("called=haiku&called=sonnet")["uses"].rows)


def test_layers_sort_by_any_column_and_those_without_a_figure_come_last():
    called("0.50", layer_name="dear", insights_created=1)
    called("0.40", layer_name="cheap", insights_created=8)
    called("0.60", layer_name="barren", insights_created=0)

    def order(sort: str) -> list[str]:
        return [row.name for row in page(sort=sort)["layers"].rows]

    assert order("-cost") == ["barren", "dear", "cheap"]
    assert order("-per_insight") == ["dear", "cheap", "barren"]
    assert order("per_insight") == ["cheap", "dear", "barren"]
    assert order("layer") == ["barren", "cheap", "dear"]


# -- the chart


def test_a_bucket_where_nothing_ran_is_a_gap_and_one_where_nothing_was_charged_is_not():
    called("0.50", started_at=NOW - timedelta(days=2))
    run("0", started_at=NOW - timedelta(days=1), status="dry")
    columns = page()["bars"].columns
    assert [column.gap for column in columns] == [True, True, True, True, False, False, True]
    assert [note.text for note in page()["bars"].notes] == ["$0"]


@pytest.mark.parametrize("by", ["model", "layer"])
def test_the_chart_adds_up_to_the_card_and_its_bars_to_their_own_selection(a_month, by):
    here = page("period=30d", by=by)
    assert here["bars"].table.foot[-1] == f"${sum_of(selection('period=30d').qs):,.3f}"
    for column in here["bars"].columns:
        runs = list(selection(column.url.partition("?")[2]).qs)
        assert column.gap is not bool(runs)


def test_beyond_six_series_the_rest_is_one():
    for number in range(9):
        called(f"0.{9 - number}", layer_name=f"layer-{number}")
    legend = [entry.name for entry in page(by="layer")["bars"].legend]
    assert legend == [*(f"layer-{number}" for number in range(6)), "others"]


# -- why it changed


def test_the_causes_of_a_change_sum_to_it_and_so_do_those_of_the_layers(a_month):
    here = page("period=30d")["changes"]
    now, before = selection("period=30d"), selection("period=30d").previous()
    difference = sum_of(now.qs) - sum_of(before.qs)
    assert difference
    assert sum(cause.amount for cause in here.causes) == difference == here.now - here.before
    for layer in here.layers:
        assert layer.parts.whole == layer.now - layer.before
    assert sum(layer.parts.mix for layer in here.layers) == here.causes[2].amount


def sum_of(runs) -> Decimal:
    return sum((each.estimated_cost_usd for each in runs), Decimal(0))


def test_a_layer_that_is_gone_is_named_where_the_change_is_explained():
    called("0.50", layer_name="gone", started_at=NOW - timedelta(days=8))
    called("0.20", layer_name="new")
    here = page()
    assert [row.name for row in here["layers"].rows] == ["new"]
    assert [(each.name, each.parts.volume) for each in here["changes"].layers] == [
        ("gone", usd("-0.50")),
        ("new", usd("0.20")),
    ]


def test_all_time_has_nothing_before_it():
    called("0.50")
    assert page("period=all")["changes"] is None


def test_each_cause_is_told_with_the_figures_that_speak_for_it():
    before = {"started_at": NOW - timedelta(days=8)}
    called("1.00", "1.00", tokens=(400, 100), targets_processed=2, **before)
    called("2.00", "2.00", tokens=(800, 200), targets_processed=2)
    run("1.00", tokens_total=500, targets_processed=1, **SONNET)
    causes = {cause.name: cause.evidence for cause in page()["changes"].causes}
    assert causes == {
        "volume": "3 targets worked on, 2 before",
        "verbosity": "833 tokens per target worked on, 500 before",
        "mix": "haiku 80.0% of the tokens, 100.0% before",
        "price": "$2,000.00 a million tokens, $2,000.00 at the prices before",
    }


# -- as a file


def day_rows(zone=UTC, query: str = "period=all") -> list[tuple]:
    return [(str(use.day), use.layer, use.model, use.call_type, use.sums) for use in daily(selection(query).qs, zone)]


def test_a_day_holds_a_row_for_each_layer_model_and_call_type(a_month):
    expected: Counter[tuple[str, str, str, str]] = Counter()
    for each in LayerRun.objects.all():
        day = str(each.started_at.date())
        calls = list(each.calls.all())
        for call in calls:
            expected[day, each.layer_name, call.model_name, call.call_type] += call.estimated_cost_usd
        if not calls:
            expected[day, each.layer_name, each.model_name, ""] += each.estimated_cost_usd
    found = day_rows()
    assert {row[:4]: row[4].cost for row in found} == dict(expected)
    assert [row[:4] for row in found] == sorted(expected)


def test_a_run_without_calls_has_a_row_though_it_cost_nothing():
    run("0", status="dry", model_name="", model_profile="")
    run(None, layer_name="b", tokens_input=None, tokens_output=None, tokens_total=None, **SONNET)
    assert day_rows() == [
        ("2026-11-22", "b", "sonnet", "", Sums()),
        ("2026-11-22", "nightly-user-reflection", "", "", Sums()),
    ]


def test_what_runs_say_beyond_their_calls_is_in_the_file_under_no_model():
    LayerRun.objects.filter(pk=called("0.50").pk).update(estimated_cost_usd="0.75")
    run("0.20", model_name="", model_profile="")
    assert [(row[2], row[4].cost) for row in day_rows()] == [("", usd("0.45")), ("haiku", usd("0.50"))]


def test_days_are_those_of_the_sites_zone():
    new_york = ZoneInfo("America/New_York")
    called("0.10", started_at=datetime(2026, 3, 8, 4, 59, tzinfo=UTC))  # the evening of the 7th
    called("0.20", started_at=datetime(2026, 3, 8, 5, 0, tzinfo=UTC))  # the first hour of the 23 of the 8th
    called("0.30", started_at=datetime(2026, 3, 9, 3, 59, tzinfo=UTC))  # and the last
    called("0.40", started_at=datetime(2026, 3, 9, 4, 0, tzinfo=UTC))
    assert [(row[0], row[4].cost) for row in day_rows(new_york)] == [
        ("2026-03-07", usd("0.10")),
        ("2026-03-08", usd("0.50")),
        ("2026-03-09", usd("0.40")),
    ]


def test_years_in_which_nothing_ran_are_skipped_and_the_future_is_not():
    called("0.10", started_at=datetime(2001, 1, 1, tzinfo=UTC))
    called("0.20", started_at=datetime(2001, 2, 15, tzinfo=UTC))
    called("0.30", started_at=datetime(2199, 12, 31, tzinfo=UTC))
    with CaptureQueriesContext(connection) as queries:
        found = day_rows()
    assert [(row[0], row[4].cost) for row in found] == [
        ("2001-01-01", usd("0.10")),
        ("2001-02-15", usd("0.20")),
        ("2199-12-31", usd("0.30")),
    ]
    assert len(queries) < 25


def test_the_days_of_a_file_are_those_of_its_selection():
    for age in range(12):
        called("0.10", started_at=NOW - timedelta(days=age))
    found = day_rows(query="since=2026-11-14&until=2026-11-16")
    assert [row[0] for row in found] == ["2026-11-14", "2026-11-15", "2026-11-16"]
