"""The query string as a selection: to a queryset, and back to chips, links and menus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from layer_runs.filters import LayerRunFilterSet
from layer_runs.menus import Menu, menus
from layer_runs.models import LayerRun, Status
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)


@pytest.fixture
def selection():
    def selection(query: str = "", **options) -> LayerRunFilterSet:
        return LayerRunFilterSet(QueryDict(query), LayerRun.objects.all(), **({"path": "/runs/", "now": NOW} | options))

    return selection


def offered(menu: Menu) -> list[tuple[str, bool]]:
    return [(choice.value, choice.taken) for choice in menu.choices]


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {}),
        ("period=7d", {}),
        ("period=30d", {"period": ["30d"]}),
        ("period=30d&since=2026-01-01", {"since": ["2026-01-01"]}),
        ("period=7d&until=2026-01-01", {"until": ["2026-01-01"]}),
        ("layer_name=b&layer_name=a&layer_name=b&layer_name=", {"layer_name": ["b", "a"]}),
        ("status=failed&status=bogus", {}),
        ("q=++a++b++", {"q": ["a  b"]}),
        ("q=a&q=b", {"q": ["b"]}),
        ("q=&since=&until=&status=&model_name=", {}),
        ("source=x&evil=1&page=3&sort=cost", {"source": ["x"]}),
    ],
)
def test_its_parameters_are_what_makes_sense_and_no_defaults(selection, query, parameters):
    assert selection(query).parameters() == parameters


def test_its_link_leads_to_the_same_selection(selection):
    query = "layer_name=a+%26+b&layer_name=c&status=failed&period=30d&q=100%25+%F0%9F%92%A5"
    url = selection(query).link()
    again = selection(url.partition("?")[2])
    assert url.startswith("/runs/?")
    assert again.parameters() == selection(query).parameters()
    assert again.link() == url


def test_its_link_changes_what_it_is_told_to_and_keeps_the_rest(selection):
    here = selection("layer_name=a&status=failed")
    here.carried = {"sort": "cost"}
    assert here.link(page=2) == "/runs/?layer_name=a&status=failed&sort=cost&page=2"
    assert here.link(status=None) == "/runs/?layer_name=a&sort=cost"
    assert here.link(status=["dry", "failed"], sort=None) == "/runs/?layer_name=a&status=dry&status=failed"
    assert here.link("/elsewhere/") == "/elsewhere/?layer_name=a&status=failed&sort=cost"
    assert here.cleared() == "/runs/?sort=cost"


def test_clearing_keeps_a_period_and_ends_a_range(selection):
    assert selection("period=30d&status=failed&q=x").cleared() == "/runs/?period=30d"
    assert selection("since=2026-01-01&status=failed").cleared() == "/runs/"


def test_it_yields_a_chip_for_each_part_but_the_period(selection):
    chips = list(selection("layer_name=a&layer_name=b&period=30d&until=2026-02-01").chips())
    assert [(chip.label, chip.text, chip.url) for chip in chips] == [
        ("Layer", "a", "/runs/?layer_name=b&until=2026-02-01"),
        ("Layer", "b", "/runs/?layer_name=a&until=2026-02-01"),
        ("Until", "2026-02-01", "/runs/?layer_name=a&layer_name=b"),
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", []),
        ("period=x&since=x&until=x&status=x", ["status", "period", "since", "until"]),
        ("since=2026-01-02&until=2026-01-01", ["until"]),
        # A bare end is that whole day.
        ("since=2026-01-01&until=2026-01-01", []),
        ("since=2026-01-01T00:00&until=2026-01-01T00:00", ["until"]),
        (f"q={'x' * 200}", []),
        (f"q={'x' * 201}", ["q"]),
        (f"layer_name={'x' * 200}", []),
        (f"layer_name={'x' * 201}", ["layer_name"]),
        ("&".join(f"model_name={n}" for n in range(50)), []),
        ("&".join(f"model_name={n}" for n in range(51)), ["model_name"]),
        ("model_name=a&" * 90, []),
    ],
)
def test_q09_it_complains_of_each_parameter_that_makes_no_sense_and_of_no_other(selection, query, names):
    here = selection(query)
    assert [name for name, _label, _message in here.complaints()] == names
    assert not here.parameters().keys() & set(names)


def test_it_says_a_long_mistake_in_short(selection):
    messages = [message for _name, _label, message in selection(f"status={'x' * 150}&since={'y' * 5000}").complaints()]
    assert len(messages) == 2
    assert all(len(message) < 200 for message in messages)


def test_a_status_that_only_the_data_knows_is_no_mistake(selection):
    assert list(selection("status=exploded").complaints())
    LayerRunFactory(status="exploded")
    assert not list(selection("status=exploded").complaints())
    assert selection("status=exploded&period=all").qs.count() == 1


def test_it_looks_for_nothing_in_the_database_to_read_a_query_string(selection):
    with CaptureQueriesContext(connection) as queries:
        here = selection("layer_name=a&status=failed&period=30d&q=x")
        here.link()
        list(here.chips())
        list(here.complaints())
    assert len(queries) == 0


def test_a_week_begins_at_the_midnight_six_days_ago_of_the_site(selection, settings):
    settings.TIME_ZONE = "America/New_York"
    assert selection(now=datetime(2026, 11, 7, 4, 59, tzinfo=UTC)).window.since == datetime(2026, 10, 31, 4, tzinfo=UTC)
    # A day later in New York: by now its clocks were put back, and its midnight is at 5.
    assert selection(now=datetime(2026, 11, 8, 5, tzinfo=UTC)).window.since == datetime(2026, 11, 2, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "named"),
    [("", "7d"), ("period=24h", "24h"), ("period=bogus", "7d"), ("since=2026-01-01&period=30d", ""), ("since=x", "7d")],
)
def test_it_names_the_period_in_force(selection, query, named):
    assert selection(query).named_period == named


def test_its_variant_is_the_same_question_with_a_part_changed(selection):
    LayerRunFactory(started_at=NOW - timedelta(days=20), failing=True)
    LayerRunFactory(started_at=NOW - timedelta(hours=1))
    here = selection("status=failed")
    here.carried = {"page": "3"}
    assert here.qs.count() == 0
    assert here.variant(period=["all"]).qs.count() == 1
    assert here.variant(status=None).qs.count() == 1
    assert here.variant(period=["all"], status=None).qs.count() == 2


def test_it_looks_beyond_ids_only_for_those_who_may(selection):
    LayerRunFactory(started_at=NOW, failing=True)
    assert selection("q=connection").qs.count() == 1
    assert selection("q=connection", sees_errors=False).qs.count() == 0


# -- menus


def test_its_menus_hold_the_values_in_the_data(selection):
    for name in ("b", "a", "a", ""):
        LayerRunFactory(layer_name=name, model_name=name, ago=timedelta(days=300))
    shown = {menu.name: menu for menu in menus(selection())}
    assert list(shown) == ["layer_name", "status", "model_name"]
    assert offered(shown["layer_name"]) == [("a", False), ("b", False)]
    assert offered(shown["model_name"]) == [("a", False), ("b", False)]
    assert [value for value, _taken in offered(shown["status"])] == Status.values


def test_its_menu_of_statuses_has_those_of_the_data_after_the_known_ones(selection):
    LayerRunFactory(status="exploded")
    (menu,) = menus(selection("status=failed"), only="status")
    assert offered(menu) == [*((value, value == "failed") for value in Status.values), ("exploded", False)]
    assert menu.taken == 1


def test_its_menu_keeps_a_value_that_was_asked_for_and_is_not_there(selection):
    LayerRunFactory(layer_name="a")
    (menu,) = menus(selection("layer_name=gone&layer_name=a"), only="layer_name")
    assert offered(menu) == [("a", True), ("gone", True)]


def test_it_has_a_menu_of_sources_only_where_there_is_a_choice(selection):
    LayerRunFactory(source="")
    LayerRunFactory(source="one")
    assert "source" not in [menu.name for menu in menus(selection())]
    assert "source" in [menu.name for menu in menus(selection("source=one"))]
    LayerRunFactory(source="two")
    assert "source" in [menu.name for menu in menus(selection())]


def test_d27_its_menus_are_bounded_however_many_layers_there_are(selection):
    LayerRun.objects.bulk_create(LayerRunFactory.build(layer_name=f"layer-{n:04}") for n in range(600))
    (menu,) = menus(selection(), only="layer_name")
    assert len(menu.choices) == 500


def test_q23_no_parameter_becomes_a_look_up(selection):
    LayerRunFactory(started_at=NOW)
    for query in ("_connector=OR", "id__regex=x", "errors__contains=x", "pk=x", "layer_name__in=x", "status[]=x"):
        assert selection(query).qs.count() == 1
        assert selection(query).link() == "/runs/"


def test_it_takes_the_time_from_the_clock_where_none_is_given():
    here = LayerRunFilterSet(QueryDict("period=24h"), LayerRun.objects.all())
    assert timezone.now() - here.window.since < timedelta(hours=24, minutes=1)


def test_the_selection_before_is_the_same_question_of_the_window_before(selection):
    for days in (0, 6, 7, 13, 14):
        LayerRunFactory(id=f"{days}", started_at=NOW - timedelta(days=days), status="failed")
        LayerRunFactory(started_at=NOW - timedelta(days=days))
    earlier = selection("status=failed").previous()
    assert {run.pk for run in earlier.qs} == {"7", "13"}
    assert earlier.parameters()["status"] == ["failed"]
    assert selection(earlier.link().partition("?")[2]).window == earlier.window
    assert selection("period=all").previous() is None
    assert selection("until=2026-01-01").previous() is None
