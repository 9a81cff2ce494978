from __future__ import annotations

import re
import time
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_runs.fields import new_ulid
from layer_runs.fingerprints import VERSION, fingerprint, normalise

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

RATE_LIMIT = (
    "Error code: 429 - {'type': 'error', 'error': {'type': 'rate_limit_error', 'message': 'This request would exceed"
    " your organization\\u2019s rate limit of 400,000 input tokens per minute'}}"
)
OVERLOADED = "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}"
TOO_LONG = (
    "Error code: 400 - {'type': 'error', 'error': {'type': 'invalid_request_error',"
    " 'message': 'prompt is too long: 214321 tokens > 200000 maximum'}}"
)


def same(one: str, other: str) -> bool:
    return fingerprint("reflect", one) == fingerprint("reflect", other)


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Request timed out.", "Request timed out."),
        ("", ""),
        ("  two\n\n lines\there ", "two lines here"),
        # URLs
        ("GET https://api.example.com/v1/x?y=1#z failed", "GET <url> failed"),
        ("see (http://a.b/c) and <ftp://d/e>", "see (<url>) and <<url>>"),
        ("redis://cache:6379/0: refused", "redis://cache:6379/0: refused".replace("redis://cache:6379/0:", "<url>")),
        # UUIDs and ULIDs
        ("run 123e4567-e89b-12d3-a456-426614174000 gone", "run <id> gone"),
        ("run 123E4567-E89B-12D3-A456-426614174000 gone", "run <id> gone"),
        ("run 01ARZ3NDEKTSV4RRFFQ69G5FAV gone", "run <id> gone"),
        # hex of 8 or more, but not of 7
        ("at 0x7f3a2b1c9d00", "at <n>"),
        ("commit a87efb9b10c24d5f", "commit <n>"),
        ("commit A87EFB9B", "commit <n>"),
        ("commit deadbeef", "commit <n>"),
        ("commit abcdefa", "commit abcdefa"),
        ("a feedback", "a feedback"),
        # request ids
        ("request req_011CSHoEeqs5C35K2UUqR7Fy failed", "request <id> failed"),
        ("request_id: req_vrtx_011", "request_id: <id>"),
        # numbers
        ("12 of 1,234 after 30.5 s", "<n> of <n> after <n> s"),
        ("after 30.000123977661133 s", "after <n> s"),
        ("after 1.5e-05 s", "after <n> s"),
        ("after 1.1234567e-05 s", "after <n> s"),
        ("at 10.0.0.1:8080", "at <n>:<n>"),
        ("gpt-4o", "gpt-<n>o"),
        # numbers that name the failure
        ("exit code 1", "exit code 1"),
        ("exit code: 137", "exit code: 137"),
        ("status=302", "status=302"),
        ("status_code: 302", "status_code: 302"),
        ("HTTP 301", "HTTP 301"),
        ("HTTP/1.1 302 Found", "HTTP/1.1 302 Found"),
        ("HTTP/2 302", "HTTP/2 302"),
        ("{'code': 7, 'status': 302, 'n': 9}", "{'code': 7, 'status': 302, 'n': <n>}"),
        ('{"exit_code":1,"n":1}', '{"exit_code":1,"n":<n>}'),
        ("decode 302", "decode <n>"),
        ("code 7 of 9", "code 7 of <n>"),
        ("got 400 then 599", "got 400 then 599"),
        ("got 399 then 600", "got <n> then <n>"),
        ("got 4290", "got <n>"),
        ("got 429.5", "got <n>"),
        ("limit 400,000", "limit <n>"),
        # quoted identifiers, and other quoted text
        ("KeyError: 'topic'", "KeyError: 'topic'"),
        ('field "max_tokens" is required', 'field "max_tokens" is required'),
        ("no attribute `a.b-c`", "no attribute `a.b-c`"),
        ("model 'claude-sonnet-4-6' not found", "model 'claude-sonnet-4-6' not found"),
        ("KeyError: 'answer_2'", "KeyError: 'answer_2'"),
        ("KeyError: 'server:1:user:2'", "KeyError: <text>"),
        ("KeyError: '2nd'", "KeyError: <text>"),
        ("KeyError: 'a87efb9b10c24d5f'", "KeyError: <text>"),
        ("no 'hello world' here", "no <text> here"),
        ("empty ''", "empty <text>"),
        ("can't open, won't read", "can't open, won't read"),
        ("can't open 'my file', won't read", "can't open <text>, won't read"),
    ],
)
def test_it_keeps_what_names_a_failure_and_drops_what_measures_it(message: str, kept: str) -> None:
    assert normalise(message) == kept


