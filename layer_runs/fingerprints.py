"""What makes two errors the same error."""

from __future__ import annotations

import hashlib
import re

VERSION = 1

# In this order: what is replaced first can no longer be mistaken for the next.
# (A quote inside a word is an apostrophe.)
_QUOTED = re.compile(r"""(?<!\w)'([^'\n]*)'(?!\w)|"([^"\n]*)"|`([^`\n]*)`""")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_REPLACED = [
    (re.compile(r"\b[a-z][a-z0-9+.\-]*://[^\s'\"<>)\]}]+", re.I), "<url>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.I), "<id>"),
    (re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b"), "<id>"),
    (re.compile(r"\breq_\w+"), "<id>"),
    (re.compile(r"\b(?:0x)?(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", re.I), "<hex>"),
]
_NUMBER = re.compile(r"(?P<before>\b(?:code|status|HTTP(?:/\d(?:\.\d)?)?)\W{0,3})?(?P<number>\d+(?:[.,]\d+)*)", re.I)


def _number(match: re.Match[str]) -> str:
    """Keep a number that names the failure (a status code), drop one that measures it."""
    number = match["number"]
    if match["before"] or (len(number) == 3 and number.isdigit() and 400 <= int(number) <= 599):
        return match[0]
    return "<n>"


def _quoted(match: re.Match[str]) -> str:
    """Keep a quoted word that names a thing in code; drop quoted data."""
    inner = next(group for group in match.groups() if group is not None)
    return match[0] if _IDENTIFIER.fullmatch(inner) else "<text>"


def normalise(message: str) -> str:
    """Return the part of an error text that stays the same when the error happens again.

    The first 500 characters, with URLs, UUIDs and ULIDs, hex of 8 or more, `req_...` ids, quoted data
    and numbers replaced. Kept: numbers after code/status/HTTP and 400-599, quoted identifiers.
    """
    text = " ".join(message[:500].split())
    for pattern, mark in _REPLACED:
        text = pattern.sub(mark, text)
    return _NUMBER.sub(_number, _QUOTED.sub(_quoted, text))


def fingerprint(node: str, message: str) -> str:
    """Return the id of a kind of failure: the rule's version and 16 hex digits over node and message."""
    digest = hashlib.sha256(f"{node}\n{normalise(message)}".encode("utf-8", "replace")).hexdigest()
    return f"{VERSION}-{digest[:16]}"
