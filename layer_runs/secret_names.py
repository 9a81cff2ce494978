"""Secrets that a name gives away, such as `password=`, `--token` or `Authorization:`. Pure Python."""

from __future__ import annotations

import re

from .secret_rules import TOKEN, Rule, Span, bare, key, quoted, seen, to_its_end
from .secret_values import (
    MARK,
    is_a_place,
    is_in_a_program,
    is_in_a_vocabulary,
    is_in_the_environment,
    is_last,
    is_made_up,
    is_mixed,
    is_prose,
    is_random,
    is_said,
    is_somebody,
)

_PATH = re.compile(r"[/~.]|[A-Za-z]:[\\/]")
_BEFORE_KEY = re.compile(
    r"(?:(?P<secret>api|auth|secret)|access|account|client|consumer|deploy|encryption|license|master|private|role"
    r"|service|shared|signing|ssh|subscription)[ _-]?$"
)
_BEFORE_TOKEN = re.compile(
    r"(?:bos|continuation|csrf|cursor|(?<!back)(?<!front)end|eos|illegal|mask|next|page|pad|pagination|resume|sep"
    r"|special|start|stop|stray|sync|unexpected|unk|unknown|xsrf)[ _-]?$"
)
_BEFORE_SOMEBODY = re.compile(r"(?:bad|incorrect|invalid|wrong)[ \t]$")
_LONGEST_BEFORE = len("continuation_")

# `=` without space around it, or any other way to give a value; and the quote it stands in.
_GIVEN = (
    r"(?:\\{0,3}[\"'`])?(?:(?P<tight>=)(?![=~> \t])|[ \t]{0,3}(?:=>|:=|[:=](?![=~:]))[ \t]{0,3})"
    r"(?:[bru]{0,2}(?P<quote>\\{0,3}[\"'`]))?"
)
_OF_A_COMMAND = re.compile(r"[^\s\"'`\\]++")
_LONGEST_COMMAND = 200


def _name(name: str, pattern: str = "", *, is_a_word: bool = False) -> Rule:
    """Return the rule of `name = value`. Where the name is also a word, the value has to look made up."""

    def read(text: str, head: re.Match[str]) -> Span | None:
        before = head.string[max(0, head.start() - _LONGEST_BEFORE) : head.start()]
        # DB_PASSWORD=value: nobody writes that of a word.
        of_a_shell = bool(head["tight"]) and text[head.start() : head.start() + len(name)].isupper()
        made_up, least = is_a_word and before[-1:] not in ("_", "-"), 6
        if name == "token":
            if _BEFORE_TOKEN.search(before):
                return None
            made_up = True
        elif name == "key":
            if before_key := _BEFORE_KEY.search(before):
                made_up, least = not before_key["secret"], 8
            elif before[-1:] in ("?", "&"):
                made_up, least = True, 16  # Of a query string.
            else:
                return None
            of_a_shell = of_a_shell and not made_up
        start = head.end()
        if head["quote"] and (found := quoted(text, start, head["quote"])):
            value, end = found
            fits = not is_said(value.strip(" .")) and not is_prose(value)
        else:
            value, end = bare(text, start)
            after = text[end : end + 40]
            is_plain = value.replace("-", "").replace("_", "").isalpha() or value.isdigit()
            is_code = is_in_the_environment if of_a_shell else is_in_a_program
            fits = not is_said(value) and not is_code(value, after)
            fits = fits and (not is_plain or head["tight"] or is_last(after)) and not value.startswith("-----")
            if not head["tight"] and _BEFORE_SOMEBODY.search(before) and is_somebody(value, after):
                return None
        if made_up:
            fits = fits and len(value) >= least and " " not in value and not is_in_a_vocabulary(value)
            fits = fits and (is_random(value) or (of_a_shell and not value.isdigit()))
        if not fits or MARK in value or (name == "pwd" and _PATH.match(value)):
            return None
        return None if name in ("token", "secret", "key") and is_a_place(value) else (start, end)

    return Rule(name, re.compile(f"{pattern or name}{_GIVEN}"), read)


def _authorization(text: str, head: re.Match[str]) -> Span | None:
    value = seen(TOKEN, text, head.end())
    if len(value) < 4 or is_said(value):
        return None
    after = text[head.end() + len(value) : head.end() + len(value) + 40]
    if head["scheme"]:
        fits = is_mixed(value) or ("=" not in value and (is_last(after) or after[0] in "'\""))
    else:
        fits = len(value) >= 12 and is_random(value)
    return to_its_end(TOKEN, text, head.end()) if fits else None


def _option(text: str, head: re.Match[str]) -> Span | None:
    """Read what follows `--token`: without a sign between them, it may as well be a word about the option."""
    found = quoted(text, head.end(), head["quote"]) if head["quote"] else bare(text, head.end())
    if not found or found[0][:1] in ("-", "$", "@") or MARK in found[0] or " " in found[0]:
        return None
    value, end = found
    fits = len(value) >= 4 and is_random(value) and not is_said(value)
    return (head.end(), end) if fits and not is_a_place(value) and not is_in_a_vocabulary(value) else None


def _wrapped(text: str, head: re.Match[str]) -> Span | None:
    found = quoted(text, head.end(), head["quote"])
    return None if not found or is_said(found[0]) or MARK in found[0] else (head.end(), found[1])


def _user(text: str, head: re.Match[str]) -> Span | None:
    """Read the password of `curl -u name:password`; other programs mean a group by it."""
    if "curl" not in head.string[max(0, head.start() - _LONGEST_COMMAND) : head.start()]:
        return None
    value = seen(_OF_A_COMMAND, text, head.end())
    fits = len(value) >= 3 and not is_said(value) and MARK not in value
    return to_its_end(_OF_A_COMMAND, text, head.end()) if fits else None


_GIVEN_NAMES = (
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
NAMES = tuple(rule.needle for rule in _GIVEN_NAMES)
NAMED = (
    *_GIVEN_NAMES,
    Rule("bearer", re.compile(r"bearer(?:[ \t]{1,3}|%20|:[ \t]{0,3})[\"']?"), key(8, is_random, TOKEN)),
    Rule(
        "api",
        re.compile(r"api[ _-]?(?:key|token)[ \t]{1,3}(?:(?:is|was)[ \t]{1,3})?[\"'`]?"),
        key(16, is_made_up),
    ),
    Rule(
        "--",
        # Also of a list of arguments: ['--token', '...'].
        re.compile(
            r"--(?<![a-z0-9-]--)(?:[a-z0-9]{1,20}[_-]){0,3}"
            r"(?:token|passw(?:or)?d|passphrase|secret|(?:(?:access|api|auth|private|secret)[_-]?)key)"
            r"(?:[ \t]{1,3}|[\"'],[ \t]?)(?P<quote>[\"'])?"
        ),
        _option,
    ),
    Rule("secretstr", re.compile(r"secretstr\(b?(?P<quote>\\{0,3}[\"'])"), _wrapped),
    Rule(
        "-u",
        re.compile(r"-u(?<![a-z0-9]-u)(?:ser)?(?:[ \t=]{0,3}|[\"'],[ \t]?)[\"']?[^\s:/@\"'`\\]{1,64}:"),
        _user,
    ),
)
