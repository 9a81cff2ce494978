"""What makes two errors the same error."""

from __future__ import annotations

import hashlib
import re

VERSION = 1

# More than this of a text is not even looked at.
_LONGEST = 10_000
_COUNTS = 500

# In this order: what is replaced first can no longer be mistaken for the next.
_REPLACED = [
    (re.compile(r"\b[a-z][a-z0-9+.\-]{0,20}://[^\s'\"<>)\]}]+", re.I), "<url>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.I), "<id>"),
    (re.compile(r"\b(?=\d*[A-Z])[0-7][0-9A-HJKMNP-TV-Z]{25}\b"), "<id>"),
    (re.compile(r"\breq_\w+"), "<id>"),
    # The mark of a number: hex may happen to be all digits, and digits alone are a number.
    (re.compile(r"\b(?<!\d[.,])(?:0x|(?=\d*[a-f]))[0-9a-f]{8,}\b", re.I), "<n>"),
]
# (A quote inside a word is an apostrophe.)
_QUOTED_OR_NUMBER = re.compile(
    r"""(?<!\w)'(?P<single>[^']*)'(?!\w)|"(?P<double>[^"]*)"|`(?P<back>[^`]*)`"""
    r"""|(?P<number>\d+(?:[.,]\d+)*(?:e[+-]?\d+)?)""",
    re.I,
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_NAMES_A_FAILURE = re.compile(r"(?<![^\W_])(?:code|status|HTTP(?:/\d(?:\.\d)?)?)\W{0,3}$", re.I)


def _quoted_or_number(match: re.Match[str]) -> str:
    """Keep a quoted word that names a thing in code and a number that names the failure; drop data and measures."""
    number = match["number"]
    if number is None:
        quoted = match["single"] or match["double"] or match["back"] or ""
        return match[0] if _IDENTIFIER.fullmatch(quoted) else "<text>"
    if len(number) == 3 and number.isdigit() and 400 <= int(number) <= 599:
        return number
    before = match.string[max(match.start() - 16, 0) : match.start()]
    return number if _NAMES_A_FAILURE.search(before) else "<n>"


def normalise(message: str) -> str:
    """Return the part of an error text that stays the same when the error happens again.

    The first 500 characters, with URLs, UUIDs and ULIDs, hex of 8 or more, `req_...` ids, quoted data
    and numbers replaced. Kept: numbers after code/status/HTTP and 400-599, quoted identifiers.
    """
    text = " ".join(message[:_LONGEST].split())
    for pattern, mark in _REPLACED:
        text = pattern.sub(mark, text)
    # Cut last: a figure that grew by a digit must not push another letter over the edge.
    return _QUOTED_OR_NUMBER.sub(_quoted_or_number, text)[:_COUNTS]


def fingerprint(node: str, message: str) -> str:
    """Return the id of a kind of failure: the rule's version and 16 hex digits over node and message."""
    digest = hashlib.sha256(f"{node}\n{normalise(message)}".encode("utf-8", "replace")).hexdigest()
    return f"{VERSION}-{digest[:16]}"
