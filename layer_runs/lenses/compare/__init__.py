"""Two runs side by side. Runs in, plain data out."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

from ...models import LayerRun
from .evidence import calls, errors, targets
from .fields import apart, sections
from .verdict import what_changed

__all__ = ["apart", "report"]


def report(before: LayerRun, after: LayerRun, zone: tzinfo, *, with_details: bool) -> dict[str, Any]:
    """Return what the page of two runs shows. Without `with_details` no error text, topic or call is read."""
    fields = sections(before, after, zone)
    return {
        "sections": fields,
        "verdict": what_changed(before, after, fields),
        "errors": errors(before, after) if with_details else None,
        "targets": targets(before, after) if with_details else None,
        "calls": calls(before, after) if with_details else None,
    }
