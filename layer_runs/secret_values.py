"""What is a secret, and what only stands where one could. Pure Python.

Words about tokens and passwords, placeholders and the names of a program are no secrets: evidence is not changed for
nothing. Where nobody could tell, as with a password of plain words in a sentence, the text stays.
"""

from __future__ import annotations

import re

MARK = "[redac"  # What is left of `[redacted]` where a text was cut.

# What is said in place of a value, of what a value is, or of what is wrong with it.
_WORD = re.compile(
    r"""
    a | access | again | an | and | api | are | as | at | auth | authentication | authorization | bad | be | bearer
    | been | blank | bool | but | by | bytes | cannot | characters | column | config | could | data | default |
    denied | dict | digest | disabled | does | empty | enabled | env | environ | environment | error | expected |
    expiration | expired | failed | failure | false | field | for | forbidden | format | found | from | get | getenv
    | getpass | given | has | have | header | headers | hidden | if | in | incorrect | input | int | invalid | is |
    it | its | key | kwargs | length | list | login | malformed | masked | may | mismatch | missing | must | name |
    nil | no | none | not | null | object | of | on | optional | or | os | our | parameter | please | realm |
    refused | rejected | removed | request | required | revoked | secret | self | sensitive | set | settings |
    should | str | string | that | the | their | this | to | token | tokens | too | true | type | unauthorized |
    undefined | unexpected | unknown | unset | unsupported | used | user | val | valid | value | variable | was |
    were | which | will | with | wrong | you | your
    """,
    re.I | re.X,
)
_OWN_NAME = re.compile(r"pass|pwd|secret|token|key|cred|auth", re.I)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_DOTTED = re.compile(r"[A-Za-z_][\w.]*")
_CALL = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+[(\[].*|[A-Za-z_]+[(\[].*", re.S)
_PLACEHOLDER = re.compile(r"\$?\{.*|<.*|%[(\w].*|\$[A-Z_]+|[xX]+|[\W_]*|.*(?:\*\*|\u2022\u2022).*", re.S)
# Such as `db-creds-v2`, `us-east-1`, `learn-contrib-0.24` or `nightly-2026-11-01T00`.
_NAME = re.compile(
    r"[A-Za-z]{0,15}(?:[-_./:@+](?:\d{4}-\d\d-\d\d(?:T[\d:.]{1,15}Z?)?|v?[\d.]{1,5}|[A-Za-z]{1,15})(?![A-Za-z\d]))*+"
    r"[-_./:@+]?"
)
# `function_call1`, `cl100k_base`, `0x7f3a2b1c`.
_IDENTIFIER = re.compile(r"[A-Za-z]{1,15}\d{0,3}[a-z]?(?:_[A-Za-z]{2,15}\d{0,2})+|0x[0-9A-Fa-f]{1,16}")
_PLACE = re.compile(r"arn:|(?:file|gs|https?|s3)://|[A-Za-z]:[\\/]|(?:~|\.{1,2})?(?:/[a-z_][a-z0-9_.-]{0,40})+/?\Z")
_NAME_OF_ITS_OWN = re.compile(
    r"(?:my|new|old|the|your)?(?:api|auth)?(?:cred(?:ential)?s?|key|pass(?:phrase|wd|word)?|pwd|secret|token)", re.I
)
_FIGURES = re.compile(r"\d.*[A-Za-z]|\d{6}")
_SOMEBODY = re.compile(r"[A-Za-z]+\d{0,4}")
_IS_NOT_THERE = re.compile(r"[ \t](?:cannot|does|has|(?:is )?not (?:a|allowed|found|in|on))\b")
_PROSE = re.compile(
    r"[\W\d]*[A-Za-z]+(?:['\u2019][a-z]+)?(?:[\s,.:;!?()<>='\"\u2018-\u201d-]+(?:[A-Za-z]+|\d{1,4}))+\W*"
)


def is_mixed(value: str) -> bool:
    """Tell letters and digits, or letters in both sizes, from a word."""
    letters = any(letter.isalpha() for letter in value)
    return letters and (any(map(str.isdigit, value)) or value[1:].lower() != value[1:] != value[1:].upper())


def is_random(value: str) -> bool:
    """Tell what a machine made up from words, names and figures."""
    return not _NAME.fullmatch(value) and (is_mixed(value) or (len(value) >= 16 and not value.isdigit()))


def is_made_up(value: str) -> bool:
    """Tell what nobody would type: many figures, or letters after them, and no name that has a figure in it."""
    return is_random(value) and not is_in_a_vocabulary(value) and _FIGURES.search(value) is not None


def is_in_a_vocabulary(value: str) -> bool:
    """Tell a token of a language model or of a parser, or an address, from one that opens a door."""
    return not value.isascii() or _IDENTIFIER.fullmatch(value) is not None


def is_a_place(value: str) -> bool:
    """Tell where a secret is kept, such as a path or an ARN, from the secret."""
    return _PLACE.match(value) is not None


def is_somebody(value: str, after: str) -> bool:
    """Tell who is spoken of from a value: `user42 not in group`."""
    return _SOMEBODY.fullmatch(value) is not None and _IS_NOT_THERE.match(after) is not None


def is_said(value: str) -> bool:
    """Tell a word, a placeholder or a variable's name from a value."""
    return bool(_WORD.fullmatch(value) or _VARIABLE.fullmatch(value) or is_placeholder(value))


def is_placeholder(value: str) -> bool:
    """Tell what stands for a value that was left out or masked already: `{key}`, `***`, `sk-****1234`."""
    return _PLACEHOLDER.fullmatch(value) is not None


def is_prose(value: str) -> bool:
    return _PROSE.fullmatch(value) is not None


def is_in_a_program(value: str, after: str) -> bool:
    """Tell an expression such as `self.password` or `token()` from a value; `after` is what follows it."""
    if after[:1] in ('"', "'", "`"):
        return True  # f"...", for instance.
    if after[:1] in ("(", "[") and _DOTTED.fullmatch(value):
        return True
    if not value.replace("_", "").replace(".", "").isalpha():
        return _CALL.fullmatch(value) is not None
    return len(value) < 4 or "." in value or _OWN_NAME.search(value) is not None


def is_in_the_environment(value: str, after: str) -> bool:
    """Tell an expression or a constant from what a shell gives a variable, which may be called `secretpw`."""
    if after[:1] in ('"', "'", "`") or not value.isalpha() or _NAME_OF_ITS_OWN.fullmatch(value):
        return is_in_a_program(value, after)
    return len(value) < 4 or value.isupper() or after[:1] in ("(", "[")


def is_last(after: str) -> bool:
    """Tell whether a value is the last of its line or of its place, and not the first word of a sentence."""
    return not after.strip(" .!?\u2026") or after.lstrip(" ")[:1] in set("\r\n,;&}])")
