"""The choices of a selection: what there is, and how many runs each would leave."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from layer_runs.filters import LayerRunFilterSet
from layer_runs.menus import menu_names, menus, more
from layer_runs.models import LayerRun, Status
from layer_runs.tests.factories import LayerRunFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
FIELDS = {"layer_name": "layer_name", "status": "status", "model_name": "model_name", "source": "source"}


def selection(query: str = "") -> LayerRunFilterSet:
    return LayerRunFilterSet(QueryDict(query), LayerRun.objects.all(), path="/runs/", now=NOW)


@pytest.fixture
def some_runs(db) -> list[LayerRun]:
    """Forty-eight runs of all that can be chosen, a third of them too old for the week."""
    LayerRun.objects.bulk_create(
        LayerRunFactory.build(
            started_at=NOW - timedelta(days=number % 3 * 5, hours=number % 7),
            layer_name="abc"[number % 3 - number % 2],
            status=[*Status.values, "exploded"][number % 7],
            model_name=["m", "n", ""][number % 5 % 3],
            source=["", "s", "t"][number % 11 % 3],
            errors=[{"topic": "t", "error": "boom", "node": "n"}] if number % 4 == 0 else [],
            estimated_cost_usd=f"0.{number:02}",
        )
        for number in range(48)
    )
    return list(LayerRun.objects.all())


WEEK = NOW.replace(hour=0, minute=0) - timedelta(days=6)
# A query, and what of it holds for a run, by the parameter that asks for it.
QUERIES = {
    "": {},
    "period=all&layer_name=a": {"layer_name": lambda run: run.layer_name == "a"},
    "layer_name=a&layer_name=b&status=failed&status=exploded": {
        "layer_name": lambda run: run.layer_name in "ab",
        "status": lambda run: run.status in ("failed", "exploded"),
    },
    "period=all&status=success&model_name=m&source=s&exclude_layer=c": {
        "status": lambda run: run.status == "success",
        "model_name": lambda run: run.model_name == "m",
        "source": lambda run: run.source == "s",
        "exclude_layer": lambda run: run.layer_name != "c",
    },
    "q=BOOM&min_cost=0.2&has_errors=1&layer_name=nobody": {
        "q": lambda run: bool(run.errors),
        "min_cost": lambda run: run.estimated_cost_usd >= 0.2,
        "layer_name": lambda run: False,
    },
}


@pytest.mark.parametrize("query", QUERIES)
def test_the_count_beside_a_choice_is_what_it_would_leave_under_all_else(some_runs, query):
    held = [run for run in some_runs if "period=all" in query or run.started_at >= WEEK]
    shown = list(menus(selection(query), counted=True))
    assert [menu.name for menu in shown] == list(FIELDS)
    for menu in shown:
        others = [holds for name, holds in QUERIES[query].items() if name != menu.name]
        expected = Counter(getattr(run, FIELDS[menu.name]) for run in held if all(holds(run) for holds in others))
        assert {choice.value: choice.runs for choice in menu.choices} == {
            choice.value: expected[choice.value] for choice in menu.choices
        }
        # All that can be counted can be chosen, but for what has no name.
        assert set(filter(None, expected)) <= {choice.value for choice in menu.choices}
        assert menu.taken == len(QueryDict(query).getlist(menu.name))


@pytest.mark.parametrize("query", ["", "layer_name=a&min_cost=0.1", "status=failed&q=boom"])
def test_choosing_a_choice_leaves_as_many_runs_as_it_says(some_runs, query):
    here = selection(query)
    for menu in menus(here, counted=True):
        for choice in menu.choices:
            assert here.variant(**{menu.name: [choice.value]}).qs.count() == choice.runs


def test_without_counting_nothing_is_counted(some_runs, django_assert_num_queries):
    with django_assert_num_queries(len(FIELDS)):
        shown = list(menus(selection("layer_name=a")))
    assert {choice.runs for menu in shown for choice in menu.choices} == {None}
    assert {choice.text for menu in shown for choice in menu.choices} == {"–"}


def test_one_menu_costs_no_more_queries_for_many_choices_than_for_one(django_assert_num_queries):
    LayerRunFactory(started_at=NOW)
    with CaptureQueriesContext(connection) as one:
        list(menus(selection(), counted=True))
    LayerRun.objects.bulk_create(LayerRunFactory.build(layer_name=f"layer-{n}", started_at=NOW) for n in range(99))
    with django_assert_num_queries(len(one)):
        shown = {menu.name: menu for menu in menus(selection(), counted=True)}
    assert len(shown["layer_name"].choices) == 100


def test_a_menu_of_a_source_is_there_only_where_there_is_a_choice(some_runs):
    assert menu_names() == list(FIELDS)
    LayerRun.objects.update(source="")
    assert "source" not in [menu.name for menu in menus(selection())]
    assert [menu.name for menu in menus(selection(), only="source")] == ["source"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"taken": False, "has_errors": "", "layer_hash": "", "without": []}),
        ("has_errors=yes", {"taken": True, "has_errors": "yes", "layer_hash": "", "without": []}),
        ("has_errors=0", {"taken": True, "has_errors": "no", "layer_hash": "", "without": []}),
        ("layer_hash=h", {"taken": True, "has_errors": "", "layer_hash": "h", "without": []}),
        # They came by a link: a box for one would drop the other.
        ("layer_hash=h&layer_hash=i", {"taken": True, "has_errors": "", "layer_hash": "", "without": []}),
        ("exclude_layer=a&exclude_layer=gone", {"taken": True, "layer_hash": "", "without": ["a", "gone"]}),
        ("min_cost=1", {"taken": True}),
        ("min_duration=1", {"taken": True}),
        ("min_duration=bogus&min_cost=NaN", {"taken": False}),
    ],
)
def test_the_rarer_filters_hold_what_is_in_force(some_runs, query, expected):
    held = more(selection(query))
    assert [name for name, _taken in held["layers"]][:3] == ["a", "b", "c"]
    held["without"] = [name for name, taken in held["layers"] if taken]
    assert {name: held[name] for name in expected} == expected


# -- as a fragment


HTMX = {"HX-Request": "true"}


@pytest.fixture
def choices(staff_client, dom):
    def choices(name: str, query: str = "?period=all", view: str = "list"):
        headers = HTMX | {"HX-Target": f"run-choices-{name}", "HX-Current-URL": "http://testserver/layer-runs/"}
        return dom(staff_client.get(reverse(f"layer_runs:{view}") + query, headers=headers))

    return choices


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("view", ["list", "layers", "costs"])
def test_a_menu_that_opens_is_sent_alone_with_its_counts(some_runs, choices, name, view):
    taken = {"status": "failed"}.get(name, "gone")
    answer = choices(name, f"?period=all&{name}={taken}", view)
    assert answer.response.content.strip().startswith(f'<fieldset id="run-choices-{name}"'.encode())
    assert b"<html" not in answer.response.content
    boxes = {box.get("value"): box for box in answer.all("input")}
    assert {box.get("name") for box in boxes.values()} == {name}
    assert [value for value, box in boxes.items() if box.get("checked") is not None] == [taken]
    counts = Counter(getattr(run, FIELDS[name]) for run in some_runs)
    assert answer.texts("fieldset/div") == [f"{value}{counts[value]}" for value in boxes]


def test_the_counts_on_the_page_are_those_of_the_fragment(some_runs, choices, staff_client, dom):
    query = "?period=all&status=failed&layer_name=a"
    page = dom(staff_client.get(reverse("layer_runs:list") + query))
    for name in FIELDS:
        assert page.texts(f"fieldset[@id='run-choices-{name}']/div") == choices(name, query).texts("fieldset/div")


def test_a07_a_menu_varies_on_what_it_depends_on_and_leaves_the_address_alone(some_runs, choices):
    answer = choices("status").response
    assert {"Cookie", "HX-Request", "HX-Target", "HX-History-Restore-Request"} <= set(answer["Vary"].split(", "))
    assert "HX-Push-Url" not in answer.headers


def test_a_menu_of_a_bad_selection_leaves_the_bad_part_out(some_runs, choices):
    odd = choices("layer_name", "?period=all&status=bogus&min_cost=NaN")
    assert odd.texts("fieldset/div") == choices("layer_name").texts("fieldset/div")


@pytest.mark.parametrize(
    "headers",
    [
        {"HX-Target": "run-choices-status"},
        HTMX | {"HX-Target": "run-choices-"},
        HTMX | {"HX-Target": "run-choices-bogus"},
        HTMX | {"HX-Target": "run-choices-q"},
        HTMX | {"HX-Target": "run-choices-layer_hash"},
        HTMX | {"HX-Target": "run-choices-<script>"},
        # The name of a menu is not yet the place of one.
        HTMX | {"HX-Target": "status"},
        HTMX | {"HX-Target": "run-choices-status", "HX-Boosted": "true"},
        HTMX | {"HX-Target": "run-choices-status", "HX-History-Restore-Request": "true"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_a09_any_other_request_gets_the_whole_page(some_runs, staff_client, dom, headers):
    page = dom(staff_client.get(reverse("layer_runs:list") + "?period=all", headers=headers))
    assert "<html" in page.source
    assert page.total == str(len(some_runs))
    assert len(page.run_ids) == 20


def test_a_menu_says_what_is_hostile_as_text(staff_client, dom, odd_runs):
    for name in FIELDS:
        headers = HTMX | {"HX-Target": f"run-choices-{name}"}
        answer = dom(staff_client.get(reverse("layer_runs:list") + "?period=all", headers=headers))
        assert answer.live_parts == []
        always = Status.values if name == "status" else []
        stored = {getattr(run, name) for run in odd_runs.values()} - {""}
        assert {box.get("value") for box in answer.all("input")} == stored | set(always)


def test_a_menu_without_anything_to_choose_says_so(choices):
    assert choices("layer_name").text("fieldset").endswith("Nothing to choose from yet.")
