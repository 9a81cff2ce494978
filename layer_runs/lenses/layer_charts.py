"""The charts of a layer's single runs: how long each took and what a target cost, and where the version changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from .. import charts, formatting
from ..buckets import Bucket
from ..columns import Look
from ..filters import LayerRunFilterSet
from . import timeline
from .versions import Version

PER_TARGET = charts.Unit(lambda cost: formatting.usd(cost, 4), charts.USD.axis_text, charts.USD.steps)

Run = dict[str, Any]


class RunCharts:
    """The charts of single runs, oldest first; they stand above each other and share one axis of time."""

    def __init__(
        self,
        selection: LayerRunFilterSet,
        runs: Sequence[Run],
        cut: Sequence[Bucket],
        found: Sequence[Version],
        look: Look,
    ) -> None:
        self.runs, self.look = runs, look
        # As wide as what is drawn: of many runs, the last few columns.
        self.cut = [bucket for bucket in cut if bucket.end > runs[0]["started_at"]] or cut
        self.versions = {version.hash: version for version in found}
        self.path, self.query = reverse("layer_runs:list"), selection.link("", **dict.fromkeys(selection.carried))
        # Neighbours of one version: where a version comes back it has several.
        self.stretches = [(key, list(group)) for key, group in groupby(runs, key=lambda run: run["layer_hash"])]

    def lengths(self) -> charts.Dots:
        return charts.dots(
            [self._dot(run, self._length(run)) for run in self.runs],
            label=_("Duration per run"),
            heads=[_("Run"), _("Duration"), _("Status")],
            marks=list(self._marks(named=True)),
            levels=list(self._levels(lambda version: version.typical.p50, formatting.duration, _("median"))),
            name="lengths",
        )

    def costs(self) -> charts.Dots:
        return charts.dots(
            [self._dot(run, self._cost(run)) for run in self.runs],
            label=_("Cost per target"),
            heads=[_("Run"), _("Cost per target"), _("Status")],
            marks=list(self._marks(named=False)),
            levels=list(self._levels(lambda version: version.cost_per_target, PER_TARGET.text, _("average"))),
            labels=charts.head(self.cut),
            name="target-costs",
            unit=PER_TARGET,
        )

    def _length(self, run: Run) -> int | None:
        milliseconds = run["duration_ms"]
        # Below zero is clock skew, and no length.
        return milliseconds if milliseconds is not None and milliseconds >= 0 else None

    def _cost(self, run: Run) -> Decimal | None:
        cost, targets = run["estimated_cost_usd"], run["targets_processed"]
        return cost / targets if cost is not None and targets else None

    def _dot(self, run: Run, value: Any) -> charts.Dot:
        (tone,) = timeline.by_tone({run["status"]: 1})
        return charts.Dot(
            at=self._place(run),
            value=value,
            name=formatting.clock(run["started_at"], self.look.now, self.look.zone),
            tone=tone,
            url=f"{self.path}{run['id']}/{self.query}",
            text=run["status"],
        )

    def _place(self, run: Run) -> float:
        return charts.place(run["started_at"], self.cut)

    def _marks(self, *, named: bool) -> Iterator[charts.Mark]:
        for layer_hash, runs in self.stretches:
            version = self.versions[layer_hash]
            text = f"v{version.number} {layer_hash[:7]}".strip()
            yield charts.Mark(self._place(runs[0]), text if named else "", text)

    def _levels(self, value: Any, text: Any, word: str) -> Iterator[charts.Level]:
        for layer_hash, runs in self.stretches:
            version = self.versions[layer_hash]
            level = value(version)
            if level is not None:
                title = f"v{version.number}: {word} {text(level)}"
                yield charts.Level(self._place(runs[0]), self._place(runs[-1]), level, title)
