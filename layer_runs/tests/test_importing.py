from __future__ import annotations

from types import SimpleNamespace

import pytest

from layer_runs import importing
from layer_runs.models import LlmCall

FIELDS = [LlmCall._meta.get_field(name) for name in ("id", "tokens_input")]
ROWS = [["a", 1], ["b", 2], ["c", 3]]


@pytest.fixture
def postgresql() -> SimpleNamespace:

    return SimpleNamespace(vendor="postgresql")


def test_postgresql_takes_all_rows_in_one_statement_an_array_a_column(postgresql, monkeypatch):
    for field, kind in zip(FIELDS, ("varchar(64)", "bigint"), strict=True):
        monkeypatch.setattr(field, "rel_db_type", lambda connection, kind=kind: kind)
    assert list(importing._row_sources(ROWS, FIELDS, postgresql)) == [
        ("SELECT * FROM unnest(%s::varchar(64)[], %s::bigint[])", [["a", "b", "c"], [1, 2, 3]])
    ]


def test_sqlite_takes_as_many_rows_as_its_parameters_allow():
    sqlite = SimpleNamespace(vendor="sqlite", ops=SimpleNamespace(bulk_batch_size=lambda fields, rows: 2))
    assert list(importing._row_sources(ROWS, FIELDS, sqlite)) == [
        ("VALUES (%s, %s), (%s, %s)", ["a", 1, "b", 2]),
        ("VALUES (%s, %s)", ["c", 3]),
    ]


@pytest.mark.parametrize("vendor", ["postgresql", "sqlite"])
def test_no_rows_need_no_statement(vendor):
    assert list(importing._row_sources([], FIELDS, SimpleNamespace(vendor=vendor))) == []


def test_a_process_of_another_user_is_running(monkeypatch):
    def refuse(*args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(importing.os, "kill", refuse)
    assert importing._is_running(1)
