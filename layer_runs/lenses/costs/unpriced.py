"""What is not in the cost: tokens of models without a price, and the runs that used them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from ...filters import LayerRunFilterSet
from .spending import RUN, Spending
from .tables import Links

RUNS_NAMED = 10


@dataclass(frozen=True)
class UnpricedModel:
    layer: str
    model: str
    tokens: int
    url: str


@dataclass(frozen=True)
class UnpricedRun:
    layer: str
    started_at: datetime
    tokens: int
    url: str


@dataclass(frozen=True)
class Unpriced:
    """The tokens by layer and model, and the runs with the most of them; `count` and `url` are of all such runs."""

    count: int
    tokens: int
    models: list[UnpricedModel]
    runs: list[UnpricedRun]
    url: str


def unpriced(selection: LayerRunFilterSet, spent: Spending, links: Links) -> Unpriced:
    """Return what has no price, in one query."""
    # By their layers, which an index begins with that also holds the tokens: few rows have any.
    layers = {layer for layer, ran in spent.by_layer().items() if ran.unpriced_runs}
    runs = selection.qs.filter(layer_name__in=layers, unpriced_tokens__gt=0)
    most = runs.order_by("-unpriced_tokens", "-id").values_list("id", "layer_name", "started_at", "unpriced_tokens")
    # Runs without calls called nothing, and are not found by it.
    groups = spent.by(lambda use: (use.layer, use.model, use.origin == RUN))
    models = [
        UnpricedModel(
            layer, model, sums.unpriced, "" if uncalled else links.runs(layer_name=layer, called=model, unpriced="1")
        )
        for (layer, model, uncalled), sums in groups.items()
        if sums.unpriced
    ]
    return Unpriced(
        spent.whole.unpriced_runs,
        spent.whole.sums.unpriced,
        sorted(models, key=lambda each: (-each.tokens, each.layer, each.model)),
        [
            UnpricedRun(
                layer, started, tokens, selection.link(reverse("layer_runs:detail", args=[pk]), **links.carried)
            )
            for pk, layer, started, tokens in most[:RUNS_NAMED]
        ],
        links.runs(unpriced="1"),
    )
