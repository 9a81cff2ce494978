"""Runs in the built-in admin: the same selection, columns and exports; evidence that nobody edits."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from layer_runs.audit import Action, record
from layer_runs.models import AuditEvent, ErrorLine, LayerRun
from layer_runs.tests.conftest import client_of
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory, StaffFactory

pytestmark = pytest.mark.django_db
PRIVATE = "what-a-stranger-said"
LISTED = [
    *("started_at", "layer_name", "status", "targets", "insights", "tokens", "cost", "duration", "first_error"),
]


def listing(query: str = "") -> str:
    return reverse("admin:layer_runs_layerrun_changelist") + query


def about(page: str, pk: str) -> str:
    return reverse(f"admin:layer_runs_layerrun_{page}", args=[pk.replace("_", "_5F").replace(":", "_3A")])


@pytest.fixture
def listed(staff_client, dom):
    """Get the list of the admin: its answer, with the ids of the runs in it."""

    def listed(query: str = "", client=staff_client):
        answer = dom(client.get(listing(query)))
        assert answer.response.status_code == 200
        table = answer.response.context["cl"]
        answer.listed = [run.pk for run in table.result_list]
        answer.count = table.result_count
        return answer

    return listed


@pytest.fixture
def some_runs(db) -> list[LayerRun]:
    runs = []
    for name in "abc":
        for ago in (timedelta(hours=1), timedelta(days=3), timedelta(days=20), timedelta(days=300)):
            runs.append(LayerRunFactory(layer_name=name, ago=ago, model_name=f"m-{name}", source=f"s-{name}"))
            runs.append(LayerRunFactory(layer_name=name, ago=ago, failing=True))
    return runs


# -- the list


def test_it_lists_all_of_time_newest_first(listed, some_runs):
    answer = listed()
    assert answer.listed == [run.pk for run in LayerRun.objects.newest_first()]
    assert answer.count == len(some_runs)


def test_it_says_in_its_columns_what_the_page_says_in_its_own(listed, staff_client, dom):
    run = LayerRunFactory(failing=True, tokens_total=1_234_567)
    LayerRunFactory(status="exploded", under_way=False, took=timedelta(seconds=-5))
    there = dom(staff_client.get(reverse("layer_runs:list")))
    here = listed()
    rows = {row[1].get("class"): row for row in here.all("table[@id='result_list']/tbody/tr")}
    assert rows
    texts = [
        {
            cell.get("class").split("field-")[1].split()[0]: here.text(cell)
            for cell in row
            if "field-" in cell.get("class")
        }
        for row in here.all("table[@id='result_list']/tbody/tr")
    ]
    assert [list(row) for row in texts] == [LISTED, LISTED]
    (failed,) = [row for row in texts if row["status"] == "failed"]
    assert failed["tokens"] == "1,234,567"
    assert failed["cost"] == "$0.179"
    assert failed["first_error"] == "Connection error, reflect, and 9 more"
    for words in (failed["tokens"], failed["cost"], failed["duration"], failed["first_error"]):
        assert words in there.row(run.pk)
    assert failed["targets"] == "0 of 10, 10 failed"


@pytest.mark.parametrize(
    "query",
    [
        "status=failed",
        "status=failed&status=success",
        "layer_name=a",
        "layer_name=a&layer_name=b&status=success",
        "model_name=m-a",
        "source=s-b",
        "period=24h",
        "period=7d",
        "period=30d",
        "period=90d",
        "q=connection",
        "q=server:1:user:3&status=failed&period=30d",
        "q=100%25",
        "since=2020-01-01",
        "until=2020-01-01",
        "layer_name=nobody",
    ],
)
def test_its_filters_select_what_the_same_parameters_select_in_the_monitor(listed, staff_client, dom, some_runs, query):
    answer = listed(f"?{query}")
    wide = "" if "period" in query or "since" in query or "until" in query else "&period=all"
    page = dom(staff_client.get(f"{reverse('layer_runs:list')}?{query}{wide}&per_page=100"))
    assert str(answer.count) == page.total
    assert answer.listed == page.run_ids


def test_it_narrows_to_a_range_of_ones_own(listed):
    for day in (1, 2, 3):
        LayerRunFactory(id=f"day-{day}", started_at=datetime(2026, 6, day, 12, tzinfo=UTC))
    assert listed("?since=2026-06-02").listed == ["day-3", "day-2"]
    assert listed("?until=2026-06-02").listed == ["day-2", "day-1"]
    assert listed("?since=2026-06-02&until=2026-06-02").listed == ["day-2"]
    assert listed("?since=2026-06-02&status=failed").listed == []


def test_its_periods_take_the_place_of_a_range(listed, query_of):
    LayerRunFactory(failing=True)
    LayerRunFactory(failing=True, ago=timedelta(days=20))
    answer = listed("?since=2026-01-01&until=2026-02-01&status=failed")
    assert answer.listed == []
    for name in ("7 d", "All"):
        (url,) = {
            link.get("href")
            for link in answer.all("details[@data-filter-title='period']//a")
            if answer.text(link) == name
        }
        assert not {"since", "until"} & query_of(url).keys()
        assert query_of(url)["status"] == ["failed"]
        assert len(listed(url).listed) == (1 if name == "7 d" else 2)


def test_it_keeps_the_range_in_the_links_of_its_other_filters(listed, query_of):
    LayerRunFactory(failing=True)
    answer = listed("?since=2020-01-01&layer_name=nightly-user-reflection")
    (url,) = {
        link.get("href")
        for link in answer.all("details[@data-filter-title='status']//a")
        if answer.text(link) == "failed"
    }
    assert query_of(url) == {
        "since": ["2020-01-01"],
        "layer_name": ["nightly-user-reflection"],
        "status": ["failed"],
    }


@pytest.mark.parametrize(
    "query", ["period=bogus", "status=bogus", "since=garbage", "until=x", f"layer_name={'x' * 300}"]
)
def test_q09_it_leaves_a_bad_filter_out(listed, some_runs, query):
    answer = listed(f"?{query}")
    assert answer.count == len(some_runs)


@pytest.mark.parametrize("query", ["period=bogus", "status=bogus", "since=garbage", "until=x"])
def test_q09_it_says_that_a_bad_filter_was_left_out(listed, some_runs, query):
    answer = listed(f"?{query}")
    assert "This filter was left out." in " ".join(answer.texts("ul[@class='messagelist']/li"))


@pytest.mark.parametrize(
    "lookup",
    [
        "layer_name__regex=^(a%2B)%2B$",
        "layer_name__iregex=.",
        "errors__contains=x",
        "error_preview__startswith=x",
        "calls__topic=x",
        "error_lines__message__contains=x",
        "started_at__year=2026",
        "id__in=a,b",
        "status__exact=failed",
    ],
)
def test_q18_it_allows_no_look_ups_but_those_of_the_selection(staff_client, lookup):
    LayerRunFactory(layer_name="a" * 26 + "!")
    assert staff_client.get(listing(f"?{lookup}")).status_code == 400


# What the monitor can select and the admin has no filter of its own for.
BEYOND = ["node=reflect", "has_errors=1", "min_cost=0.1", "call_type=reflection", "topic=server:1:user:0"]


@pytest.mark.parametrize(
    "query", [*BEYOND, "layer_hash=x", "exclude_layer=nightly-user-reflection", "node=reflect&status=failed&q=e"]
)
def test_q09_it_shows_whatever_the_monitor_selects_and_never_more(listed, staff_client, dom, query):
    LlmCallFactory(run=LayerRunFactory(estimated_cost_usd="0.01"))
    LayerRunFactory(failing=True, layer_hash="x", estimated_cost_usd=None)
    LayerRunFactory(layer_name="another", estimated_cost_usd="5")
    monitor = dom(staff_client.get(f"{reverse('layer_runs:list')}?period=all&{query}"))
    assert 0 < len(monitor.run_ids) < 3

    answer = staff_client.get(listing(f"?{query}"))

    assert answer.status_code == 200
    assert sorted(run.pk for run in answer.context["cl"].result_list) == sorted(monitor.run_ids)
    exported = staff_client.post(
        listing(f"?{query}"), {"action": "export_json", "select_across": "1", "_selected_action": "x"}
    )
    assert len(b"".join(exported.streaming_content).splitlines()) == len(monitor.run_ids)
    assert "default-src 'none'" in exported["Content-Security-Policy"]


def test_q09_what_it_has_no_filter_for_is_shown_and_taken_away_by_a_click(staff_client, dom):
    LayerRunFactory(failing=True)
    LayerRunFactory()
    page = dom(staff_client.get(listing("?node=reflect&status=failed")))
    assert page.link("Node: reflect") == "?status=failed"


def test_q09_a_filter_that_one_may_not_use_is_left_out_and_nothing_is_done_with_the_whole(blind_client, dom):
    LayerRunFactory(failing=True)
    LayerRunFactory()
    page = dom(blind_client.get(listing("?node=reflect")))
    assert "needs the permission to view run details" in page.text("ul[@class='messagelist']")
    whole = {"action": "export_csv", "select_across": "1", "_selected_action": "x"}
    answer = dom(blind_client.post(listing("?node=reflect"), whole, follow=True))
    assert "Nothing was done, since a filter was left out." in answer.text()


@pytest.mark.parametrize("query", ["?p=999999", "?o=999", "?o=1.-2.x", "?all=1", "?e=1", "?q=" + "w+" * 500, "?p=x"])
def test_q19_q20_it_survives_what_can_be_asked_of_a_list(staff_client, query):
    LayerRunFactory.create_batch(3)
    assert staff_client.get(listing(query), follow=True).status_code == 200


@pytest.mark.parametrize("column", [1, 6, 7, 8])
@pytest.mark.parametrize("sign", ["", "-"])
def test_it_sorts_with_empty_values_last_and_shows_every_run_once(listed, column, sign):
    empty = {"tokens_total": None, "tokens_input": None, "tokens_output": None, "estimated_cost_usd": None}
    moment = LayerRunFactory.build().started_at
    LayerRun.objects.bulk_create(
        [
            *LayerRunFactory.build_batch(30, started_at=moment, completed_at=None, **empty),
            *LayerRunFactory.build_batch(30, started_at=moment),
            *LayerRunFactory.build_batch(30, ago=timedelta(hours=2), tokens_total=0, estimated_cost_usd="0"),
        ]
    )
    pages = [listed(f"?o={sign}{column}&p={page}").listed for page in (1, 2)]
    seen = [pk for page in pages for pk in page]
    assert len(seen) == 90
    assert set(seen) == set(LayerRun.objects.values_list("pk", flat=True))
    if column > 1:
        runs = LayerRun.objects.in_bulk(seen)
        field = {6: "tokens_total", 7: "estimated_cost_usd", 8: "duration_ms"}[column]
        values = [getattr(runs[pk], field) for pk in seen]
        assert values[60:] == [None] * 30
        assert values[:60] == sorted(values[:60], reverse=bool(sign))


def test_it_sorts_by_nothing_that_no_index_ends(listed):
    LayerRunFactory()
    sortable = {
        head.get("class")
        for head in listed().all("table[@id='result_list']/thead//th")
        if "sortable" in head.get("class", "")
    }
    assert {name.split("column-")[1].split()[0] for name in sortable} == {"started_at", "tokens", "cost", "duration"}


@pytest.mark.parametrize("query", ["", "?status=failed&q=connection", "?o=7"])
def test_it_costs_as_many_queries_for_fifty_rows_as_for_one(listed, django_assert_num_queries, query):
    LayerRunFactory(failing=True, source="a")
    LayerRunFactory(failing=True, source="b")
    with CaptureQueriesContext(connection) as queries:
        listed(query)
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(48, failing=True))
    with django_assert_num_queries(len(queries)):
        assert len(listed(query).listed) == 50
    assert len(queries) <= 14


@pytest.mark.parametrize("query", ["", "?status=failed&q=connection", "?o=-7&p=1"])
def test_d24_it_never_reads_the_errors_of_the_runs_it_lists(listed, query):
    LayerRunFactory(failing=True)
    with CaptureQueriesContext(connection) as queries:
        assert len(listed(query).listed) == 1
    table = LayerRun._meta.db_table
    assert not [sql for sql in (query["sql"] for query in queries) if f'"{table}"."errors"' in sql]


def test_it_counts_no_more_than_it_lists(listed):
    LayerRunFactory.create_batch(3)
    with CaptureQueriesContext(connection) as queries:
        listed("?layer_name=a")
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert len(counts) == 1
    assert "WHERE" in counts[0]


def test_d_it_lists_every_odd_row(listed, odd_runs):
    good = LayerRunFactory()
    answer = listed()
    assert set(answer.listed) == {good.pk, *odd_runs}
    assert answer.live_parts == []
    assert "<script>window.x=1</script>" in answer.text()


# -- one run


def test_a16_it_shows_a_run_and_lets_nobody_change_it(staff_client, keeper_client, dom):
    run = LayerRunFactory(failing=True, notes={"original_id": "x/1"})
    for client in (staff_client, keeper_client, client_of(StaffFactory(is_superuser=True))):
        page = dom(client.get(about("change", run.pk)))
        assert page.all("input[@name='_save']") == []
        assert [box for box in page.all("form[@id='layerrun_form']//input") if box.get("type") != "hidden"] == []
        assert client.get(reverse("admin:layer_runs_layerrun_add")).status_code == 403
        changed = client.post(about("change", run.pk), {"status": "success", "errors": "null", "layer_name": "x"})
        assert changed.status_code == 403
    run.refresh_from_db()
    assert (run.status, run.error_count) == ("failed", 10)


REGISTERED = [model for model in site._registry if model._meta.app_label == "layer_runs"]


@pytest.mark.parametrize("who", ["keeper", "superuser"])
@pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model.__name__)
def test_a16_nobody_adds_or_changes_a_row_of_any_model(model, who):
    rows = {
        LayerRun: lambda: LayerRunFactory(failing=True),
        AuditEvent: lambda: record(Action.EXPORT, actor="ada", what="x", runs=1),
    }
    row = rows[model]()
    everything = Permission.objects.filter(content_type__app_label="layer_runs").values_list("codename", flat=True)
    client = client_of(StaffFactory(is_superuser=True) if who == "superuser" else StaffFactory(can=list(everything)))
    before = list(model.objects.values())
    name = f"admin:layer_runs_{model._meta.model_name}"
    add, change = reverse(f"{name}_add"), reverse(f"{name}_change", args=[row.pk])
    fields = {field.name: "9" for field in model._meta.concrete_fields}
    answers = [client.get(add), client.post(add, fields), client.post(change, fields)]
    answers += [client.post(change, fields | {"_saveasnew": "1"}), client.post(change, fields | {"id": "another"})]
    assert [answer.status_code for answer in answers] == [403] * 5
    editing = {"_save": "Save", "form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": row.pk} | fields
    client.post(reverse(f"{name}_changelist"), editing)
    assert list(model.objects.values()) == before


def test_it_shows_every_field_of_a_run(staff_client, dom):
    run = LayerRunFactory(failing=True, unpriced_tokens=777, reported_tokens_total=58_001, reported_cost_usd="0.1622")
    text = dom(staff_client.get(about("change", run.pk))).text()
    for words in (run.pk, run.layer_name, run.layer_hash, "anthropic", "0.1622", "Connection error", "server:1:user:9"):
        assert words in text


def test_d_it_shows_every_odd_run(staff_client, odd_runs, dom):
    for pk in odd_runs:
        page = dom(staff_client.get(about("change", pk)))
        assert page.response.status_code == 200
        assert pk in page.text()
        assert page.live_parts == []


def test_d23_its_page_stays_small_with_ten_thousand_errors(staff_client, dom):
    run = LayerRunFactory(status="failed")
    errors = [{"topic": f"topic-{n:05}", "error": f"{n} {'x' * 220}", "node": "n"} for n in range(10_000)]
    LayerRun.objects.filter(pk=run.pk).update(errors=errors)
    page = dom(staff_client.get(about("change", run.pk)))
    assert len(page.source) < 200_000
    assert "10,000 errors" in page.text()
    there = dom(staff_client.get(page.link("Next")))
    assert "51–100 of 10,000" in there.text()


def test_it_costs_a_page_of_a_run_a_fixed_number_of_queries(staff_client, django_assert_num_queries):
    small, big = LayerRunFactory(), LayerRunFactory(failing=True)
    with CaptureQueriesContext(connection) as queries:
        staff_client.get(about("change", small.pk))
    with django_assert_num_queries(len(queries)):
        staff_client.get(about("change", big.pk))
    assert len(queries) <= 8


def test_a_run_that_is_not_there_leads_back_with_a_message(staff_client):
    assert staff_client.get(about("change", "nobody")).status_code == 302


# -- back and forth


def test_it_leads_to_the_monitor_and_back_with_the_selection(listed, staff_client, dom, query_of):
    LayerRunFactory(failing=True)
    selection = {"layer_name": ["nightly-user-reflection"], "status": ["failed"], "q": ["connection"]}
    answer = listed("?layer_name=nightly-user-reflection&status=failed&q=connection&o=1&p=1&period=30d")
    url = answer.link("Open in the monitor")
    assert query_of(url) == selection | {"period": ["30d"]}
    back = dom(staff_client.get(url)).link("Admin")
    assert query_of(back) == selection | {"period": ["30d"]}
    assert listed("?" + back.partition("?")[2]).listed == answer.listed


def test_its_way_to_the_monitor_shows_the_same_runs(listed, staff_client, dom, some_runs):
    for query in (
        "",
        "?status=failed",
        "?since=2020-01-01&until=2200-01-01",
        "?period=7d",
        "?layer_name=a&layer_name=b",
    ):
        answer = listed(query)
        page = dom(staff_client.get(answer.link("Open in the monitor")))
        assert page.total == str(answer.count), query


def test_the_way_from_the_monitor_shows_the_same_runs(listed, staff_client, dom, some_runs):
    for query in ("", "?status=failed", "?since=2020-01-01", "?period=all", "?layer_name=a&layer_name=b&sort=cost"):
        page = dom(staff_client.get(reverse("layer_runs:list") + query))
        assert str(listed("?" + page.link("Admin").partition("?")[2]).count) == page.total, query


def test_a_run_leads_to_itself_in_the_monitor(staff_client, dom):
    run = LayerRunFactory(id="zos:a_b")
    url = dom(staff_client.get(about("change", run.pk))).link("Open in the monitor")
    assert url == reverse("layer_runs:detail", args=[run.pk])


# -- who may see and do what


def test_it_says_nothing_of_what_runs_said_to_those_who_may_not_see_details(blind_client, listed):
    errors = [{"topic": PRIVATE, "error": f"{PRIVATE} failed", "node": PRIVATE}]
    run = LayerRunFactory(errors=errors, notes={"original_id": PRIVATE})
    LlmCallFactory(run=run, topic=PRIVATE, error_message=PRIVATE)
    answer = listed(client=blind_client)
    assert PRIVATE not in answer.source
    assert "first_error" not in answer.source
    assert listed(f"?q={PRIVATE}", client=blind_client).listed == []
    assert listed(f"?q={run.pk}", client=blind_client).listed == [run.pk]
    assert PRIVATE.encode() not in blind_client.get(about("change", run.pk)).content
    assert PRIVATE.encode() not in blind_client.get(about("history", run.pk)).content
    for kind in ("csv", "json"):
        answer = blind_client.post(listing(), {"action": f"export_{kind}", "_selected_action": [run.pk]})
        assert PRIVATE.encode() not in b"".join(answer)


def test_it_says_nothing_of_what_runs_said_before_they_are_deleted():
    client = client_of(StaffFactory(can=["view_layerrun", "delete_layerrun"]))
    run = LayerRunFactory(errors=[{"topic": PRIVATE, "error": PRIVATE, "node": PRIVATE}])
    LlmCallFactory(run=run, call_type=PRIVATE)
    assert PRIVATE.encode() not in client.get(about("delete", run.pk)).content
    answer = client.post(listing(), {"action": "delete_selected", "_selected_action": [run.pk]})
    assert b"Are you sure" in answer.content
    assert PRIVATE.encode() not in answer.content


def test_it_asks_before_deleting_a_run_with_ten_thousand_errors_on_a_small_page(keeper_client):
    run = LayerRunFactory()
    ErrorLine.objects.bulk_create(
        [
            ErrorLine(run=run, position=n, message="x" * 200, fingerprint="f", started_at=run.started_at)
            for n in range(10_000)
        ]
    )
    answer = keeper_client.get(about("delete", run.pk))
    assert answer.status_code == 200
    assert len(answer.content) < 100_000


def test_d_it_asks_before_deleting_any_odd_run(keeper_client, odd_runs, dom):
    data = {"action": "delete_selected", "_selected_action": list(odd_runs)}
    for answer in (keeper_client.post(listing(), data), keeper_client.get(about("delete", "script"))):
        assert answer.status_code == 200
        assert dom(answer).live_parts == []
    assert dom(keeper_client.post(listing(), data)).stats["total"] == str(len(odd_runs))


def test_a02_it_refuses_whoever_may_not_view_runs():
    run = LayerRunFactory()
    client = client_of(StaffFactory(can=["view_run_details"]))
    for url in (listing(), about("change", run.pk), about("history", run.pk)):
        assert client.get(url).status_code == 403


# -- the exports


def test_it_exports_the_chosen_runs(staff_client):
    runs = LayerRunFactory.create_batch(3, failing=True, layer_name="=danger")
    chosen = [run.pk for run in runs[:2]]
    answer = staff_client.post(listing(), {"action": "export_csv", "_selected_action": chosen})
    rows = list(csv.DictReader(io.StringIO(b"".join(answer).decode(), newline="")))
    assert answer["Content-Disposition"] == 'attachment; filename="layer-runs.csv"'
    assert {row["id"] for row in rows} == set(chosen)
    assert {row["layer_name"] for row in rows} == {"'=danger"}
    answer = staff_client.post(listing(), {"action": "export_json", "_selected_action": chosen})
    rows = [json.loads(line) for line in b"".join(answer).decode().splitlines()]
    assert [row["errors"] for row in rows] == [run.errors for run in runs[:2]]


def test_it_exports_all_that_a_filter_selects(staff_client, some_runs):
    data = {"action": "export_json", "_selected_action": [some_runs[1].pk], "select_across": "1"}
    answer = staff_client.post(listing("?status=failed&layer_name=a"), data)
    rows = [json.loads(line) for line in b"".join(answer).splitlines()]
    assert len(rows) == 4
    assert {(row["layer_name"], row["status"]) for row in rows} == {("a", "failed")}


def test_it_exports_many_runs_with_as_many_queries_as_one(staff_client, django_assert_num_queries):
    runs = LayerRunFactory.create_batch(30, failing=True)
    with CaptureQueriesContext(connection) as queries:
        b"".join(staff_client.post(listing(), {"action": "export_csv", "_selected_action": [runs[0].pk]}))
    data = {"action": "export_csv", "_selected_action": [run.pk for run in runs]}
    with django_assert_num_queries(len(queries)):
        b"".join(staff_client.post(listing(), data))
