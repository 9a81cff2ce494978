"""What a rule about secrets is, and how it reads on from where one begins. Pure Python.

A rule reads on from the head of a secret, such as `sk-` or `password=`. It judges at most `LOOKED_AT` characters, and
only then follows a secret to its end, so that no text takes longer than in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from .secret_values import is_mixed

LOOKED_AT = 256

Span = tuple[int, int]
Reader = Callable[[str, "re.Match[str]"], Span | None]

WORD = re.compile(r"[A-Za-z0-9_-]++")
TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]++")

_BARE = re.compile(
    # A comma or a bracket is the value's own where it goes on at once, and no other name begins there.
    r"(?:[^\s\"'`&;,<>(){}\[\]|\\]|,(?=[^\s\"'`&;,\\])(?![\w.-]{1,40}[=:])|[(){}\[\]](?=[A-Za-z0-9]))++"
)
_QUOTED = {'"': re.compile(r'(?:[^"\\\n]|\\.)++'), "'": re.compile(r"(?:[^'\\\n]|\\.)++"), "`": re.compile(r"[^`\n]++")}
_QUOTED_TWICE = re.compile(r"[^\"'`\\\n]++")


class Rule(NamedTuple):
    """A `head` begins with the `needle`, which is of small letters unless the head is `exact` about them."""

    needle: str
    head: re.Pattern[str]
    read: Reader
    exact: bool = False


def seen(pattern: re.Pattern[str], text: str, start: int) -> str:
    """Return what a value is judged by: as much of it as is needed."""
    found = pattern.match(text, start, start + LOOKED_AT)
    return found[0] if found else ""


def to_its_end(pattern: re.Pattern[str], text: str, start: int) -> Span:
    found = pattern.match(text, start)
    return start, found.end() if found else start


def bare(text: str, start: int) -> tuple[str, int]:
    """Return what a value without quotes is judged by, and where it ends: before the full stop of its sentence."""
    value = seen(_BARE, text, start)
    if len(value) == LOOKED_AT:
        return value, to_its_end(_BARE, text, start)[1]
    value = value.rstrip(".:\u2026")
    return value, start + len(value)


def quoted(text: str, start: int, quote: str) -> tuple[str, int] | None:
    """Return what a value in quotes is judged by, and where it ends: at the quote, or where the text was cut."""
    pattern = _QUOTED_TWICE if len(quote) > 1 else _QUOTED[quote]
    end = to_its_end(pattern, text, start)[1]
    if start < end and (end == len(text) or text.startswith(quote, end)):
        return text[start : min(end, start + LOOKED_AT)], end
    return None


def key(least: int, judge: Callable[[str], object] = is_mixed, run: re.Pattern[str] = WORD) -> Reader:
    """Return a reader of keys that are of at least so many characters."""

    def read(text: str, head: re.Match[str]) -> Span | None:
        value = seen(run, text, head.end())
        return to_its_end(run, text, head.end()) if len(value) >= least and judge(value) else None

    return read
