"""The cards of the Costs lens: each figure with its definition, and how much more it is than before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ... import formatting
from ...windows import Window
from .spending import Ran, Spending
from .tables import change, money, plain, ratio


@dataclass(frozen=True)
class Card:
    """A figure of the selection, and what it means. `starts` says that a group of cards begins with it."""

    name: str
    label: Any
    figure: Callable[[Ran], Decimal | int | None]
    text: Callable[[Any], str]
    means: Any
    starts: bool = False


def _usd(places: int) -> Callable[[Decimal | None], str]:
    return lambda value: formatting.NOTHING if value is None else money(value, places)


CARDS = (
    Card(
        "cost",
        gettext_lazy("Estimated cost"),
        lambda ran: ran.sums.cost,
        _usd(2),
        gettext_lazy("The sum over the LLM calls of each run, at the price of the day of the call: an estimate."),
    ),
    Card(
        "tokens_input",
        gettext_lazy("Tokens in"),
        lambda ran: ran.sums.tokens_input,
        formatting.compact,
        gettext_lazy("What the models were sent."),
        starts=True,
    ),
    Card(
        "tokens_output",
        gettext_lazy("Tokens out"),
        lambda ran: ran.sums.tokens_output,
        formatting.compact,
        gettext_lazy("What the models wrote."),
    ),
    Card(
        "cost_per_run",
        gettext_lazy("Per run"),
        lambda ran: ratio(ran.sums.cost, ran.runs),
        _usd(3),
        gettext_lazy("The cost by the number of runs, whatever became of them."),
        starts=True,
    ),
    Card(
        "cost_per_target",
        gettext_lazy("Per target"),
        lambda ran: ratio(ran.sums.cost, ran.targets),
        _usd(4),
        gettext_lazy("The cost by the number of targets worked on: those processed and those that failed."),
    ),
    Card(
        "cost_per_insight",
        gettext_lazy("Per insight"),
        lambda ran: ratio(ran.sums.cost, ran.insights),
        _usd(4),
        gettext_lazy("The cost by the number of insights: failed work counts as a cost of the insights there are."),
    ),
    Card(
        "wasted",
        gettext_lazy("Wasted"),
        lambda ran: ran.wasted,
        _usd(2),
        gettext_lazy("All that failed and crashed runs cost, and in all other runs the calls of targets that failed."),
        starts=True,
    ),
    Card(
        "unpriced",
        gettext_lazy("Unpriced runs"),
        lambda ran: ran.unpriced_runs,
        formatting.count,
        gettext_lazy("Runs with tokens of a model without a price: those tokens are not in the cost."),
    ),
)


def length(window: Window, zone: tzinfo) -> str:
    """Return how long a window with both edges is: in calendar days where it is made of them."""
    since, until = (edge.astimezone(zone) for edge in (window.since, window.until))
    if since.time() == until.time():
        return formatting.plural((until.date() - since.date()).days, "day")
    return formatting.span(window.until - window.since)


def cards(now: Spending, before: Spending | None, earlier: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the cards with their figures. `earlier` says how long the window before is and where to see it."""
    whole, was = now.whole, before.whole if before else None
    return [
        {
            "name": card.name,
            "label": card.label,
            "value": plain(card.figure(whole)),
            "text": card.text(card.figure(whole)),
            "title": _title(card, whole),
            "note": _note(card, whole, was, earlier["length"] if earlier else ""),
            "note_url": earlier["url"] if earlier and card.name == "cost" else "",
            "url": "#unpriced-runs" if card.name == "unpriced" and whole.unpriced_runs else "",
            "starts": card.starts,
            "zero": not card.figure(whole),
        }
        for card in CARDS
    ]


def _title(card: Card, whole: Ran) -> str:
    figure = card.figure(whole)
    if isinstance(figure, Decimal):
        exact = formatting.usd_exact(figure) if figure >= 0 else plain(figure)
    else:
        exact = formatting.count(figure)
    return f"{exact}. {card.means}"


def _note(card: Card, whole: Ran, was: Ran | None, days: str) -> str:
    if card.name == "wasted":
        return _("%s of the cost") % formatting.share(whole.wasted, whole.sums.cost) if whole.sums.cost else ""
    if card.name == "unpriced":
        if whole.sums.unpriced:
            return _("+ %s tokens not in the cost") % formatting.compact(whole.sums.unpriced)
        return _("every token has a price") if whole.sums.tokens else ""
    if was is None:
        return ""
    part = change(card.figure(whole), card.figure(was))
    if card.name != "cost":
        return "" if part is None else formatting.change(part)
    if part is None:
        return _("nothing in the %s before") % days
    return _("%(change)s on %(days)s before") % {"change": formatting.change(part), "days": days}
