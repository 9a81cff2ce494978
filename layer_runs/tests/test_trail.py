"""The trail: whoever exports or deletes leaves who it was, what it was and how many, or does not get to do it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from unittest import mock

import pytest
from django.core.signals import request_finished
from django.db import DatabaseError, OperationalError
from django.db.models import QuerySet
from django.urls import reverse

from layer_runs import export
from layer_runs.audit import Action, process_owner, record
from layer_runs.models import AuditEvent, LayerRun
from layer_runs.tests.conftest import client_of
from layer_runs.tests.factories import LayerRunFactory, StaffFactory

pytestmark = pytest.mark.django_db
TRAIL = "admin:layer_runs_auditevent_changelist"
RUNS = "admin:layer_runs_layerrun_changelist"
NUL_FREE_ODD = "a\r\nb\x1b[31m\u2028c\u202ed\udcffe"


@pytest.fixture
def client(db):
    return client_of(StaffFactory(username="ada"))


@pytest.fixture
def auditor(db):
    return client_of(StaffFactory(can=["view_auditevent"]))


def events() -> list[tuple[str, str, str, int | None]]:
    return list(AuditEvent.objects.order_by("id").values_list("action", "actor", "what", "runs"))


def hang_up(response) -> None:
    """Close an answer as a server does, without the end of the request: that would close the test's connection."""
    with mock.patch.object(request_finished, "send"):
        response.close()


def url_of(name: str, *args: str) -> str:
    return reverse(f"layer_runs:{name}", args=args)


# -- what leaves it


@pytest.mark.parametrize(
    ("name", "args", "rows"),
    [
        ("export", ["csv"], 3),
        ("export", ["json"], 3),
        ("layers_csv", [], 2),
        ("errors_csv", [], 1),
        ("costs_csv", [], 2),
    ],
)
def test_a17_every_download_leaves_who_what_and_how_many(client, name, args, rows):
    for layer in ("a", "b"):
        LayerRunFactory(layer_name=layer, failing=True)
    LayerRunFactory(layer_name="a", failing=True)
    LayerRunFactory(layer_name="a")
    url = url_of(name, *args)
    what = f"{url}?status=failed&period=7d{', with error texts' if name == 'export' else ''}"
    response = client.get(f"{url}?status=failed&utm_source=x")
    assert events() == [("export", "ada", what, None)]
    text = b"".join(response.streaming_content).decode()
    assert len(text.splitlines()) == rows + (args != ["json"])
    assert events() == [("export", "ada", what, rows)]


def test_a17_a_raw_row_is_an_export_of_one_run(client):
    run = LayerRunFactory()
    assert client.get(url_of("raw", run.pk)).json()["id"] == run.pk
    assert events() == [("export", "ada", url_of("raw", run.pk), 1)]


@pytest.mark.parametrize("whole", [False, True], ids=["ticked", "whole"])
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a17_an_export_from_the_admin_leaves_which_runs_it_was(client, kind, whole):
    runs = LayerRunFactory.create_batch(3, failing=True)
    LayerRunFactory()
    data = {"action": f"export_{kind}", "_selected_action": [run.pk for run in runs[:2]]}
    url = reverse(RUNS) + "?status=failed"
    b"".join(client.post(url, data | ({"select_across": "1"} if whole else {})))
    which = f"all of {url}&period=all" if whole else f"ticked: {runs[0].pk}, {runs[1].pk}"
    assert events() == [("export", "ada", f"{kind} {which}, with error texts", 3 if whole else 2)]


@pytest.mark.parametrize(
    ("name", "args"),
    [("export", ["csv"]), ("export", ["json"]), ("layers_csv", []), ("errors_csv", []), ("costs_csv", []), ("raw", [])],
)
def test_q21_a_head_is_told_the_headers_and_sent_nothing_and_leaves_no_trail(client, name, args):
    run = LayerRunFactory(failing=True)
    url = url_of(name, *(args or ([run.pk] if name == "raw" else [])))
    head, got = client.head(url), client.get(url)
    assert head.status_code == 200
    assert (head["Content-Type"], head["Content-Disposition"]) == (got["Content-Type"], got["Content-Disposition"])
    assert b"".join(head) == b""
    assert b"".join(got) != b""
    assert len(events()) == 1


@pytest.mark.parametrize(("query", "status"), [("?status=bogus", 400), ("?error=0123", 400)])
def test_a_refused_export_leaves_no_trail(blind_client, query, status):
    for kind in ("csv", "json"):
        assert blind_client.get(url_of("export", kind) + query).status_code == status
    assert blind_client.get(url_of("export", "xml")).status_code == 404
    assert blind_client.get(url_of("errors_csv")).status_code == 403
    assert blind_client.get(url_of("raw", LayerRunFactory().pk)).status_code == 403
    assert events() == []


# -- how many


