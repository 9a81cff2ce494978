"""The cards of the Costs lens: each figure with its definition, and how much more it is than before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import time, tzinfo
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ... import formatting
from ...statistics import per_target
from ...windows import Window
from .spending import Ran, Spending
from .tables import Links, change, money, plain, ratio


@dataclass(frozen=True)
class CostCard:
    """A figure of the selection, and what it means. `starts` says that a group of cards begins with it.

    Of a ratio, `by` is what the cost is divided by, and `noun` one of them.
    """

    name: str
    label: Any
    figure: Callable[[Ran], Decimal | int | None]
    text: Callable[[Any], str]
    means: Any
    starts: bool = False
    by: Callable[[Ran], int] | None = None
    noun: str = ""


def _usd(places: int) -> Callable[[Decimal | None], str]:
    return lambda value: formatting.NOTHING if value is None else money(value, places)


CARDS = (
    CostCard(
        "cost",
        gettext_lazy("Estimated cost"),
        lambda ran: ran.sums.cost,
        _usd(2),
        gettext_lazy("The sum over the LLM calls of each run, at the price of the day of the call: an estimate."),
    ),
    CostCard(
        "tokens_input",
        gettext_lazy("Tokens in"),
        lambda ran: ran.sums.tokens_input,
        formatting.compact,
        gettext_lazy("What the models were sent."),
        starts=True,
    ),
    CostCard(
        "tokens_output",
        gettext_lazy("Tokens out"),
        lambda ran: ran.sums.tokens_output,
        formatting.compact,
        gettext_lazy("What the models wrote."),
    ),
    CostCard(
        "cost_per_run",
        gettext_lazy("Per run"),
        lambda ran: ratio(ran.sums.cost, ran.runs),
        _usd(3),
        gettext_lazy("The cost by the number of runs, whatever became of them."),
        starts=True,
        by=lambda ran: ran.runs,
        noun="run",
    ),
    CostCard(
        "cost_per_target",
        gettext_lazy("Per target"),
        lambda ran: per_target(ran.sums.cost, ran.processed),
        _usd(4),
        gettext_lazy("The cost by the number of targets processed: those that failed count as a cost of the others."),
        by=lambda ran: ran.processed,
        noun="target",
    ),
    CostCard(
        "cost_per_insight",
        gettext_lazy("Per insight"),
        lambda ran: ratio(ran.sums.cost, ran.insights),
        _usd(4),
        gettext_lazy("The cost by the number of insights: failed work counts as a cost of the insights there are."),
        by=lambda ran: ran.insights,
        noun="insight",
    ),
    CostCard(
        "wasted",
        gettext_lazy("Wasted"),
        lambda ran: ran.wasted,
        _usd(2),
        gettext_lazy("All that failed and crashed runs cost, and in all other runs the calls of targets that failed."),
        starts=True,
    ),
    CostCard(
        "unpriced",
        gettext_lazy("Unpriced runs"),
        lambda ran: ran.unpriced_runs,
        formatting.count,
        gettext_lazy("Runs with tokens of a model without a price: those tokens are not in the cost."),
    ),
)


def length(window: Window, zone: tzinfo) -> str:
    """Return how long a window with both edges is, without a lone `1`: in calendar days where it is made of them."""
    since, until = (edge.astimezone(zone) for edge in (window.since, window.until))
    if since.time() == until.time() == time.min:
        text = formatting.plural((until.date() - since.date()).days, "day")
    else:
        text = formatting.span(window.until - window.since)
    return text.removeprefix("1 ")


def cards(now: Spending, before: Spending | None, earlier: dict[str, Any] | None, links: Links) -> list[dict[str, Any]]:
    """Return the cards with their figures. `earlier` says how long the window before is and where to see it."""
    whole, was = now.whole, before.whole if before else None
    urls = {"unpriced": links.runs(unpriced="1") if whole.unpriced_runs else ""}
    if whole.wasted > sum(now.wasted_calls.values()):
        urls["wasted"] = links.wasted()
    return [
        {
            "name": card.name,
            "label": card.label,
            "value": plain(card.figure(whole)),
            "text": card.text(card.figure(whole)),
            "title": " ".join(_title(card, whole, was, earlier, urls.get(card.name, ""))),
            "note": _note(card, whole, was, earlier),
            "note_url": earlier["url"] if earlier and card.name == "cost" else "",
            "url": urls.get(card.name, ""),
            "starts": card.starts,
            "zero": not card.figure(whole),
        }
        for card in CARDS
    ]


def _title(card: CostCard, whole: Ran, was: Ran | None, earlier: dict[str, Any] | None, url: str) -> Iterator[str]:
    """Yield sentences: the exact figure, how it compares, where it leads to, and last what it means."""
    figure = card.figure(whole)
    if isinstance(figure, Decimal):
        exact = formatting.usd_exact(figure) if figure >= 0 else plain(figure)
    else:
        exact = formatting.count(figure)
    yield f"{exact}."
    if earlier and was and (part := _change(card, whole, was)):
        yield _("%(change)s on the %(length)s before.") % {"change": part, "length": earlier["length"]}
        yield from filter(None, [earlier["caveat"]])
    if card.by and whole.runs:
        yield _("Of %s.") % formatting.plural(card.by(whole), card.noun)
    if card.name == "wasted" and url:
        yield _("Leads to the failed and crashed runs; the calls of failed targets in other runs come on top.")
    yield str(card.means)


def _note(card: CostCard, whole: Ran, was: Ran | None, earlier: dict[str, Any] | None) -> str:
    if card.name == "wasted":
        return _("%s of the cost") % formatting.share(whole.wasted, whole.sums.cost) if whole.sums.cost else ""
    if card.name == "unpriced":
        if whole.sums.unpriced:
            return _("+ %s tokens not in the cost") % formatting.compact(whole.sums.unpriced)
        return _("every token has a price") if whole.sums.tokens else ""
    part = _change(card, whole, was) if was else ""
    if card.by:
        number = f"÷ {formatting.count(card.by(whole))}" if whole.runs else ""
        return ", ".join(filter(None, [part, number]))
    if card.name != "cost" or not earlier:
        return part
    if not part:
        return _("nothing in the %s before") % earlier["length"]
    return _("%(change)s on the %(length)s before") % {"change": part, "length": earlier["length"]}


def _change(card: CostCard, whole: Ran, was: Ran) -> str:
    # The window before is read in brief: of what was wasted it does not know all.
    if card.name in ("wasted", "unpriced"):
        return ""
    part = change(card.figure(whole), card.figure(was))
    return "" if part is None else formatting.change(part)
