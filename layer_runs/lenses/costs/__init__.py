"""The Costs lens: what a selection cost, over time, by what, and why that changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

from django.utils.translation import gettext as _

from ... import formatting
from ...buckets import Bounds, Bucket, buckets
from ...filters import LayerRunFilterSet
from ...windows import Window
from .bars import bars
from .cards import CARDS, cards, length
from .changes import changes
from .layers import DEFAULT_SORT, by_layer, heads, sort_of
from .spending import spending, spending_before
from .tables import Links
from .unpriced import unpriced
from .uses import by_call_type, by_model, by_profile, by_use

BUCKETS_TOGETHER = 7

__all__ = ["DEFAULT_SORT", "costs", "sort_of"]


def costs(
    selection: LayerRunFilterSet,
    cut: Sequence[Bucket],
    bounds: Bounds,
    now: datetime,
    zone: tzinfo,
    *,
    by: str = "model",
    sort: str = DEFAULT_SORT,
) -> dict[str, Any]:
    """Return what the page shows: `by` is what its chart is stacked by, `sort` the order of its layers."""
    links, spent, before, earlier = Links(selection), spending(selection.qs, cut), None, None
    if previous := selection.previous():
        before = spending_before(previous.qs, _wider(buckets(previous.window, bounds, now, zone)))
        window = previous.window
        text = formatting.stretch(window.since, window.until, now, zone)
        earlier = {
            "text": text[:1].lower() + text[1:],
            "length": length(window, zone),
            "url": previous.link(**selection.carried),
            "runs": before.whole.runs,
            "caveat": _caveat(selection.window, window, now),
        }
    return {
        "cards": cards(spent, before, earlier, links),
        "definitions": [(card.label, card.means) for card in CARDS] + _of_change(earlier),
        "before": earlier,
        "bars": bars(spent, cut, selection, by),
        "by": by,
        "other_by_url": selection.link(by=None if by == "layer" else "layer"),
        "unit": cut[0].unit if cut else "",
        "changes": changes(before, spent) if before else None,
        "heads": heads(selection, sort, earlier["caveat"] if earlier else ""),
        "layers": by_layer(spent, before, sort, links),
        "uses": by_use(spent, links),
        "smaller": [
            ("costs-by-model", _("By model"), _("Model"), by_model(spent, links)),
            ("costs-by-profile", _("By profile"), _("Profile"), by_profile(spent)),
            ("costs-by-call-type", _("By call type"), _("Call type"), by_call_type(spent, links)),
        ],
        "unpriced": unpriced(selection, spent, links) if spent.whole.unpriced_runs else None,
    }


def _caveat(window: Window, earlier: Window, now: datetime) -> str:
    """Say where less of the window is over than the window before is long."""
    is_over = window.until is not None and window.until <= now
    if is_over or now - window.since >= earlier.until - earlier.since:
        return ""
    return _("Today is not over, and the window before is whole.")


def _of_change(earlier: dict[str, Any] | None) -> list[tuple[str, str]]:
    if not earlier:
        return []
    means = _("Against the %(length)s before: %(window)s.") % {"length": earlier["length"], "window": earlier["text"]}
    return [(_("Change"), f"{means} {earlier['caveat']}".strip())]


def _wider(cut: Sequence[Bucket]) -> list[Bucket]:
    """Return buckets of several: where no single one is looked at, fewer are quicker to add up, one slower to sort."""
    groups = (cut[start : start + BUCKETS_TOGETHER] for start in range(0, len(cut), BUCKETS_TOGETHER))
    return [Bucket(group[0].start, group[-1].end, group[0].unit) for group in groups]
