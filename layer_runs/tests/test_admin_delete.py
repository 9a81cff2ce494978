"""Deleting runs in the admin: asked first, exactly what was asked about, in short batches, and on the record."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.core.handlers.base import BaseHandler
from django.db import OperationalError, connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import resolve, reverse

from layer_runs.admin import deleting
from layer_runs.models import AuditEvent, ErrorLine, LayerRun, LlmCall, RemovedRun, RunUsage
from layer_runs.querysets import LayerRunQuerySet
from layer_runs.tests.conftest import client_of
from layer_runs.tests.factories import LayerRunFactory, LlmCallFactory, StaffFactory

pytestmark = pytest.mark.django_db
LISTING = "admin:layer_runs_layerrun_changelist"
ACTION = {"action": "delete_selected"}
ALL = ACTION | {"_selected_action": ["x"], "select_across": "1"}


@pytest.fixture
def keeper(db):
    return StaffFactory(username="grace", can=["view_layerrun", "delete_layerrun", "prune_runs"])


@pytest.fixture
def client(keeper) -> Client:
    return client_of(keeper)


@pytest.fixture
def ask(client, dom):
    """Choose "select all" and the action, as the list does; the answer is the question."""

    def ask(query: str = "", client=client, **data):
        return dom(client.post(reverse(LISTING) + query, {"index": "0"} | ALL | data))

    return ask


def answer(question, client: Client, **changes: str):
    """Send the form of the question back, with the number of runs typed in."""
    form = question.one("form[@id='lr-delete']")
    fields = defaultdict(list)
    for field in form.iter("input"):
        if field.get("name") not in (None, "csrfmiddlewaretoken"):
            fields[field.get("name")].append(field.get("value", ""))
    fields |= {"typed": question.stats["total"]} if "typed" in fields else {}
    return client.post(form.get("action"), fields | changes, follow=True)


def said(response) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def left() -> set[str]:
    return set(LayerRun.objects.values_list("pk", flat=True))


def ticked(*runs: LayerRun, **data: str) -> dict[str, object]:
    return ACTION | {"_selected_action": [run.pk for run in runs]} | data


# -- ticked runs


def test_a17_ticked_runs_are_deleted_with_all_that_is_theirs_and_leave_a_trail(client, dom, keeper):
    runs = LayerRunFactory.create_batch(2, failing=True)
    other = LayerRunFactory(failing=True)
    for run in (*runs, other):
        LlmCallFactory(run=run)
    question = dom(client.post(reverse(LISTING), ticked(*runs, index="0")))
    assert question.stats == {"total": "2", "errors": "20", "calls": "2", "cost": "0.358800000"}
    assert left() == {*(run.pk for run in runs), other.pk}
    assert "Deleted 2 runs" in said(answer(question, client))
    assert left() == {other.pk}
    for model in (ErrorLine, LlmCall, RunUsage):
        assert set(model.objects.values_list("run", flat=True)) == {other.pk}
    assert set(RemovedRun.objects.values_list("pk", flat=True)) == {run.pk for run in runs}
    entries = LogEntry.objects.values_list("user__username", "object_id", "action_flag")
    assert set(entries) == {("grace", run.pk, 3) for run in runs}
    (event,) = AuditEvent.objects.values_list("action", "actor", "runs")
    assert event == ("delete", keeper.username, 2)
    assert all(run.pk in AuditEvent.objects.get().what for run in runs)


def test_a17_deleting_a_run_on_its_own_page_leaves_a_trail(client):
    run = LayerRunFactory()
    url = reverse("admin:layer_runs_layerrun_delete", args=[run.pk])
    assert client.get(url).status_code == 200
    assert not AuditEvent.objects.exists()
    assert client.post(url, {"post": "yes"}).status_code == 302
    assert AuditEvent.objects.values_list("action", "actor", "what", "runs").get() == (
        *("delete", "grace", f"run {run.pk}", 1),
    )
    assert LogEntry.objects.get().object_id == run.pk
    assert left() == set()


def test_a_running_run_goes_only_where_it_is_ticked_and_that_is_said(client, dom, ask):
    going, done = LayerRunFactory(under_way=True), LayerRunFactory()
    question = ask()
    assert (question.stats["total"], question.stats["running"]) == ("1", "1")
    assert "1 run still running: left alone here" in question.text()
    answer(question, client)
    assert left() == {going.pk}
    assert "There is no run to delete" in said(client.post(reverse(LISTING), ALL, follow=True))
    question = dom(client.post(reverse(LISTING), ticked(going)))
    assert "1 run still running" in question.text()
    answer(question, client)
    assert left() == set()
    assert done.pk in RemovedRun.objects.values_list("pk", flat=True)


def test_it_names_what_was_ticked_and_nothing_that_it_said(client, dom, odd_runs):
    page = dom(client.post(reverse(LISTING), ticked(*odd_runs.values())))
    assert page.live_parts == []
    assert page.stats["total"] == str(len(odd_runs))
    assert all(pk in page.text() for pk in odd_runs)
    assert "an object and no list" not in page.text()
    for link in page.all("ul/li/a"):
        assert client.get(link.get("href")).status_code == 200
    assert "Deleted" in said(answer(page, client))
    assert left() == set()


# -- all of a selection


def test_a18_all_of_three_thousand_runs_are_deleted_in_batches_by_typing_their_number(client, ask):
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(2_990, layer_name="a"))
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(10, layer_name="a", failing=True))
    kept = LayerRunFactory(layer_name="b")
    question = ask("?layer_name=a")
    assert question.stats["total"] == "3000"
    assert len(question.source) < 20_000
    assert question.stats["errors"] == "100"
    assert Decimal(question.stats["cost"]) == 3_000 * Decimal("0.1794")
    assert len(left()) == 3_001
    with CaptureQueriesContext(connection) as queries:
        response = answer(question, client, typed="3,000")
    assert "Deleted 3,000 runs. No import brings them back." in said(response)
    assert left() == {kept.pk}
    assert response.redirect_chain[-1][0] == f"{reverse(LISTING)}?layer_name=a"
    assert (RemovedRun.objects.count(), LogEntry.objects.count(), ErrorLine.objects.count()) == (3_000, 3_000, 0)
    deletions = [
        query["sql"] for query in queries if query["sql"].startswith(f'DELETE FROM "{LayerRun._meta.db_table}"')
    ]
    assert len(deletions) == 3_000 / deleting.AT_ONCE
    event = AuditEvent.objects.get()
    assert event.runs == 3_000
    # With its edge, so that it says at any later time which runs it was.
    assert event.what.startswith(f"all of {reverse(LISTING)}?layer_name=a&until=20")


@pytest.mark.parametrize("typed", ["3", " 3 "])
def test_a18_the_number_is_read_as_people_write_it(client, ask, typed):
    LayerRunFactory.create_batch(3)
    assert "Deleted 3 runs" in said(answer(ask(), client, typed=typed))


@pytest.mark.parametrize("typed", ["", "2", "4", "three", "3 3", "-3", "3.0"])
def test_a18_another_number_deletes_nothing_and_asks_again(client, ask, dom, typed):
    LayerRunFactory.create_batch(3)
    again = dom(answer(ask(), client, typed=typed))
    assert "type 3 to delete that many" in again.text("p[@role='alert']")
    assert (len(left()), AuditEvent.objects.count()) == (3, 0)
    assert "Deleted 3 runs" in said(answer(again, client))


def test_a18_runs_that_start_after_the_question_stay(client, ask):
    LayerRunFactory.create_batch(2)
    ahead = LayerRunFactory(ago=-timedelta(minutes=10))  # By a clock that is ahead of ours.
    question = ask("?period=24h")
    later = LayerRunFactory(ago=-timedelta(minutes=20))
    assert question.stats["total"] == "3"
    assert "Deleted 3 runs" in said(answer(question, client))
    assert left() == {later.pk}
    assert RemovedRun.objects.filter(pk=ahead.pk).exists()


def test_a18_runs_that_slid_out_of_the_window_since_the_question_are_deleted_as_they_were_shown(client, ask):
    moment = datetime(2026, 6, 15, 12, tzinfo=UTC)
    LayerRunFactory(started_at=moment - timedelta(hours=23, minutes=59))
    with time_machine.travel(moment, tick=False):
        client.force_login(StaffFactory(is_superuser=True))
        question = ask("?period=24h", client=client)
    with time_machine.travel(moment + timedelta(minutes=5), tick=False):
        assert "Deleted 1 run." in said(answer(question, client))


@pytest.mark.parametrize("change", ["arrived", "left", "swapped"])
def test_a18_where_other_runs_are_in_the_selection_by_now_it_asks_again(client, ask, dom, change):
    first, *_others = LayerRunFactory.create_batch(3, failing=True)
    other = LayerRunFactory()
    question = ask("?status=failed")
    if change in ("arrived", "swapped"):
        LayerRun.objects.filter(pk=other.pk).update(status="failed")
    if change in ("left", "swapped"):
        LayerRun.objects.filter(pk=first.pk).update(status="partial")
    before = left()
    again = dom(answer(question, client))
    assert "have changed since you were asked" in again.text("p[@role='alert']")
    assert again.stats["total"] == {"arrived": "4", "left": "2", "swapped": "3"}[change]
    assert (left(), AuditEvent.objects.count()) == (before, 0)
    assert "Deleted" in said(answer(again, client))
    assert left() == set(LayerRun.objects.exclude(status="failed").values_list("pk", flat=True))


@pytest.mark.parametrize("query", ["?status=bogus", "?since=garbage", "?period=x&status=failed"])
def test_a18_a_mistake_in_the_query_deletes_and_exports_nothing(client, ask, query):
    LayerRunFactory(failing=True)
    for action in ("delete_selected", "export_csv"):
        response = client.post(reverse(LISTING) + query, ALL | {"action": action, "post": "yes"}, follow=True)
        assert "Nothing was done, since a filter was left out" in said(response)
    assert len(left()) == 1
    assert not AuditEvent.objects.exists()


def test_a18_it_says_what_goes_and_each_number_leads_to_exactly_those_runs(client, ask, dom):
    for name, number in zip("abcdefg", (7, 6, 5, 4, 3, 2, 1), strict=True):
        LayerRunFactory.create_batch(number, layer_name=name)
    LayerRunFactory.create_batch(2, layer_name="a", failing=True)
    LayerRunFactory(layer_name="a", under_way=True)
    LayerRunFactory(layer_name="a", ago=timedelta(days=20))
    question = ask("?period=7d")
    assert question.stats["total"] == "30"
    assert "and of 2 more layers" in question.text()
    links = {question.text(link): link.get("href") for link in question.all("ul//a")}
    assert list(links) == ["28 success", "2 failed", "9 a", "6 b", "5 c", "4 d", "3 e"]
    for text, url in links.items():
        listed = client.get(url).context["cl"]
        assert str(listed.result_count) == text.split()[0]


def test_a18_the_search_of_the_list_is_part_of_what_is_deleted(client, ask):
    LayerRunFactory(id="wanted-1"), LayerRunFactory(id="wanted-2", failing=True)
    kept = LayerRunFactory(id="other")
    question = ask("?q=wanted")
    assert question.stats["total"] == "2"
    answer(question, client)
    assert left() == {kept.pk}


def test_a18_it_deletes_all_of_them_in_a_site_of_one_transaction_a_request(client, ask, monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    view = resolve(reverse(LISTING)).func
    assert BaseHandler().make_view_atomic(view) is view


def test_a18_a_request_ends_in_time_and_asks_for_the_rest(client, ask, dom, monkeypatch):
    monkeypatch.setattr(deleting, "AT_ONCE", 2)
    monkeypatch.setattr(deleting, "SECONDS_AT_MOST", 0)
    runs = [LayerRunFactory(ago=timedelta(hours=hour)) for hour in range(1, 6)]
    question = dom(answer(ask("?period=7d"), client))
    assert "Deleted 2 runs so far." in question.text("p[@role='alert']")
    assert left() == {run.pk for run in runs[:3]}
    assert (question.stats["total"], question.one("input[@name='typed']").get("value")) == ("3", "3")
    assert AuditEvent.objects.get().runs == 2
    # Others than were agreed to have to be agreed to as well.
    LayerRunFactory(ago=timedelta(hours=30))
    assert "have changed" in dom(answer(question, client)).text("p[@role='alert']")
    question = dom(answer(ask("?period=7d"), client))
    assert question.stats["total"] == "2"
    assert "Deleted 2 runs. No import" in said(answer(question, client))
    assert left() == set()
    assert list(AuditEvent.objects.order_by("id").values_list("runs", flat=True)) == [2, 2, 2]


def test_the_way_back_is_a_link_that_sends_nothing_again(client, ask):
    LayerRunFactory()
    question = ask("?status=success&o=1")
    assert question.link("No, take me back") == f"{reverse(LISTING)}?status=success&o=1"
    assert "cancel.js" not in question.source


# -- who may


@pytest.mark.parametrize(
    ("can", "whole", "may"),
    [
        (["delete_layerrun"], False, True),
        (["delete_layerrun"], True, False),
        (["prune_runs"], False, False),
        (["prune_runs"], True, False),
        ([], False, False),
        ([], True, False),
        (["delete_layerrun", "prune_runs"], True, True),
    ],
)
def test_a03_it_takes_a_permission_for_some_and_another_for_all(can, whole, may, dom):
    run = LayerRunFactory()
    client = client_of(StaffFactory(can=["view_layerrun", *can]))
    asked = client.post(reverse(LISTING), ALL if whole else ticked(run), follow=True)
    assert ("Are you sure" in asked.content.decode()) is may
    digest = hashlib.sha256(run.pk.encode()).hexdigest()
    data = (ALL if whole else ticked(run)) | {"post": "yes", "typed": "1", "digest": digest}
    client.post(reverse(LISTING), data)
    assert (left() == set()) is may
    assert AuditEvent.objects.exists() is may


def test_a03_no_get_deletes(client):
    run = LayerRunFactory()
    digest = hashlib.sha256(run.pk.encode()).hexdigest()
    given = ALL | {"post": "yes", "typed": "1", "digest": digest}
    client.get(reverse(LISTING), given)
    client.get(reverse(LISTING), ticked(run, post="yes"))
    client.get(reverse("admin:layer_runs_layerrun_delete", args=[run.pk]), {"post": "yes"})
    assert left() == {run.pk}
    # So that the same would delete by POST.
    client.post(reverse(LISTING), given)
    assert left() == set()


def test_a04_nothing_is_deleted_without_the_token_of_this_session(keeper):
    run = LayerRunFactory()
    client = Client(enforce_csrf_checks=True)
    client.force_login(keeper)
    for token in ({}, {"csrfmiddlewaretoken": "x" * 64}):
        data = ticked(run, post="yes") | token
        assert client.post(reverse(LISTING), data).status_code == 403
    assert left() == {run.pk}


# -- when the storage fails


@pytest.fixture
def failing_at(monkeypatch):
    """Let the storage fail at the nth batch that is deleted."""

    def failing_at(number: int) -> None:
        batches, delete = iter(range(1, 100)), LayerRunQuerySet.delete

        def failing(runs: LayerRunQuerySet) -> tuple[int, dict[str, int]]:
            done = delete(runs)
            if next(batches) == number:
                raise OperationalError("disk full")
            return done

        monkeypatch.setattr(LayerRunQuerySet, "delete", failing)

    return failing_at


@pytest.mark.parametrize("batch", [1, 3])
def test_t10_it_says_how_many_are_gone_where_the_storage_fails_half_way(client, ask, failing_at, monkeypatch, batch):
    monkeypatch.setattr(deleting, "AT_ONCE", 10)
    moment = LayerRunFactory.build().started_at
    runs = [LayerRunFactory.build(started_at=moment - timedelta(seconds=second)) for second in range(40)]
    LayerRun.objects.bulk_create(runs)
    question = ask()
    failing_at(batch)
    gone = (batch - 1) * 10
    assert f"The database failed after {gone} of 40 runs." in said(answer(question, client))
    # The oldest go first.
    assert left() == {run.pk for run in runs[: len(runs) - gone]}
    assert (AuditEvent.objects.get().runs, RemovedRun.objects.count(), LogEntry.objects.count()) == (gone, gone, gone)


def test_a17_what_leaves_no_trail_is_not_deleted(keeper, ask, monkeypatch):
    run = LayerRunFactory()
    client = client_of(keeper)
    client.raise_request_exception = False
    question = ask(client=client)

    def full(**values):
        raise OperationalError("disk full")

    monkeypatch.setattr(AuditEvent.objects, "create", full)
    assert answer(question, client).status_code >= 500
    assert client.post(reverse(LISTING), ticked(run, post="yes")).status_code >= 500
    url = reverse("admin:layer_runs_layerrun_delete", args=[run.pk])
    assert client.post(url, {"post": "yes"}).status_code >= 500
    assert left() == {run.pk}
    assert not LogEntry.objects.exists()
