"""What could not be kept of a run as it came, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .formatting import count


def note_lines(notes: Any) -> Iterator[str]:
    """Yield a sentence for each thing that could not be kept as it came."""
    for kind, what in (notes if isinstance(notes, dict) else {"note": notes}).items():
        if kind == "original_id":
            yield _("Its id at the source is “%s”.") % what
        elif kind == "altered" and isinstance(what, dict):
            for name, how in what.items():
                yield _("%(field)s could not be kept as it came: %(how)s.") % {"field": name, "how": how}
        elif kind == "nulled" and isinstance(what, dict):
            for name, given in what.items():
                yield _("%(field)s could not be read: “%(given)s”.") % {"field": name, "given": given}
        elif kind == "redacted" and isinstance(what, dict):
            yield from (_replaced(name, number) for name, number in what.items() if number)
        else:
            yield f"{kind}: {what}"


def with_note(notes: Any, kind: str, name: str, what: Any) -> dict[str, Any]:
    """Return notes of any shape with one more, in place of what they said of the same."""
    notes = notes if isinstance(notes, dict) else {"notes": notes} if notes else {}
    same = notes.get(kind)
    return notes | {kind: (same if isinstance(same, dict) else {}) | {name: what}}


def redacted_in(notes: Any, name: str) -> int:
    """Return how many secrets were replaced in a field."""
    numbers = notes.get("redacted") if isinstance(notes, dict) else None
    number = numbers.get(name) if isinstance(numbers, dict) else None
    return number if isinstance(number, int) else 0


def _replaced(name: str, number: Any) -> str:
    if not isinstance(number, int):
        return f"{name}: {number}"
    text = {
        "errors": ngettext("%s secret was replaced in errors.", "%s secrets were replaced in errors.", number),
        "calls": ngettext("%s secret was replaced in LLM calls.", "%s secrets were replaced in LLM calls.", number),
        "notes": ngettext("%s secret was replaced in these notes.", "%s secrets were replaced in these notes.", number),
    }
    return text[name] % count(number) if name in text else f"{name}: {count(number)}"
