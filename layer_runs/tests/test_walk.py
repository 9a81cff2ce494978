"""Walking over the pages of a list while it changes: every run once, whatever comes and goes meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from layer_runs.keyset import Order
from layer_runs.models import LayerRun
from layer_runs.tables import LayerRunTable
from layer_runs.tests.conftest import Dom
from layer_runs.tests.factories import LayerRunFactory

COLUMNS = ("started_at", "tokens", "cost", "duration")
SORTS = [f"{sign}{column}" for column, sign in product(COLUMNS, ("", "-"))]
NO_FIGURES = {"tokens_total": None, "tokens_input": None, "tokens_output": None, "estimated_cost_usd": None}
# How a run that arrives lies to the others: newer, older, in between, equal to many of them, without figures.
ARRIVING = [
    {"ago": timedelta(0), "tokens_total": 10**9, "estimated_cost_usd": "900", "took": timedelta(hours=9)},
    {"ago": timedelta(days=5), "tokens_total": 0, "estimated_cost_usd": "0", "took": timedelta(0)},
    {"ago": timedelta(hours=50, minutes=30), "tokens_total": 45, "estimated_cost_usd": "0.45"},
    {"ago": timedelta(hours=50), "tokens_total": 50, "estimated_cost_usd": "0.5"},
    {"ago": timedelta(hours=50), "completed_at": None, **NO_FIGURES},
]


# Page and fragment are built of the same parts: what only the order decides is asked of one of them.
as_fragment = pytest.mark.parametrize("get", ["fragment"], indirect=True)


def many(count: int, **fields) -> list[LayerRun]:
    return LayerRun.objects.bulk_create(LayerRunFactory.build_batch(count, **fields))


def crowd() -> list[str]:
    """120 runs in an order of their own: ten figures, three moments that many share, and 24 without figures."""
    chance, now = random.Random(7), timezone.now()  # noqa: S311
    runs = []
    for n in range(120):
        moment = now - timedelta(hours=chance.choice([1, 50, 50, 90]), minutes=chance.choice([0, 0, n]))
        figures = {"tokens_total": 10 * (n % 10), "estimated_cost_usd": f"0.{n % 10}"} if n % 5 else NO_FIGURES
        took = {"completed_at": None} if n % 5 == 0 else {"took": timedelta(seconds=n % 10)}
        runs.append(LayerRunFactory.build(started_at=moment, **figures, **took))
    return [run.pk for run in LayerRun.objects.bulk_create(runs)]


def arrive() -> None:
    for fields in ARRIVING:
        many(2, **fields)


@pytest.fixture
def walk(get) -> Callable[..., Iterator[Dom]]:
    """Follow the links of the pages themselves, as far as they go."""

    def walk(answer: Dom, way: str = "next") -> Iterator[Dom]:
        yield answer
        while links := answer.all(f"a[@rel='{way}']"):
            answer = get(links[0].get("href").partition("/layer-runs/")[2])
            assert answer.alerts == {}
            yield answer

    return walk


def order_of(sort: str) -> Order:
    return LayerRunTable(LayerRun.objects.all(), sort=sort).order


@pytest.mark.parametrize("sort", SORTS)
def test_q07_q08_a_walk_shows_every_run_once_while_runs_arrive(get, walk, sort):
    there = crowd()
    seen: list[str] = []
    for answer in walk(get(f"?sort={sort}")):
        seen += answer.run_ids
        assert len(seen) < 1_000
        arrive()
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)


@as_fragment
@pytest.mark.parametrize("sort", SORTS)
def test_q07_q08_a_walk_back_shows_every_run_once_while_runs_arrive(get, walk, sort):
    there = crowd()
    seen: list[str] = []
    for answer in walk(get(f"?sort={sort}&page=99"), "prev"):
        seen += answer.run_ids
        assert len(seen) < 1_000
        arrive()
    # The first page is always a whole one: only there a run can be seen again.
    again = len(seen) - len(set(seen))
    assert again < 20
    assert len(seen[: len(seen) - 20]) == len(set(seen[: len(seen) - 20]))
    assert set(there) <= set(seen)


@as_fragment
@pytest.mark.parametrize("sort", SORTS)
def test_q08_a_walk_misses_no_run_while_others_are_deleted(get, walk, sort):
    there = set(crowd())
    chance = random.Random(3)  # noqa: S311
    seen: list[str] = []
    for answer in walk(get(f"?sort={sort}")):
        seen += answer.run_ids
        # All but the last one seen: its place is where the walk goes on.
        gone = chance.sample(sorted(there - {seen[-1]}), 6)
        LayerRun.objects.filter(pk__in=gone).delete()
        there -= set(gone)
    assert len(seen) == len(set(seen))
    assert there <= set(seen)


@as_fragment
@pytest.mark.parametrize("sort", ["", "started_at"])
def test_q08_in_the_order_of_time_a_walk_goes_on_from_a_run_that_was_deleted(get, walk, sort):
    there = crowd()
    seen: list[str] = []
    for answer in walk(get(f"?sort={sort}")):
        seen += answer.run_ids
        LayerRun.objects.get(pk=seen[-1]).delete()
    assert (len(seen), set(seen)) == (120, set(there))


@pytest.mark.parametrize("sort", SORTS)
def test_q07_what_lies_ahead_of_a_run_and_beyond_it_is_the_whole_list_without_it(db, sort):
    crowd()
    runs, order = LayerRun.objects.all(), order_of(sort)
    whole = [run.pk for run in runs.order_by(*order.terms)]
    for place, pk in list(enumerate(whole))[::7]:
        run = runs.get(pk=pk)
        ahead = [other.pk for other in order.preceding(runs, run)]
        assert ahead[::-1] == whole[:place]
        assert [other.pk for other in order.following(runs, run)] == whole[place + 1 :]


@pytest.mark.parametrize("sort", SORTS)
def test_q07_an_order_is_the_one_that_python_makes_of_the_same_runs(db, sort):
    crowd()
    order = order_of(sort)
    runs = list(LayerRun.objects.all())
    runs.sort(key=lambda run: run.pk, reverse=sort != "started_at")
    runs.sort(key=lambda run: run.started_at, reverse=sort != "started_at")
    if not order.by_time:
        known = [run for run in runs if getattr(run, order.column) is not None]
        known.sort(key=lambda run: getattr(run, order.column), reverse=order.descending)
        runs = known + [run for run in runs if getattr(run, order.column) is None]
    assert [run.pk for run in LayerRun.objects.order_by(*order.terms)] == [run.pk for run in runs]


@as_fragment
@pytest.mark.parametrize("sort", SORTS)
def test_its_numbers_stay_true_while_runs_arrive(get, walk, sort):
    crowd()
    for answer in walk(get(f"?sort={sort}")):
        whole = [run.pk for run in LayerRun.objects.order_by(*order_of(sort).terms)]
        first = whole.index(answer.run_ids[0]) + 1
        last = first + len(answer.run_ids) - 1
        assert answer.run_ids == whole[first - 1 : last]
        said = answer.text("nav[@aria-label='Pages']/p")
        assert said.partition(",")[0] == f"{first}–{last} of {len(whole)}"
        arrive()


def test_a_list_without_runs_that_arrive_has_the_pages_it_has_by_number(get, walk):
    crowd()
    by_number = [get(f"?page={number}").run_ids for number in range(1, 7)]
    answers = list(walk(get()))
    assert [answer.run_ids for answer in answers] == by_number
    assert [answer.run_ids for answer in walk(answers[-1], "prev")] == by_number[::-1]


def test_the_page_before_the_second_is_the_whole_first_also_when_it_was_shifted(get):
    crowd()
    second = get(get().link("Next").partition("/layer-runs/")[2])
    LayerRun.objects.filter(pk__in=get().run_ids[:15]).delete()
    back = get(second.link("Previous").partition("/layer-runs/")[2])
    assert back.run_ids == [run.pk for run in LayerRun.objects.newest_first()[:20]]
    assert back.text("nav[@aria-label='Pages']/p") == "1–20 of 105, newest first"


@as_fragment
@pytest.mark.parametrize("name", ["after", "before"])
@pytest.mark.parametrize("cursor", ["nobody", "", "%00", "%ff", "x" * 5000, "<script>", "' OR 1=1"])
@pytest.mark.parametrize(("page", "first"), [("", 0), ("&page=2", 20), ("&page=99", 100)])
def test_q08_a_run_that_is_not_there_leaves_the_page_to_its_number(get, name, cursor, page, first):
    crowd()
    if cursor in ("%00", "%ff"):
        get(f"?{name}={cursor}{page}", status=400)
        return
    answer = get(f"?{name}={cursor}{page}")
    assert answer.run_ids == [run.pk for run in LayerRun.objects.newest_first()][first : first + 20]
    if cursor:
        assert answer.alerts == {}
    assert not [link for link in answer.links if "nobody" in link or "script" in link]


def test_the_last_page_is_shown_where_nothing_is_left_beyond(get):
    crowd()
    last = LayerRun.objects.newest_first().last()
    assert get(f"?page=7&after={last.pk}").run_ids[-1] == last.pk


def test_a_run_that_left_the_selection_is_still_a_place_in_its_order(get):
    many(45, status="running", completed_at=None)
    ids = [run.pk for run in LayerRun.objects.newest_first()]
    following = get("?status=running").link("Next").partition("/layer-runs/")[2]
    LayerRun.objects.filter(pk=ids[19]).update(status="success")
    answer = get(following)
    assert answer.run_ids == ids[20:40]
    assert answer.text("nav[@aria-label='Pages']/p").startswith("20–39 of 44")


def test_a_place_does_not_travel_with_filters_sorts_exports_and_other_lenses(get, query_of):
    crowd()
    answer = get(get("?status=success&sort=cost").link("Next").partition("/layer-runs/")[2])
    rows = {element.get("href") for row in answer.all("tr[@data-run-id]") for element in row.iter("a")}
    for link in set(answer.links) - rows:
        carried = {"page", "after", "before"} & set(query_of(link))
        assert not carried or link in (answer.link("Next"), answer.link("Previous")), link
    # But back from a run is where it was opened.
    (place,) = query_of("?" + answer.response.request["QUERY_STRING"])["after"]
    assert {tuple(query_of(link)["after"]) for link in rows} == {(place,)}


@pytest.mark.parametrize("way", ["Next", "Previous"])
def test_back_from_a_run_is_the_page_it_was_opened_from(get, staff_client, dom, way):
    crowd()
    here = get("?sort=-cost&page=3")
    there = get(here.link(way).partition("/layer-runs/")[2])
    opened = there.one(f"tr[@data-run-id='{there.run_ids[3]}']").find(".//a").get("href")
    arrive()
    for path in (opened, opened.replace("/?", "/errors/?")):
        crumbs = dom(staff_client.get(path)).all("div[@class='breadcrumbs']/a")
        (back,) = [link.get("href") for link in crumbs if Dom.text(there, link) == "Layer runs"]
        assert dom(staff_client.get(back)).run_ids == there.run_ids


def test_the_address_of_a_page_says_where_it_goes_on(staff_client):
    crowd()
    ids = [run.pk for run in LayerRun.objects.newest_first()]
    headers = {"HX-Request": "true", "HX-Target": "run-results"}
    answer = staff_client.get(f"/layer-runs/?page=2&after={ids[19]}", headers=headers)
    assert answer["HX-Push-Url"] == f"/layer-runs/?page=2&after={ids[19]}"
    answer = staff_client.get(f"/layer-runs/?page=1&before={ids[20]}", headers=headers)
    assert answer["HX-Push-Url"] == "/layer-runs/"
    answer = staff_client.get("/layer-runs/?page=2&after=nobody", headers=headers)
    assert answer["HX-Push-Url"] == "/layer-runs/?page=2"


@pytest.mark.parametrize("sort", ["", "-cost"])
def test_a_page_further_on_costs_two_queries_more_however_far(get, django_assert_num_queries, sort):
    crowd()
    with CaptureQueriesContext(connection) as first:
        answer = get(f"?sort={sort}")
    # The run that it goes on from, and how many lie before.
    for _ in range(3):
        with django_assert_num_queries(len(first) + 2):
            answer = get(answer.link("Next").partition("/layer-runs/")[2])


@pytest.mark.parametrize("sort", ["", "started_at"])
def test_going_on_by_time_bounds_the_index_and_skips_nothing(db, sort):
    crowd()
    run = LayerRun.objects.newest_first()[60]
    order = order_of(sort)
    rows = LayerRun.objects.filter(status="success")
    for beside in (order.following(rows, run), order.preceding(rows, run)):
        plan = beside.explain() if connection.vendor == "sqlite" else ""
        assert "TEMP B-TREE" not in plan
        assert connection.vendor != "sqlite" or "started_at" in plan.partition("(")[2]