def test_a17_a_download_that_breaks_off_says_how_many_rows_went(client):
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(1_200))
    response = client.get(url_of("export", "csv"))
    lines = iter(response.streaming_content)
    for _line in range(701):
        next(lines)
    hang_up(response)
    assert [runs for *_rest, runs in events()] == [700]


def test_a17_a_download_that_nobody_fetched_was_none(client):
    LayerRunFactory()
    client.get(reverse(RUNS))
    data = {"action": "export_csv", "_selected_action": LayerRun.objects.values_list("pk", flat=True)}
    hang_up(client.post(reverse(RUNS), data))
    assert [runs for *_rest, runs in events()] == [0]


def test_a17_a_download_that_fails_half_way_says_how_many_rows_went(client, monkeypatch):
    monkeypatch.setattr(export, "BATCH", 2)
    LayerRunFactory.create_batch(5)
    from_db, made = LayerRun.from_db.__func__, iter(range(1, 100))

    def failing(cls, *args):
        if next(made) == 2:
            raise OperationalError("gone")
        return from_db(cls, *args)

    response = client.get(url_of("export", "json"))
    monkeypatch.setattr(LayerRun, "from_db", classmethod(failing))
    with pytest.raises(OperationalError):
        b"".join(response.streaming_content)
    assert [runs for *_rest, runs in events()] == [2]


def test_a17_what_was_sent_stays_sent_where_its_number_cannot_be_kept(client, monkeypatch):
    LayerRunFactory.create_batch(2)
    response = client.get(url_of("export", "json"))

    def full(event, runs):
        raise OperationalError("disk full")

    monkeypatch.setattr(AuditEvent, "count", full)
    assert len(b"".join(response.streaming_content).splitlines()) == 2
    hang_up(response)
    assert [runs for *_rest, runs in events()] == [None]


@pytest.mark.parametrize("name", ["export", "layers_csv", "raw", "admin"])
def test_a17_what_leaves_no_trail_is_not_exported(client, monkeypatch, name):
    run = LayerRunFactory(layer_name="secret-layer")

    def full(**values):
        raise OperationalError("disk full")

    monkeypatch.setattr(AuditEvent.objects, "create", full)
    client.raise_request_exception = False
    if name == "admin":
        response = client.post(reverse(RUNS), {"action": "export_csv", "_selected_action": [run.pk]})
    else:
        response = client.get(url_of(name, *{"export": ["csv"], "raw": [run.pk]}.get(name, [])))
    assert response.status_code >= 500
    assert "Content-Disposition" not in response.headers
    assert b"secret-layer" not in b"".join(response)


# -- the log


@pytest.fixture
def logged(caplog) -> Iterator[list[str]]:
    with caplog.at_level(logging.INFO, logger="layer_runs.audit"):
        yield lambda: [entry.getMessage() for entry in caplog.records if entry.name == "layer_runs.audit"]


def test_d26_one_event_is_one_line_of_the_log_whatever_it_was_about(logged):
    record(Action.DELETE, actor=f"eve{NUL_FREE_ODD}", what=NUL_FREE_ODD, runs=7)
    (line,) = logged()
    assert line.isprintable()
    spelled = r"a\r\nb\x1b[31m\u2028c\u202ed" + "\ufffde"
    assert line == f"delete by eve{spelled}: {spelled} (7 runs)"


def test_o06_a_long_address_makes_no_long_line(logged, client):
    LayerRunFactory()
    record(Action.PRUNE, actor="x", what="y" * 100_000, runs=1)
    assert len(logged()[0]) < 2_100
    assert len(AuditEvent.objects.get().what) <= 2_000


def test_an_export_of_a_thousand_runs_is_two_lines_of_the_log(logged, client):
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(1_000))
    b"".join(client.get(url_of("export", "json")).streaming_content)
    about = f"export by ada: {url_of('export', 'json')}?period=7d, with error texts"
    assert logged() == [f"{about} (? rows)", f"{about} (1000 rows)"]


def test_whoever_runs_a_command_is_named_by_account_and_machine():
    account, _at, machine = process_owner().partition("@")
    assert account
    assert machine


# -- the trail in the admin


@pytest.fixture
def shown(auditor, dom):
    def shown(query: str = "", client=auditor) -> list[list[str]]:
        page = dom(client.get(reverse(TRAIL) + query))
        assert page.response.status_code == 200
        assert page.live_parts == []
        return [[page.text(cell) for cell in row] for row in page.all("table[@id='result_list']/tbody/tr")]

    return shown


def test_a17_the_trail_is_listed_newest_first_with_who_what_and_how_many(shown):
    record(Action.EXPORT, actor="ada", what="/layer-runs/export/csv/?status=failed", runs=1_234)
    record(Action.PRUNE, actor="cron@host", what="older than 90d", runs=None)
    assert [row[1:] for row in shown()] == [
        ["Prune", "–", "cron@host", "older than 90d"],
        ["Export", "1,234", "ada", "/layer-runs/export/csv/?status=failed"],
    ]


