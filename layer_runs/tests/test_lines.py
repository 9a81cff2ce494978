from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_runs.lines import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("rate limit of 40,000", "rate limit of 40,000", id="d26-ordinary-text"),
        pytest.param("Überlauf 😀 “é”", "Überlauf 😀 “é”", id="d26-letters-of-all-kinds"),
        pytest.param("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07", id="d26-ansi"),
        pytest.param("one\r\nINFO two\n", r"one\r\nINFO two\n", id="d26-line-ends"),
        pytest.param("one\u2028two\u2029three\x85four", r"one\u2028two\u2029three\x85four", id="d26-unicode-line-ends"),
        pytest.param("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066", id="d26-bidi"),
        pytest.param("nul \x00 \ud800 \u200b", r"nul \x00 \ud800 \u200b", id="d26-unprintable"),
        pytest.param("", "", id="d26-nothing"),
    ],
)
def test_d26_what_a_terminal_or_a_log_would_obey_is_shown_and_not_done(text: str, line: str) -> None:
    assert one_line(text) == line


@given(st.text(st.characters() | st.sampled_from("\n\r\x1b\u2028\u202e\ud800")))
def test_d26_every_text_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    assert one_line(line) == line
