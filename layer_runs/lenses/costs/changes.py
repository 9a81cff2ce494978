"""Why spending changed against the window before: its causes with the figures that speak for each, and by layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from django.utils.translation import gettext as _

from ... import formatting
from ...decomposition import Parts, Spend, explain, prices
from .spending import NOTHING, Ran, Spending, Sums
from .tables import Cell, plain, usd_cell

# How far from the middle of its chart the longest bar reaches, in percent.
REACH = 46


@dataclass(frozen=True)
class Cause:
    """One part of the difference, in US dollars; `x` and `width` are its bar, in percent."""

    name: str
    label: str
    evidence: str
    amount: Decimal
    x: str
    width: str

    @property
    def text(self) -> str:
        return formatting.usd_change(self.amount)

    @property
    def exact(self) -> str:
        return formatting.usd_change(self.amount, 9)

    @property
    def value(self) -> str:
        return plain(self.amount)


@dataclass(frozen=True)
class LayerChange:
    """Why one layer, or all of them, cost more or less than before."""

    layer: str
    before: Decimal
    now: Decimal
    parts: Parts

    @property
    def name(self) -> str:
        return self.layer or _("(no name)")

    @property
    def cells(self) -> list[Cell]:
        """The figures of its row: before, the four causes, now."""
        parts = [
            Cell(formatting.usd_change(part), formatting.usd_change(part, 9), zero=not part, value=plain(part))
            for part in (self.parts.volume, self.parts.verbosity, self.parts.mix, self.parts.price)
        ]
        return [usd_cell(self.before), *parts, usd_cell(self.now)]


@dataclass(frozen=True)
class Changes(LayerChange):
    causes: list[Cause]
    layers: list[LayerChange]

    @property
    def first(self) -> list[Cell]:
        return self.cells[:1]

    @property
    def last(self) -> list[Cell]:
        return self.cells[-1:]


def changes(before: Spending, now: Spending) -> Changes:
    """Return why the cost is another than before; the parts sum to the difference exactly."""
    old, new = _spends(before), _spends(now)
    of_layers = explain(old, new)
    layers = [
        LayerChange(layer, old.get(layer, Spend()).cost, new.get(layer, Spend()).cost, parts)
        for layer, parts in of_layers.items()
    ]
    parts = sum(of_layers.values(), Parts())
    return Changes(
        layer="",
        before=sum((change.before for change in layers), Decimal(0)),
        now=sum((change.now for change in layers), Decimal(0)),
        parts=parts,
        causes=list(_causes(parts, before, now, prices(old.values()))),
        layers=sorted(layers, key=lambda change: (-abs(change.now - change.before), change.layer)),
    )


def _spends(spending: Spending) -> dict[str, Spend]:
    models: defaultdict[str, dict[str, tuple[int, Decimal]]] = defaultdict(dict)
    for (layer, model), sums in spending.by(lambda use: (use.layer, use.model)).items():
        models[layer][model] = sums.tokens, sums.cost
    return {layer: Spend(ran.runs, ran.worked_on, models[layer]) for layer, ran in spending.by_layer().items()}


def _causes(parts: Parts, before: Spending, now: Spending, old: Mapping[str, Fraction]) -> Iterator[Cause]:
    were, are = before.whole, now.whole
    longest = max(map(abs, (parts.volume, parts.verbosity, parts.mix, parts.price))) or 1
    for name, label, evidence in (
        ("volume", _("Volume"), _volume(were, are)),
        ("verbosity", _("Verbosity"), _verbosity(were, are)),
        ("mix", _("Model mix"), _mix(before, now, old)),
        ("price", _("Price per token"), _price(now, old)),
    ):
        amount = getattr(parts, name)
        width = REACH * abs(amount) / longest
        yield Cause(name, label, evidence, amount, f"{50 - (width if amount < 0 else 0):.2f}%", f"{width:.2f}%")


def _volume(were: Ran, are: Ran) -> str:
    if not (were.worked_on or are.worked_on):
        return _("%(now)s runs, %(before)s before") % _counts(are.runs, were.runs)
    return _("%(now)s targets worked on, %(before)s before") % _counts(are.worked_on, were.worked_on)


def _verbosity(were: Ran, are: Ran) -> str:
    if not (were.worked_on and are.worked_on):
        return _("tokens for each target worked on")
    lengths = (round(Decimal(ran.sums.tokens) / ran.worked_on) for ran in (are, were))
    return _("%(now)s tokens per target worked on, %(before)s before") % _counts(*lengths)


def _mix(before: Spending, now: Spending, old: Mapping[str, Fraction]) -> str:
    """Name the model whose share of the tokens moved the cost most."""
    were, are = (spending.by(lambda use: use.model) for spending in (before, now))
    totals = [sum(sums.values(), NOTHING).tokens for sums in (were, are)]
    models = sorted(model for model in {**were, **are} if model)
    if not all(totals) or not models:
        return _("which models the tokens went to")

    def share(sums: dict[str, Sums], model: str, whole: int) -> Fraction:
        return Fraction(sums.get(model, NOTHING).tokens, whole)

    def moved(model: str) -> Fraction:
        now_costs = are.get(model, NOTHING)
        price = old.get(model, Fraction(now_costs.cost) / (now_costs.tokens or 1))
        return abs(share(are, model, totals[1]) - share(were, model, totals[0])) * price

    model = max(models, key=moved)
    return _("%(model)s %(now)s of the tokens, %(before)s before") % {
        "model": model,
        "now": formatting.percent(share(are, model, totals[1])),
        "before": formatting.percent(share(were, model, totals[0])),
    }


def _price(now: Spending, old: Mapping[str, Fraction]) -> str:
    """Set what the tokens cost beside what they would have cost at the prices before."""
    models = {model: sums for model, sums in now.by(lambda use: use.model).items() if model in old}
    tokens = sum(sums.tokens for sums in models.values())
    if not tokens:
        return _("what a token of the same model costs")
    cost = sum(sums.cost for sums in models.values())
    then = sum(sums.tokens * old[model] for model, sums in models.items())
    return _("%(now)s a million tokens, %(before)s at the prices before") % {
        "now": formatting.usd(cost * 10**6 / tokens, 2),
        "before": formatting.usd(Decimal(round(then * 10**9 / tokens)).scaleb(-3), 2),
    }


def _counts(now: int, before: int) -> dict[str, str]:
    return {"now": formatting.count(now), "before": formatting.count(before)}
