"""Text of strangers, harmless to read: one line for a log, and nothing unseen on a page. Pure Python."""

from __future__ import annotations

import re

# Controls but for line ends and tabs, marks that turn the direction of writing, and spaces without a width.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
# That, or the whole tag of a field. Stored text is escaped: it begins no tag and ends no quote.
_UNSEEN_OR_FIELD = re.compile(f'<(?:input|option)\\b(?:"[^"]*"|[^">])*>|{_UNSEEN.pattern}')
_ATTRIBUTE = re.compile(r'([^\s="]+)="[^"]*"')


def one_line(text: str) -> str:
    """Return a text on one line, with nothing in it that a terminal or a reader of logs would obey.

    Line ends, escape sequences, marks that turn the direction of writing: each is shown as Python spells it.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def visible(text: str) -> str:
    """Return a text for a page, with what would hide in it or turn it around as Python spells it.

    Emoji keep the joiners they are made of, and right-to-left scripts their marks.
    """
    return text if text.isprintable() else _UNSEEN.sub(lambda found: one_line(found[0]), text)


def spelled_out(page: str) -> str:
    """Return a page of HTML with every text and attribute of it visible. What a field sends back stays as it is."""
    return _UNSEEN_OR_FIELD.sub(_part_spelled_out, page) if _UNSEEN.search(page) else page


def _part_spelled_out(part: re.Match[str]) -> str:
    if not part[0].startswith("<"):
        return visible(part[0])
    return _ATTRIBUTE.sub(lambda found: found[0] if found[1] == "value" else visible(found[0]), part[0])
