"""The Costs lens: what a selection cost, over time, by what, and why that changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

from django.utils.translation import gettext as _

from ... import formatting
from ...buckets import Bounds, Bucket, buckets
from ...filters import LayerRunFilterSet
from .bars import bars
from .cards import CARDS, cards, length
from .changes import changes
from .spending import spending, spending_before
from .tables import DEFAULT_SORT, Links, by_layer, heads, sort_of
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
        }
    return {
        "cards": cards(spent, before, earlier),
        "definitions": [(card.label, card.means) for card in CARDS],
        "before": earlier,
        "bars": bars(spent, cut, selection, by),
        "by": by,
        "other_by_url": selection.link(by=None if by == "layer" else "layer"),
        "unit": cut[0].unit if cut else "",
        "changes": changes(before, spent) if before else None,
        "heads": heads(selection, sort),
        "layers": by_layer(spent, before, sort, links),
        "uses": by_use(spent, links),
        "smaller": [
            ("costs-by-model", _("By model"), _("Model"), by_model(spent, links)),
            ("costs-by-profile", _("By profile"), _("Profile"), by_profile(spent)),
            ("costs-by-call-type", _("By call type"), _("Call type"), by_call_type(spent, links)),
        ],
        "unpriced": unpriced(selection, spent, links) if spent.whole.unpriced_runs else None,
    }


def _wider(cut: Sequence[Bucket]) -> list[Bucket]:
    """Return buckets of several: where no single one is looked at, fewer are quicker to add up, one slower to sort."""
    groups = (cut[start : start + BUCKETS_TOGETHER] for start in range(0, len(cut), BUCKETS_TOGETHER))
    return [Bucket(group[0].start, group[-1].end, group[0].unit) for group in groups]
