"""What every download has in common: it is streamed, safe in a spreadsheet, and never wider than what was asked."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.http import HttpResponseBase
from django.test import RequestFactory
from django.urls import reverse

from layer_runs import export
from layer_runs.tests.factories import LayerRunFactory, StaffFactory
from layer_runs.views.downloads import DownloadView, LensCsvView

pytestmark = pytest.mark.django_db
LENSES = ("layers_csv", "errors_csv", "costs_csv")


class SquaresView(LensCsvView):
    """A lens of numbers and their squares, which counts how many were read."""

    url_name = "layer_runs:list"
    name = "squares"
    columns = ("number", "square")
    read = 0

    def rows(self) -> Iterator[dict[str, Any]]:
        for number in range(3):
            type(self).read += 1
            yield {"square": number * number, "number": number, "unasked": "x"}


@pytest.fixture
def download():
    def download(query: str = "", view: type[DownloadView] = SquaresView, **user: Any) -> HttpResponseBase:
        request = RequestFactory().get(f"/squares/{query}")
        request.user, request.htmx = StaffFactory(**user), None
        return view.as_view()(request)

    SquaresView.read = 0
    return download


def test_a_lens_says_its_columns_and_its_rows_and_is_a_download_of_them(download):
    response = download()
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="squares.csv"'
    assert b"".join(response.streaming_content).decode() == "number,square\r\n0,0\r\n1,1\r\n2,4\r\n"


def test_it_is_written_while_its_rows_are_read(download):
    response = download()
    assert response.streaming
    # The first row is asked for before the status is sent: a storage that is away is told by then.
    assert SquaresView.read == 1
    lines = iter(response.streaming_content)
    next(lines), next(lines)
    assert SquaresView.read == 1
    next(lines)
    assert SquaresView.read == 2


@pytest.mark.parametrize("query", ["?status=bogus", "?min_cost=NaN", "?since=x&min_duration=y", f"?node={'x' * 201}"])
def test_q09_a_mistake_is_an_answer_of_its_own_that_names_all_of_them(download, query):
    response = download(query)
    assert response.status_code == 400
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert "Content-Disposition" not in response.headers
    assert len(response.content.decode().splitlines()) == query.count("=")
    assert SquaresView.read == 0


def test_it_answers_to_no_question_about_what_its_reader_may_not_see(download):
    response = download("?error=0123", can=["view_layerrun"])
    assert response.status_code == 400
    assert "needs the permission to view run details" in response.content.decode()
    assert download("?error=0123").status_code == 200


def test_a_lens_without_rows_is_its_head(download, monkeypatch):
    monkeypatch.setattr(SquaresView, "rows", lambda self: [])
    assert b"".join(download().streaming_content) == b"number,square\r\n"


def test_a_download_has_to_say_what_it_holds(download):
    for view in (DownloadView, LensCsvView):
        with pytest.raises(TypeError, match="abstract"):
            download(view=view)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0, "0"),
        (-5, "-5"),
        (Decimal("0.000000001"), "0.000000001"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.30"), "0.30"),
        # A number is no formula, whatever its sign: a spreadsheet has to add it up.
        (Decimal("-1.5"), "-1.5"),
        (-0.25, "-0.25"),
        (date(2026, 11, 22), "2026-11-22"),
        (datetime(2026, 11, 22, 13, 30, 0, 5, tzinfo=UTC), "2026-11-22T13:30:00.000005+00:00"),
        ("", ""),
        ("plain, with a comma", "plain, with a comma"),
        ('"quoted"\r\ntwice', '"quoted"\r\ntwice'),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("ü 💥", "ü 💥"),
        (["=1"], '["=1"]'),
    ],
    ids=lambda value: ascii(value),
)
def test_d07_every_cell_is_safe_and_read_back_as_it_was(value, text):
    content = "".join(export.table_file("x", ["a", "b"], [{"a": value, "b": "end"}]).lines)
    assert list(csv.reader(io.StringIO(content, newline="")))[1] == [text, "end"]


# -- the lenses'


@pytest.mark.parametrize("name", LENSES)
def test_each_lens_refuses_a_mistake_and_takes_the_selection(staff_client, name):
    LayerRunFactory(layer_name="a", failing=True)
    LayerRunFactory(layer_name="b", errors=[{"topic": "t", "error": "boom", "node": "n"}])
    url = reverse(f"layer_runs:{name}")
    response = staff_client.get(f"{url}?min_cost=NaN&layer_name=a")
    assert (response.status_code, response["Content-Type"]) == (400, "text/plain; charset=utf-8")
    response = staff_client.get(f"{url}?layer_name=a")
    assert response["Content-Disposition"] == f'attachment; filename="{name.removesuffix("_csv")}.csv"'
    rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode(), newline="")))
    # Layers that did not run are silent rows.
    assert len([row for row in rows if row.get("silent") != "1"]) == 1


@pytest.mark.parametrize("name", LENSES)
def test_d_each_lens_survives_every_odd_row_and_writes_no_formula(staff_client, odd_runs, name):
    LayerRunFactory(layer_name="=1+1", model_name="=2+2", errors=[{"topic": "t", "error": "=3+3", "node": "=4+4"}])
    response = staff_client.get(reverse(f"layer_runs:{name}") + "?period=all")
    text = b"".join(response.streaming_content).decode()
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert len(cells) > 20
    assert [cell for cell in cells if cell.startswith("'=")]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+", "\t", "\r", "\n"))]
