"""Where secrets are in error text: what they begin with, and where they end. Pure Python.

A rule reads on from the head of a secret, such as `sk-` or `password=`. It judges at most `LOOKED_AT` characters, and
only then follows a secret to its end, so that no text takes longer than in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from .secret_values import MARK, is_in_a_program, is_last, is_mixed, is_placeholder, is_prose, is_random, is_said

LOOKED_AT = 256

Span = tuple[int, int]
Reader = Callable[[str, "re.Match[str]"], Span | None]

_PATH = re.compile(r"[/~.]|[A-Za-z]:[\\/]")
_BEFORE_KEY = re.compile(
    r"(?:api|access|account|auth|client|consumer|deploy|encryption|license|master|private|role|secret|service|shared"
    r"|signing|ssh|subscription)[ _-]?$"
)
_BEFORE_TOKEN = re.compile(
    r"(?:bos|end|eos|illegal|mask|next|page|pad|sep|special|start|stop|stray|unexpected|unk|unknown)[ _-]?$"
)

_BARE = re.compile(
    # A comma or a bracket is the value's own where it goes on at once, and no other name begins there.
    r"(?:[^\s\"'`&;,<>(){}\[\]|\\]|,(?=[^\s\"'`&;,\\])(?![\w.-]{1,40}[=:])|[(){}\[\]](?=[A-Za-z0-9]))++"
)
_QUOTED = {'"': re.compile(r'(?:[^"\\\n]|\\.)++'), "'": re.compile(r"(?:[^'\\\n]|\\.)++"), "`": re.compile(r"[^`\n]++")}
_QUOTED_TWICE = re.compile(r"[^\"'`\\\n]++")
_WORD = re.compile(r"[A-Za-z0-9_-]++")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]++")
_PERCENT = re.compile(r"[A-Za-z0-9_%+/=.~-]++")
_LONGEST_KEY = 8_192
_BASE64_LINES = re.compile(
    r"(?:(?:\s|\\{1,4}[nr])*+(?:(?:Proc-Type|DEK-Info|Version|Comment):[^\n\\]*+|[A-Za-z0-9+/=]{20,}+))*+"
    r"(?:(?:\s|\\{1,4}[nr])*+[A-Za-z0-9+/=]++(?=\s*+\Z))?"
)
_DATABASES = re.compile(
    r"(?:amqps?|clickhouse|mariadb|mongodb|mssql|mysql|oracle|postgres(?:ql)?|rediss?)(?:\+\w{1,20})?$"
)


_USERINFO = re.compile(r"[^\s/?#\"'<>`\\]{1,256}@")
_USERINFO_OF_A_DATABASE = re.compile(r"(?:(?!://)[^\s?\"'<>`\\]){1,256}@")
_CUT_USERINFO = re.compile(r"[^\s/?#\"'<>`\\\u2026]++")
_BODY_OF_A_TOKEN = re.compile(r"[A-Za-z0-9_=-]{8,}\.[A-Za-z0-9_-]")


class Rule(NamedTuple):
    """A `head` begins with the `needle`, which is of small letters unless the head is `exact` about them."""

    needle: str
    head: re.Pattern[str]
    read: Reader
    exact: bool = False


def _seen(pattern: re.Pattern[str], text: str, start: int) -> str:
    """Return what a value is judged by: as much of it as is needed."""
    found = pattern.match(text, start, start + LOOKED_AT)
    return found[0] if found else ""


def _to_its_end(pattern: re.Pattern[str], text: str, start: int) -> Span:
    found = pattern.match(text, start)
    return start, found.end() if found else start


def _bare(text: str, start: int) -> tuple[str, int]:
    """Return what a value without quotes is judged by, and where it ends: before the full stop of its sentence."""
    value = _seen(_BARE, text, start)
    if len(value) == LOOKED_AT:
        return value, _to_its_end(_BARE, text, start)[1]
    value = value.rstrip(".:\u2026")
    return value, start + len(value)


def _quoted(text: str, start: int, quote: str) -> tuple[str, int] | None:
    """Return what a value in quotes is judged by, and where it ends: at the quote, or where the text was cut."""
    pattern = _QUOTED_TWICE if len(quote) > 1 else _QUOTED[quote]
    end = _to_its_end(pattern, text, start)[1]
    if start < end and (end == len(text) or text.startswith(quote, end)):
        return text[start : min(end, start + LOOKED_AT)], end
    return None


def _name(name: str, pattern: str = "", *, is_a_word: bool = False) -> Rule:
    """Return the rule of `name = value`. Where the name is also a word, the value has to look made up."""

    def read(text: str, head: re.Match[str]) -> Span | None:
        before = head.string[max(0, head.start() - 14) : head.start()]
        made_up, least = is_a_word and before[-1:] not in ("_", "-"), 6
        if name == "token":
            if _BEFORE_TOKEN.search(before):
                return None
            made_up = True
        elif name == "key" and not _BEFORE_KEY.search(before):
            if before[-1:] not in ("?", "&"):
                return None
            made_up, least = True, 16  # Of a query string.
        start = head.end()
        if head["quote"] and (found := _quoted(text, start, head["quote"])):
            value, end = found
            fits = not is_said(value.strip(" .")) and not is_prose(value)
        else:
            value, end = _bare(text, start)
            after = text[end : end + 40]
            is_plain = value.replace("-", "").replace("_", "").isalpha() or value.isdigit()
            fits = not is_said(value) and not is_in_a_program(value, after)
            fits = fits and (not is_plain or head["tight"] or is_last(after)) and not value.startswith("-----")
        if made_up:
            fits = fits and len(value) >= least and " " not in value and is_random(value)
        if not fits or MARK in value or (name == "pwd" and _PATH.match(value)):
            return None
        return start, end

    return Rule(name, re.compile(f"{pattern or name}{_GIVEN}"), read)


def _authorization(text: str, head: re.Match[str]) -> Span | None:
    value = _seen(_TOKEN, text, head.end())
    if len(value) < 4 or is_said(value):
        return None
    after = text[head.end() + len(value) : head.end() + len(value) + 40]
    if head["scheme"]:
        fits = is_mixed(value) or ("=" not in value and (is_last(after) or after[0] in "'\""))
    else:
        fits = len(value) >= 12 and is_random(value)
    return _to_its_end(_TOKEN, text, head.end()) if fits else None


def _key(least: int, judge: Callable[[str], object] = is_mixed, run: re.Pattern[str] = _WORD) -> Reader:
    """Return a reader of keys that are of at least so many characters."""

    def read(text: str, head: re.Match[str]) -> Span | None:
        value = _seen(run, text, head.end())
        return _to_its_end(run, text, head.end()) if len(value) >= least and judge(value) else None

    return read


def _openai(text: str, head: re.Match[str]) -> Span | None:
    is_key = _key(8 if head["provider"] else 10, lambda value: is_random(value) or len(value) >= 16 and value.isdigit())
    return is_key(text, head)


def _signature(text: str, head: re.Match[str]) -> Span | None:
    return (
        _key(16, run=_PERCENT)(text, head) if head.string[head.start() - 1 : head.start()] in ("?", "&", "-") else None
    )


def _json_web_token(text: str, head: re.Match[str]) -> Span | None:
    body = _seen(_TOKEN, text, head.end())
    is_cut = len(body) == LOOKED_AT or (len(body) >= 13 and head.end() + len(body) == len(text))
    fits = _BODY_OF_A_TOKEN.match(body) or (is_cut and not {"/", "+"} & set(body))
    return _to_its_end(_TOKEN, text, head.end()) if fits else None


def _userinfo(text: str, head: re.Match[str]) -> Span | None:
    start = head.end()
    of_a_database = _DATABASES.search(head.string[max(0, head.start() - 40) : head.start()])
    if found := (_USERINFO_OF_A_DATABASE if of_a_database else _USERINFO).match(text, start):
        end = found.end() - 1
        return None if is_placeholder(text[start:end]) or MARK in text[start:end] else (start, end)
    # Cut in the middle of it; or a port.
    value = _seen(_CUT_USERINFO, text, start).rstrip(".:,)")
    is_cut = start + len(value) >= len(text) - 1 and not value.isdigit() and not is_placeholder(value)
    return (start, start + len(value)) if is_cut and (of_a_database or is_mixed(value)) else None


def _private_key(text: str, head: re.Match[str]) -> Span | None:
    end = text.find("-----END", head.end(), head.end() + _LONGEST_KEY)
    return (head.end(), end) if end >= 0 else _to_its_end(_BASE64_LINES, text, head.end())


# `=` without space around it, or any other way to give a value; and the quote it stands in.
_GIVEN = (
    r"(?:\\{0,3}[\"'`])?(?:(?P<tight>=)(?![=~> \t])|[ \t]{0,3}(?:=>|:=|[:=](?![=~:]))[ \t]{0,3})"
    r"(?:[bru]{0,2}(?P<quote>\\{0,3}[\"'`]))?"
)
_NAMED = (
    _name("passw", "passw(?:or)?d"),
    _name("passphrase"),
    _name("pwd"),
    _name("secret", is_a_word=True),
    _name("token", is_a_word=True),
    _name("key", "key(?: provided)?"),
    Rule(
        "authorization",
        re.compile(
            r"authorization\\{0,3}[\"']?[ \t]{0,3}[:=][ \t]{0,3}\\{0,3}[\"']?"
            r"(?P<scheme>(?:basic|bearer|token|apikey|negotiate)[ \t]{1,3})?"
        ),
        _authorization,
    ),
)
# What the key of an object has in it, if its value may be a secret.
NAMES = tuple(rule.needle for rule in _NAMED)
RULES = (
    *_NAMED,
    Rule("bearer", re.compile(r"bearer(?:[ \t]{1,3}|%20|:[ \t]{0,3})[\"']?"), _key(8, is_random, _TOKEN)),
    Rule(
        "sk-",
        # Not within a word; the `n` of an escaped line end is none.
        re.compile(
            r"sk-(?:(?<![a-z0-9_-]sk-)|(?<=\\[nrt]sk-))(?P<provider>(?:ant|proj|svcacct|admin|or(?:-v\d)?|lf)-)?"
        ),
        _openai,
    ),
    *(Rule(needle, re.compile(rf"{needle}(?<=[prs]{needle})"), _key(8)) for needle in ("k_live_", "k_test_")),
    Rule("gh", re.compile(r"gh[oprsu]_(?<![a-z0-9]gh[oprsu]_)"), _key(16)),
    Rule("github_pat_", re.compile(r"github_pat_"), _key(16)),
    Rule("glpat-", re.compile(r"glpat-"), _key(12)),
    Rule("xox", re.compile(r"xox[abeprs]-"), _key(10, re.compile(r".*\d.*").fullmatch)),
    Rule(
        "hf_", re.compile(r"hf_(?<![a-z0-9]hf_)"), _key(16, re.compile(r"(?=.*\d|.*[a-z][A-Z])[A-Za-z0-9]+").fullmatch)
    ),
    Rule("gsk_", re.compile(r"gsk_(?<![a-z0-9]gsk_)"), _key(16)),
    Rule("AIza", re.compile(r"AIza(?<![A-Za-z0-9]AIza)"), _key(16), exact=True),
    *(
        Rule(
            needle,
            re.compile(rf"{needle}(?<![A-Za-z0-9]{needle})"),
            _key(12, re.compile(r"(?=.*\d|.{16}\Z)[A-Z0-9]+").fullmatch),
            exact=True,
        )
        for needle in ("AKIA", "ASIA")
    ),
    Rule("eyJ", re.compile(r"eyJ(?<![A-Za-z0-9_-]eyJ)"), _json_web_token, exact=True),
    Rule("sig", re.compile(r"sig(?:nature)?="), _signature),
    Rule("://", re.compile(r"://[^\s/:@?#\"'<>\[\]`]{0,100}:"), _userinfo),
    Rule("-----BEGIN ", re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"), _private_key, exact=True),
)