def test_429_529_and_400_stay_three_groups() -> None:
    assert len({fingerprint("reflect", message) for message in (RATE_LIMIT, OVERLOADED, TOO_LONG)}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (RATE_LIMIT, RATE_LIMIT.replace("400,000", "80,000")),
        (TOO_LONG, TOO_LONG.replace("214321", "1000001")),
    ],
)
def test_the_same_failure_with_other_figures_is_one_group(one: str, other: str) -> None:
    assert one != other
    assert same(one, other)


def test_only_the_first_500_characters_count() -> None:
    assert same("x" * 500 + "one", "x" * 500 + "two")
    assert not same("x" * 499 + "one", "x" * 499 + "two")


def test_a_longer_figure_early_in_a_long_text_does_not_move_its_end() -> None:
    tail = "the end of it is never reached " * 40
    assert same(f"after 9 s {tail}", f"after 10 s {tail}")


def test_an_id_or_a_quotation_across_the_500th_character_is_still_one() -> None:
    assert same(f"{'x ' * 245}{uuid.UUID(int=1)}", f"{'x ' * 245}{uuid.UUID(int=2)}")
    assert same(f"bad value '{'red ' * 300}' at x", f"bad value '{'green ' * 300}' at x")


def test_the_node_is_part_of_it() -> None:
    assert fingerprint("reflect", "x") != fingerprint("generate", "x")
    assert fingerprint("a", "b c") != fingerprint("a b", "c")


def test_it_carries_the_version_of_the_rule_and_fits_its_column() -> None:
    assert re.fullmatch(rf"{VERSION}-[0-9a-f]{{16}}", fingerprint("reflect", "x"))
    assert len(fingerprint("reflect", "x")) <= 32


def test_the_rule_of_this_version_has_not_changed() -> None:
    """A change of the rule needs a new VERSION: old links hold the old ids."""
    assert [fingerprint("reflect", message) for message in (RATE_LIMIT, OVERLOADED, TOO_LONG)] == PINNED


PINNED = ["1-d3021b0586879255", "1-ec6c4fa6ef45ade0", "1-d907537df7002699"]

PLAIN = st.integers(0, 399) | st.integers(600, 10**40)
FLOATS = st.floats(0, 10**12).filter(lambda number: not 400 <= number < 600)


@unhurried
@given(PLAIN, PLAIN)
def test_numbers_do_not_matter(one: int, other: int) -> None:
    assert same(f"took {one} ms of {other}", f"took {other} ms of {one}")
    assert same(f"took {one:,} ms", f"took {other} ms")


@unhurried
@given(FLOATS, FLOATS)
def test_fractions_do_not_matter(one: float, other: float) -> None:
    assert same(f"timed out after {one} seconds", f"timed out after {other} seconds")


@unhurried
@given(st.uuids(), st.uuids(), st.integers(0, 2**128 - 1), st.integers(8, 40))
def test_ids_do_not_matter(one: uuid.UUID, other: uuid.UUID, number: int, width: int) -> None:
    assert same(f"no run {one}", f"no run {other}")
    assert same(f"no commit {one.hex[:width]} here", f"no commit {other.hex[:width]} here")
    assert same(f"at 0x{number:08x}", "at 0xdeadbeef")
    assert same(f"see https://x.test/{one}?a={number}", "see http://y.test/")
    assert same(f"request req_{number} failed", f"request req_{one.hex} failed")
    assert same(f"no run {new_ulid()}", f"no run {new_ulid()}")


@unhurried
@given(st.integers(400, 599), st.integers(400, 599), st.sampled_from(["{}", "code {}", "status: {}", "HTTP {}"]))
def test_codes_do_matter(one: int, other: int, template: str) -> None:
    assert same(template.format(one), template.format(other)) == (one == other)


@unhurried
@given(st.text(), st.text())
def test_any_text_has_one(node: str, message: str) -> None:
    assert fingerprint(node, message) == fingerprint(node, f"  {message}\n")


@unhurried
@given(st.text(st.sampled_from("'\"`a1 _-:/\udcff\x00"), max_size=80))
def test_hostile_text_has_one(message: str) -> None:
    assert fingerprint("", message).startswith(f"{VERSION}-")


def test_a_megabyte_takes_no_time() -> None:
    start = time.process_time()
    for hostile in ("'" * 10**6, "a." * 10**6, "1,1" * 10**6, "' \"`" * 10**6, "code " * 10**6, "a-" * 10**6):
        fingerprint("", hostile)
    assert time.process_time() - start < 0.5
