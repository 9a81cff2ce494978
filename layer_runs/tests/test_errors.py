from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_runs.errors import RunError, read_errors
from layer_runs.fingerprints import fingerprint
from layer_runs.models import LayerRun
from layer_runs.tests.factories import LayerRunFactory

# A busy machine is no failure.
unhurried = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Every shape a column of JSON can have: how many errors that is, and the text and node a list shows of them.
SHAPES: list[tuple[Any, int, str, str]] = [
    (None, 0, "", ""),
    ([], 0, "", ""),
    ({}, 1, "", ""),
    ("", 1, "", ""),
    ("boom", 1, "boom", ""),
    (7, 1, "", ""),
    (1.5, 1, "", ""),
    (True, 1, "", ""),
    (False, 1, "", ""),
    (0, 1, "", ""),
    ({"error": "x"}, 1, "x", ""),
    ({"error": "x", "node": "n"}, 1, "x", "n"),
    ({"error": None}, 1, "", ""),
    ({"0": "x", "topic": "t"}, 1, "", ""),
    ({"0": {"error": "x", "node": "n"}}, 1, "", ""),
    ([None], 1, "", ""),
    ([[]], 1, "", ""),
    ([{}], 1, "", ""),
    ([""], 1, "", ""),
    (["boom"], 1, "boom", ""),
    ([["boom"]], 1, "", ""),
    ([[{"error": "x"}]], 1, "", ""),
    ([7, None, "x", {}, []], 5, "", ""),
    ([{"error": "x"}], 1, "x", ""),
    ([{"error": ""}], 1, "", ""),
    ([{"error": {"error": "x"}}], 1, "", ""),
    ([{"error": 5, "topic": "t", "node": "n"}], 1, "", "n"),
    ([{"topic": "t", "error": "x", "node": None}], 1, "x", ""),
    ([{"topic": "t", "error": "first", "node": "a"}, {"topic": "t", "error": "second", "node": "b"}], 2, "first", "a"),
    ([{"error": "smile 😀", "node": "😀"}], 1, "smile 😀", "😀"),
    # The text of an escape, as SDKs quote an answer, is no escape.
    ([{"error": "smile \\ud83d\\ude00 \\udcff", "node": "n"}], 1, "smile \\ud83d\\ude00 \\udcff", "n"),
    ([{"error": "lost \ufffd", "node": "\ufffd"}], 1, "lost \ufffd", "\ufffd"),
    ([{"error": "é" * 300, "node": "ñ" * 300}], 1, "é" * 200, "ñ" * 200),
]
IDS = [json.dumps(shape)[:40] for shape, *_ in SHAPES]


@pytest.mark.parametrize(("shape", "count"), [shape[:2] for shape in SHAPES], ids=IDS)
def test_d08_any_shape_is_read_and_nothing_dropped(shape: Any, count: int) -> None:
    errors = list(read_errors(shape))
    assert [error.position for error in errors] == list(range(count))
    for error in errors:
        assert {type(text) for text in (error.message, error.topic, error.node, error.title, error.code)} == {str}
        assert error.fingerprint == fingerprint(error.node, error.message)


@pytest.mark.parametrize(("shape", "count", "preview", "node"), SHAPES, ids=IDS)
@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "unescaped"])
def test_d08_the_database_reads_any_shape_as_the_reader_does(
    db: None, shape: Any, count: int, preview: str, node: str, escaped: bool
) -> None:
    run = LayerRunFactory()
    with connection.cursor() as cursor:
        foreign = [json.dumps(shape, ensure_ascii=escaped), run.pk]
        cursor.execute("UPDATE layer_runs_layerrun SET errors = %s WHERE id = %s", foreign)
    run = LayerRun.objects.get(pk=run.pk)
    assert run.errors == shape
    assert (run.error_count, len(list(run.read_errors()))) == (count, count)
    assert (run.error_preview, run.error_node) == (preview, node)


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (
            {"topic": "server:1:user:2", "error": "boom", "node": "reflect"},
            RunError(3, "boom", "server:1:user:2", "reflect"),
        ),
        ({"topic": None, "error": "boom", "node": None}, RunError(3, "boom")),
        ({"error": ""}, RunError(3, "")),
        ({"topic": 5, "error": "boom", "node": ["é"]}, RunError(3, "boom", "5", '["é"]')),
        ("boom", RunError(3, "boom", odd=True)),
        (None, RunError(3, "null", odd=True)),
        ({}, RunError(3, "{}", odd=True)),
        ({"error": 5, "topic": "é"}, RunError(3, '{"error": 5, "topic": "é"}', odd=True)),
        ([["x"]], RunError(3, '[["x"]]', odd=True)),
    ],
)
def test_an_error_of_another_shape_is_marked_and_shown_raw(item: Any, error: RunError) -> None:
    assert RunError.load(3, item) == error


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 50), (50, 100), (100, 150), (119, None), (120, 200)])
def test_a_page_of_errors_keeps_their_positions(start: int, stop: int | None) -> None:
    everything = list(read_errors([{"error": str(n)} for n in range(120)]))
    assert list(read_errors([{"error": str(n)} for n in range(120)], start, stop)) == everything[start:stop]


def test_a_page_after_a_lone_error_is_empty() -> None:
    assert list(read_errors("boom", 1)) == []
    assert list(read_errors(None, 0, 50)) == []


def test_it_quotes_the_sentence_and_the_code() -> None:
    error = RunError(0, "Error code: 529 - {'error': {'message': 'Overloaded'}}")
    assert (error.title, error.code) == ("Overloaded", "529")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["topic", "error", "node"]) | st.text(), inner),
)


@unhurried
@given(JSON)
def test_no_json_makes_the_reader_stumble(value: Any) -> None:
    errors = list(read_errors(value))
    assert len(errors) == (len(value) if isinstance(value, list) else 0 if value is None else 1)
    assert all(isinstance(error.title + error.fingerprint, str) for error in errors)


def test_an_odd_error_is_the_same_error_whatever_order_its_keys_come_in():
    one, other = {"topic": "t", "error": None, "node": 3}, {"node": 3, "topic": "t", "error": None}
    assert RunError.load(0, one) == RunError.load(0, other)
    one, other = {"error": "e", "topic": {"b": 1, "a": 2}}, {"topic": {"a": 2, "b": 1}, "error": "e"}
    assert RunError.load(0, one) == RunError.load(0, other)
