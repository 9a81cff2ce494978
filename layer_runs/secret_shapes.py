"""Keys and tokens that their own looks or their URL give away, and the list of all rules. Pure Python."""

from __future__ import annotations

import re

from .secret_names import NAMED
from .secret_rules import LOOKED_AT, TOKEN, Rule, Span, key, seen, to_its_end
from .secret_values import MARK, is_made_up, is_mixed, is_placeholder, is_random

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
_USER = re.compile(r"[A-Za-z0-9_-]{16,256}(?=@)|[A-Za-z0-9_-]{16,256}(?=\u2026?\Z)")
_USER_ALONE = re.compile(r"[A-Za-z0-9_-]{16,100}")
_BODY_OF_A_TOKEN = re.compile(r"[A-Za-z0-9_=-]{8,}\.[A-Za-z0-9_-]")
# The number of a bot in base64, and what follows it.
_BOT = re.compile(r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))[MNO][DTjz][A-Za-z0-9_-]{21,38}\Z")
_SIGNED = re.compile(r"[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]++")
_LONGEST_BOT = 44
_TWO_PARTS = re.compile(r"[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)?+")


def _openai(text: str, head: re.Match[str]) -> Span | None:
    is_key = key(8 if head["provider"] else 10, lambda value: is_random(value) or len(value) >= 16 and value.isdigit())
    return is_key(text, head)


def _signature(text: str, head: re.Match[str]) -> Span | None:
    return (
        key(16, run=_PERCENT)(text, head) if head.string[head.start() - 1 : head.start()] in ("?", "&", "-") else None
    )


def _json_web_token(text: str, head: re.Match[str]) -> Span | None:
    body = seen(TOKEN, text, head.end())
    is_cut = len(body) == LOOKED_AT or (len(body) >= 13 and head.end() + len(body) == len(text))
    fits = _BODY_OF_A_TOKEN.match(body) or (is_cut and not {"/", "+"} & set(body))
    return to_its_end(TOKEN, text, head.end()) if fits else None


def _bot(text: str, head: re.Match[str]) -> Span | None:
    """Read the time and the signature of a Discord token; the number of the bot before them is no secret."""
    start = head.end()
    if not _BOT.search(text[max(0, head.start() - _LONGEST_BOT) : head.start()]):
        return None
    span = to_its_end(_SIGNED, text, start)
    is_cut = text.startswith("\u2026", span[1]) or span[1] == len(text)
    return span if is_cut or span[1] - start >= 6 + 1 + 27 else None


def _userinfo(text: str, head: re.Match[str]) -> Span | None:
    start = head.end()
    if not head["password"]:
        user = _USER.match(text, start)
        return user.span() if user and is_made_up(user[0]) else None
    user = text[head.start("password") : start - 1]
    of_a_database = _DATABASES.search(head.string[max(0, head.start() - 40) : head.start()])
    if found := (_USERINFO_OF_A_DATABASE if of_a_database else _USERINFO).match(text, start):
        end = found.end() - 1
        if is_placeholder(text[start:end]) or MARK in text[start:end]:
            return None
        # https://token:x-oauth-basic@host: the user is the secret.
        return (head.start("password") if _USER_ALONE.fullmatch(user) and is_made_up(user) else start), end
    # Cut in the middle of it; or a port.
    value = seen(_CUT_USERINFO, text, start).rstrip(".:,)")
    is_cut = start + len(value) >= len(text) - 1 and not value.isdigit() and not is_placeholder(value)
    return (start, start + len(value)) if is_cut and (of_a_database or is_mixed(value)) else None


def _private_key(text: str, head: re.Match[str]) -> Span | None:
    end = text.find("-----END", head.end(), head.end() + _LONGEST_KEY)
    return (head.end(), end) if end >= 0 else to_its_end(_BASE64_LINES, text, head.end())


RULES = (
    *NAMED,
    Rule(
        "sk-",
        # Not within a word; the `n` of an escaped line end is none.
        re.compile(
            r"sk-(?:(?<![a-z0-9_-]sk-)|(?<=\\[nrt]sk-))(?P<provider>(?:ant|proj|svcacct|admin|or(?:-v\d)?|lf)-)?"
        ),
        _openai,
    ),
    *(Rule(needle, re.compile(rf"{needle}(?<=[prs]{needle})"), key(8)) for needle in ("k_live_", "k_test_")),
    Rule("gh", re.compile(r"gh[oprsu]_(?<![a-z0-9]gh[oprsu]_)"), key(16)),
    Rule("github_pat_", re.compile(r"github_pat_"), key(16)),
    Rule("glpat-", re.compile(r"glpat-"), key(12)),
    Rule("xox", re.compile(r"xox[abeprs]-"), key(10, re.compile(r".*\d.*").fullmatch)),
    Rule(
        "hf_", re.compile(r"hf_(?<![a-z0-9]hf_)"), key(16, re.compile(r"(?=.*\d|.*[a-z][A-Z])[A-Za-z0-9]+").fullmatch)
    ),
    Rule("gsk_", re.compile(r"gsk_(?<![a-z0-9]gsk_)"), key(16)),
    Rule("AIza", re.compile(r"AIza(?<![A-Za-z0-9]AIza)"), key(16), exact=True),
    *(
        Rule(
            needle,
            re.compile(rf"{needle}(?<![A-Za-z0-9]{needle})"),
            key(16, re.compile(r"(?=.*\d)(?=.*[A-Z])[A-Z0-9]{16}").fullmatch),
            exact=True,
        )
        for needle in ("AKIA", "ASIA")
    ),
    Rule("r8_", re.compile(r"r8_(?<![a-z0-9]r8_)"), key(16, is_made_up)),
    Rule("pplx-", re.compile(r"pplx-(?<![a-z0-9]pplx-)"), key(16, is_made_up)),
    Rule("xai-", re.compile(r"xai-(?<![a-z0-9]xai-)"), key(16, is_made_up)),
    Rule("npm_", re.compile(r"npm_(?<![a-z0-9]npm_)"), key(16, re.compile(r"(?=.*\d)[A-Za-z0-9]+").fullmatch)),
    Rule("dckr_", re.compile(r"dckr_[op]at_"), key(16)),
    Rule("SG.", re.compile(r"SG\.(?<![A-Za-z0-9_]SG\.)"), key(16, is_made_up, _TWO_PARTS), exact=True),
    Rule("eyJ", re.compile(r"eyJ(?<![A-Za-z0-9_-]eyJ)"), _json_web_token, exact=True),
    Rule("sig", re.compile(r"sig(?:nature)?="), _signature),
    # Where the secret is in the path, or the user. The number before it stays: it tells whose it is.
    Rule("/webhooks/", re.compile(r"/webhooks/\d{5,25}/"), key(16, is_made_up)),
    Rule(
        "hooks.slack.com/",
        re.compile(r"hooks\.slack\.com/(?:services|triggers|workflows)/(?:[a-z0-9]{1,24}/){1,3}"),
        key(8),
    ),
    Rule("/bot", re.compile(r"/bot\d{5,15}:"), key(8)),
    Rule(".", re.compile(r"\.(?<=[A-Za-z0-9_-]{22}\.)(?=[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-])"), _bot),
    Rule("://", re.compile(r"://(?P<password>[^\s/:@?#\"'<>\[\]`]{0,100}:)?"), _userinfo),
    Rule("-----BEGIN ", re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"), _private_key, exact=True),
)
