"""The nodes of layers under each version: errors for every 100 targets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Min, Sum, Value
from django.db.models.functions import Coalesce
from django.urls import reverse

from ..filters import LayerRunFilterSet
from .error_lines import Version

SHOWN = 10
VERSIONS_SHOWN = 8
# Under so many targets one error more or less moves a rate by more than five in a hundred: it ranks last.
FEW_TARGETS = 20
# What a run became of, as against what it was: its targets count, however it ended.
OUTCOMES = ("status", "error", "node", "topic", "has_errors", "q", "min_cost", "min_duration")


@dataclass(frozen=True)
class Work:
    """What a version of a layer worked on: its targets, and when its first run of the selection began."""

    targets: int
    first_at: datetime


@dataclass(frozen=True)
class Rate:
    """The errors at a node under a version, and the targets that version worked on."""

    version: Version
    errors: int
    targets: int

    @property
    def per_100(self) -> float | None:
        """Errors for every 100 targets; several of one target count each. None without targets."""
        return 100 * self.errors / self.targets if self.targets else None

    @property
    def is_thin(self) -> bool:
        """Whether there are too few targets for the rate to say much."""
        return self.targets < FEW_TARGETS


@dataclass(frozen=True)
class Matrix:
    """The nodes of one layer by its versions in order of first use; `hidden` of the oldest are left out."""

    hashes: list[str]
    rows: list[tuple[str, list[Rate]]]
    hidden: int


def outcomes_chosen(selection: LayerRunFilterSet) -> list[str]:
    """Return the parameters in force that choose runs by what became of them."""
    return [name for name in OUTCOMES if name in selection.values]


def whatever_came_of_them(selection: LayerRunFilterSet) -> LayerRunFilterSet:
    """Return a selection without what chooses runs by what became of them: a rate of chosen outcomes says nothing."""
    chosen = outcomes_chosen(selection)
    if not chosen:
        return selection
    whole = selection.variant(**dict.fromkeys(chosen))
    whole.carried = dict(selection.carried)
    return whole


def work_of(selection: LayerRunFilterSet) -> dict[tuple[str, str], Work]:
    """Return what each (layer, version) of a selection worked on, in all its runs: also in those without errors."""
    runs = whatever_came_of_them(selection).qs
    # Each summed by itself: the sum of two integers may be none.
    targets = Sum("targets_processed") + Sum("targets_skipped")
    # Grouped by an expression, so that the runs are read in order of time, where they lie beside each other: in
    # the order of an index by layer it takes ten times as long.
    layers = runs.order_by().annotate(layer=Coalesce("layer_name", Value("")))
    versions = layers.values_list("layer", "layer_hash").annotate(targets=targets, first=Min("started_at"))
    return {(layer, layer_hash): Work(int(done), first) for layer, layer_hash, done, first in versions}


def worst(errors: dict[Version, int], work: dict[tuple[str, str], Work]) -> list[Rate]:
    """Return the nodes that failed under each version, the highest rate first, those of few targets last."""
    return sorted(_rates(errors, work), key=_badness)


def by_layer(errors: dict[Version, int], work: dict[tuple[str, str], Work]) -> list[Rate]:
    """Return the layers that failed, whatever the node and version, most errors first."""
    counts: dict[str, int] = {}
    for version, number in errors.items():
        counts[version.layer] = counts.get(version.layer, 0) + number
    targets = dict.fromkeys(counts, 0)
    for (layer, _hash), done in work.items():
        if layer in targets:
            targets[layer] += done.targets
    rates = (Rate(Version(layer, "", ""), number, targets[layer]) for layer, number in counts.items())
    return sorted(rates, key=lambda rate: (-rate.errors, rate.version))


def matrix(layer: str, errors: dict[Version, int], work: dict[tuple[str, str], Work]) -> Matrix:
    """Return the nodes of a layer that failed, the worst first, by its versions: also by those that went well."""
    used = sorted((done.first_at, layer_hash) for (name, layer_hash), done in work.items() if name == layer)
    hashes = [layer_hash for _first, layer_hash in used]
    counts = {version: number for version, number in errors.items() if version.layer == layer}
    nodes: dict[str, int] = {}
    for version, number in counts.items():
        nodes[version.node] = nodes.get(version.node, 0) + number
    shown = hashes[-VERSIONS_SHOWN:]
    rows = [
        (node, [_rate(Version(layer, node, layer_hash), counts, work) for layer_hash in shown])
        for node in sorted(nodes, key=lambda node: (-nodes[node], node))
    ]
    return Matrix(shown, rows, len(hashes) - len(shown))


def table(
    selection: LayerRunFilterSet, errors: dict[Version, int], work: dict[tuple[str, str], Work], layer: str | None
) -> dict[str, Any]:
    """Return the matrix of one layer, or the worst nodes of all of them, each figure with the way to its runs."""
    runs, dropped = reverse("layer_runs:list"), dict.fromkeys(selection.carried)

    def linked(rate: Rate) -> tuple[Rate, str]:
        version = rate.version
        # A version without a hash cannot be asked for: its runs are those of the layer.
        changes = {"layer_name": [version.layer], "layer_hash": [version.hash], "node": [version.node]}
        return rate, selection.link(runs, **dropped | {name: values for name, values in changes.items() if values[0]})

    if layer is not None:
        found = matrix(layer, errors, work)
        rows = [(node, [linked(rate) for rate in rates]) for node, rates in found.rows]
        verdict = selection.link(reverse("layer_runs:layers"), **dropped | {"layer_name": [layer]}) if layer else ""
        return {"hashes": found.hashes, "rows": rows, "hidden": found.hidden, "verdict_url": verdict}
    rates = worst(errors, work)
    # The bars are those of the rates that say something.
    top = max((rate.per_100 or 0 for rate in rates[:SHOWN] if not rate.is_thin), default=0)
    rows = []
    for rate in rates[:SHOWN]:
        name = rate.version.layer
        rows.append((*linked(rate), selection.link(layer_name=[name]) if name else "", _share(rate, top)))
    return {"rates": rows, "count": len(rates)}


def _share(rate: Rate, top: float) -> str:
    """Return the length of a rate's bar: its part of the highest rate shown."""
    return f"{100 * (rate.per_100 or 0) / top:.1f}%" if top else "0%"


def _rates(errors: dict[Version, int], work: dict[tuple[str, str], Work]) -> Iterable[Rate]:
    return (_rate(version, errors, work) for version in errors)


def _rate(version: Version, errors: dict[Version, int], work: dict[tuple[str, str], Work]) -> Rate:
    done: Any = work.get((version.layer, version.hash))
    return Rate(version, errors.get(version, 0), done.targets if done else 0)


def _badness(rate: Rate) -> tuple[Any, ...]:
    return rate.is_thin, -(rate.per_100 or 0), -rate.errors, rate.version
