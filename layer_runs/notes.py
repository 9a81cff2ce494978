"""What could not be kept of a run as it came, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _


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
        else:
            yield f"{kind}: {what}"
