"""Replacing keys, tokens and passwords in error text. Pure Python, in time proportional to the text.

The head of a secret is looked for first, such as `sk-`, `Bearer ` or `password=`, and then what follows is judged: see
`secret_names.py` and `secret_shapes.py`. Only the secret is replaced; its head stays, so that a reader knows what was
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from .secret_names import NAMES
from .secret_rules import Reader, Rule
from .secret_shapes import RULES

REDACTED = "[redacted]"
# Beyond it, JSON is not kept: fields.MAX_DEPTH.
DEEPEST = 25
# Also what is left of it where a text was cut.
_DONE = re.compile(r"\[redac|\[r?e?d?a?\u2026")
_AT_MOST = 6
_SHORTEST = len("pwd=abc1")
_RULES = {rule.needle.lower(): rule for rule in RULES}
_NEEDLES = tuple(_RULES)
# One for one, so that a place in the one text is the same place in the other.
_AS_A_VALUE = str.maketrans('"\\\n\r', "'/  ")

Patterns = Iterable[re.Pattern[str]]


def redact(text: str, also: Patterns = ()) -> tuple[str, int]:
    """Return a text without its secrets, each replaced by `[redacted]`, and how many there were.

    `also` is what else is replaced. What is left of a key that was cut down to a few characters stays.
    """
    number = 0
    # Again, since what stood close to a secret may be seen for one only now: nothing is left for a second import.
    for _again in range(_AT_MOST if len(text) >= _SHORTEST else 0):
        if not (found := _secrets(text)):
            break
        text, number = _without(text, found), number + len(found)
    for pattern in also:
        text, more = _replace(pattern, text)
        number += more
    return text, number


def redact_json(value: Any, also: Patterns = ()) -> tuple[Any, int]:
    """Return JSON without the secrets in its texts, and how many there were. Its keys stay, and tell what a text is."""
    counted = 0

    def walk(value: Any, key: Any, depth: int) -> Any:
        nonlocal counted
        if isinstance(value, str):
            named = _named(key, value) if isinstance(key, str) else []
            value, number = redact(_without(value, named), also)
            counted += number + len(named)
            return value
        if depth < DEEPEST and isinstance(value, dict):
            return {name: walk(item, name, depth + 1) for name, item in value.items()}
        if depth < DEEPEST and isinstance(value, (list, tuple)):
            return [walk(item, key, depth + 1) for item in value]
        return value

    return walk(value, None, 0), counted


def marks(value: Any, depth: int = 0) -> int:
    """Return how often the texts of JSON say `[redacted]`."""
    if isinstance(value, str):
        return value.count(REDACTED)
    if depth > DEEPEST or not isinstance(value, (dict, list, tuple)):
        return 0
    return sum(marks(item, depth + 1) for item in (value.values() if isinstance(value, dict) else value))


def compiled(patterns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """Return regular expressions ready for use. Raises re.error or TypeError for what is none."""
    return tuple(re.compile(pattern) for pattern in patterns)


@cache
def usable(patterns: tuple[Any, ...]) -> tuple[re.Pattern[str], ...]:
    """Return those that are regular expressions: one that is none keeps nobody from writing."""
    found: list[re.Pattern[str]] = []
    for pattern in patterns:
        try:
            found += compiled([pattern])
        except (re.error, TypeError, OverflowError, RecursionError):
            continue
    return tuple(found)


def _secrets(text: str) -> list[tuple[int, int]]:
    """Return where the secrets of a text begin and end, in order and apart from each other."""
    small = text.lower()
    if len(small) != len(text):
        small = text.replace("\u0130", "i").lower()  # The one letter that grows.
    # Most text has none of the needles, and this is all it costs.
    heads = [head for needle in _NEEDLES if needle in small for head in _heads(_RULES[needle], text, small)]
    if not heads:
        return []
    heads.sort(key=lambda head: head[:2])
    secrets: list[tuple[int, int]] = []
    at = 0
    for start, end, head, read in heads:
        # Inside a secret that was found already, or replaced already.
        if start < at or _DONE.match(text, end):
            continue
        secret = read(text, head)
        if secret and secret[0] < secret[1] and not _DONE.match(text, secret[1]):
            secrets.append(secret)
            at = secret[1]
    return secrets


def _heads(rule: Rule, text: str, small: str) -> Iterator[tuple[int, int, re.Match[str], Reader]]:
    searched = text if rule.exact else small
    at = searched.find(rule.needle)
    while at >= 0:
        if head := rule.head.match(searched, at):
            yield at, head.end(), head, rule.read
        at = searched.find(rule.needle, at + len(rule.needle))


def _named(key: str, value: str) -> list[tuple[int, int]]:
    """Return where the secrets of a text are that only its key in an object gives away."""
    name = key.lower()
    if not any(needle in name for needle in NAMES) or _DONE.match(value):
        return []
    head = f'"{key.translate(_AS_A_VALUE)}": "'
    found = _secrets(f'{head}{value.translate(_AS_A_VALUE)}"')
    return [(start - len(head), end - len(head)) for start, end in found if start >= len(head)]


def _without(text: str, secrets: list[tuple[int, int]]) -> str:
    if not secrets:
        return text
    parts, at = [], 0
    for start, end in secrets:
        parts += [text[at:start], REDACTED]
        at = end
    return "".join([*parts, text[at:]])


def _replace(pattern: re.Pattern[str], text: str) -> tuple[str, int]:
    number = 0

    def replaced(match: re.Match[str]) -> str:
        nonlocal number
        around = len(REDACTED) - 1
        is_done = text.find(REDACTED, max(0, match.start() - around), match.end() + around) >= 0
        if not match[0] or is_done:
            return match[0]
        number += 1
        return REDACTED

    return pattern.sub(replaced, text), number