def test_q22_the_trail_is_filtered_by_action_and_searched_for_literal_text(shown):
    record(Action.EXPORT, actor="ada_1", what="100% of it")
    record(Action.DELETE, actor="adax1", what="all of it, two words")
    assert len(shown("?action__exact=export")) == 1
    assert len(shown("?action__exact=rescue")) == 0
    for text, number in (("ada_1", 1), ("ADA", 2), ("100%25", 1), ("%25", 1), ("two words", 1), ("words two", 0)):
        assert len(shown(f"?q={text}")) == number, text
    assert len(shown(f"?q={'x' * 3_000}")) == 0


@pytest.mark.parametrize("lookup", ["what__regex=^(a%2B)%2B$", "actor__contains=a", "at__year=2026", "runs__gt=0"])
def test_q18_the_trail_allows_no_look_ups_but_by_action(auditor, lookup):
    assert auditor.get(f"{reverse(TRAIL)}?{lookup}").status_code == 400


@pytest.mark.parametrize("query", ["?p=999999", "?o=999", "?o=-1.2.x", "?all=1", "?e=1", "?action__exact=x"])
def test_q19_q20_the_trail_survives_what_can_be_asked_of_a_list(auditor, query):
    record(Action.EXPORT, actor="ada")
    assert auditor.get(reverse(TRAIL) + query, follow=True).status_code == 200


def test_d01_an_event_shows_what_a_stranger_wrote_as_text(auditor, shown, dom):
    hostile = "<script>window.x=1</script><img src=x onerror=x>" + "y" * 1_800
    event = record(Action.IMPORT, actor="<b>x</b>", what=hostile, runs=0)
    ((_at, _action, _number, actor, about),) = shown()
    assert actor == "<b>x</b>"
    assert about.startswith("<script>window.x=1</script>")
    assert len(about) < 150
    page = dom(auditor.get(reverse("admin:layer_runs_auditevent_change", args=[event.pk])))
    assert page.live_parts == []
    assert hostile in page.text()


def test_a17_nobody_changes_the_trail_and_few_may_read_it(client, auditor):
    event = record(Action.EXPORT, actor="ada", what="x", runs=1)
    pages = {name: reverse(f"admin:layer_runs_auditevent_{name}", args=[event.pk]) for name in ("change", "delete")}
    for reader in (auditor, client_of(StaffFactory(is_superuser=True))):
        assert reader.get(pages["change"]).status_code == 200
        assert reader.get(pages["delete"]).status_code == 403
        assert reader.post(pages["delete"], {"post": "yes"}).status_code == 403
        chosen = {"action": "delete_selected", "_selected_action": [event.pk], "post": "yes"}
        reader.post(reverse(TRAIL), chosen)
        assert b'name="action"' not in reader.get(reverse(TRAIL)).content
    for url in (reverse(TRAIL), *pages.values()):
        assert client.get(url).status_code == 403
    assert events() == [("export", "ada", "x", 1)]


def test_the_trail_costs_as_many_queries_for_fifty_events_as_for_one(auditor, django_assert_max_num_queries):
    for number in range(60):
        record(Action.EXPORT, actor="ada", what=str(number), runs=number)
    with django_assert_max_num_queries(8):
        assert auditor.get(reverse(TRAIL)).status_code == 200


def test_a_number_that_cannot_be_kept_raises_the_databases_error(monkeypatch):
    event = record(Action.DELETE, actor="ada")

    def full(*args, **values):
        raise DatabaseError("disk full")

    monkeypatch.setattr(QuerySet, "update", full)
    with pytest.raises(DatabaseError, match="disk full"):
        event.count(3)


# -- downloads at the same time


def test_t17_downloads_leave_threads_for_the_pages(client):
    LayerRunFactory.create_batch(3)
    address = reverse("layer_runs:export", args=["csv"])
    reading = [client.get(address) for _ in range(export.AT_ONCE)]
    assert [answer.status_code for answer in reading] == [200] * export.AT_ONCE

    refused = client.get(address)
    assert (refused.status_code, refused["Retry-After"]) == (429, "10")
    assert refused.content.decode().startswith("Others are downloading at the moment.")
    assert client.get(reverse("layer_runs:list")).status_code == 200
    # Refused is not exported.
    assert AuditEvent.objects.filter(action=Action.EXPORT).count() == export.AT_ONCE

    for answer in reading:
        assert len(b"".join(answer.streaming_content).splitlines()) == 4
    assert client.get(address).status_code == 200


def test_t17_a_download_that_cannot_begin_takes_no_turn(client, monkeypatch):
    def fails(*args, **kwargs):
        raise OperationalError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("layer_runs.export.record", fails)
        client.raise_request_exception = False
        for _ in range(export.AT_ONCE + 1):
            assert client.get(reverse("layer_runs:export", args=["csv"])).status_code in (500, 503)
    assert client.get(reverse("layer_runs:export", args=["csv"])).status_code == 200
