"""The Runs lens: the totals of a selection as cards, and what to say when it is empty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import formatting
from ..filters import LayerRunFilterSet
from ..models import Status
from ..querysets import LayerRunQuerySet


@dataclass(frozen=True)
class Card:
    """A figure of the totals. `note` is a second line, from the totals; `tone` a status."""

    name: str
    label: str
    text: Callable[[Any], str] = formatting.count
    note: Callable[[dict[str, Any]], str] = lambda totals: ""
    title: Callable[[Any], str] = lambda value: ""
    tone: str = ""


def _cost_note(totals: dict[str, Any]) -> str:
    if totals["unpriced"]:
        return _("estimate, + %s unpriced") % formatting.count(totals["unpriced"])
    return _("estimate")


def _share_of(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda totals: formatting.share(totals[name], totals["total"]) if totals[name] else ""


CARDS = (
    Card("total", gettext_lazy("Runs")),
    *(Card(status.value, status.label, note=_share_of(status.value), tone=status.value) for status in Status),
    Card("other", gettext_lazy("Other"), note=_share_of("other"), tone="other"),
    Card("insights", gettext_lazy("Insights")),
    Card(
        "tokens",
        gettext_lazy("Tokens"),
        formatting.compact,
        title=lambda value: _("%s tokens") % formatting.count(value),
    ),
    Card("cost", gettext_lazy("Cost"), lambda value: formatting.usd(value, 2), _cost_note, formatting.usd_exact),
)


def totals(runs: LayerRunQuerySet) -> dict[str, Any]:
    """Return the figures of these runs in one query; `total` is the sum of the statuses and `other`."""
    return runs.totals(Status.values)


def cards(selection: LayerRunFilterSet, sums: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cards with their figures; a status card leads to its own runs in the same selection."""
    return [
        {
            "name": card.name,
            "label": card.label,
            "value": f"{sums[card.name]:f}" if isinstance(sums[card.name], Decimal) else str(sums[card.name]),
            "text": card.text(sums[card.name]),
            "note": card.note(sums),
            "title": card.title(sums[card.name]),
            "tone": card.tone,
            "zero": not sums[card.name],
            "url": _status_link(selection, card.tone) if card.tone in Status.values else "",
            "taken": card.tone in selection.values.get("status", ()),
        }
        for card in CARDS
    ]


def _status_link(selection: LayerRunFilterSet, status: str) -> str:
    """Return the runs of one status, or of all again where it is the one that is chosen."""
    return selection.link(status=None if selection.values.get("status") == [status] else [status])


def ways_on(selection: LayerRunFilterSet) -> list[dict[str, str]]:
    """Return how to widen a selection that matched nothing, each way with the number of runs behind it."""
    filters = [name for name in selection.parameters() if name not in ("period", "since", "until")]
    always = {"period": ["all"], "since": None, "until": None}
    when = _("other") if selection.window.until else _("earlier")
    ways = []
    if selection.window:
        ways.append((when, _("show all"), always))
    if "status" in filters:
        ways.append(("", _("any status, same period"), {"status": None}))
    if filters and filters != ["status"]:
        ways.append(("", _("no filter, same period"), dict.fromkeys(filters)))
    found = [way for way in (_way(selection, *way) for way in ways) if way]
    if not found and filters and selection.window:
        found = [way for way in [_way(selection, "", _("no filter, all time"), always | dict.fromkeys(filters))] if way]
    return found


def _way(selection: LayerRunFilterSet, which: str, how: str, changes: dict[str, Any]) -> dict[str, str] | None:
    number = selection.variant(**changes).qs.order_by().count()
    if not number:
        return None
    runs = " ".join(filter(None, [formatting.count(number), which, _("run") if number == 1 else _("runs")]))
    return {"text": f"{runs}: {how}", "url": selection.link(**changes)}
