"""The Layers lens: all layers, or the one that is selected."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from ..buckets import buckets
from ..columns import Look
from ..lenses import layer as layer_lens
from ..lenses import layers as layers_lens
from ..lenses.layer_heads import DEFAULT_SORT, chosen_sort
from ..lenses.layer_table import LayerTable
from ..models import LayerRun, Status
from .downloads import LensCsvView
from .selection import SelectionPage


class LayersView(SelectionPage):
    """A row a layer; with one layer selected, that layer, its history and its versions."""

    url_name = "layer_runs:layers"
    template_name = "layer_runs/layers.html"
    fragment_template_name = "layer_runs/_layers.html"
    exports = (("CSV", "layers_csv", ()),)

    by_layer: dict[str, int] | None = None

    def counted(self) -> dict[str, dict[str, int]]:
        return super().counted() | ({} if self.by_layer is None else {"layer_name": self.by_layer})

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        sort = chosen_sort(self.request.GET.get("sort", ""))
        if sort != DEFAULT_SORT:
            self.selection.carried["sort"] = sort
        names = self.selection.values.get("layer_name", [])
        if len(names) == 1 and self.totals["total"]:
            return super().get_context_data(**kwargs, layer=layer_lens.page(self.selection, self.buckets, self.look))
        report = layers_lens.report(self.selection, self.buckets)
        # The rows add up to what the cards would ask for.
        self.totals = report.everything.totals()
        self.by_layer = {row.name: row.runs for row in report.rows}
        context = super().get_context_data(**kwargs)
        context["lens"] = LayerTable(report, self.selection, self.look, sort)
        if not report.rows:
            context |= self.nothing()
        return context


class LayersCsvView(LensCsvView):
    """The rows of the Layers lens, the silent layers among them, by name."""

    url_name = "layer_runs:layers"
    name = "layers"
    columns = (
        *("layer_name", "runs", "success", "partial", "failed", "dry", "running", "crashed", "other", "success_rate"),
        *("p50_seconds", "p95_seconds", "insights", "tokens", "cost_usd", "silent"),
    )

    def rows(self) -> Iterator[dict[str, Any]]:
        look = Look.at_once()
        cut = buckets(self.selection.window, LayerRun.objects.started_bounds(), look.now, look.zone)
        report = layers_lens.report(self.selection, cut)
        for row in sorted([*report.rows, *report.silent], key=lambda row: row.name):
            counts = {status: row.statuses[status] for status in Status.values}
            yield counts | {
                "layer_name": row.name,
                "runs": row.runs,
                "other": row.other,
                "success_rate": row.success_rate,
                "p50_seconds": _seconds(row.typical.p50),
                "p95_seconds": _seconds(row.typical.p95),
                "insights": row.insights,
                "tokens": row.tokens,
                "cost_usd": row.cost,
                "silent": int(row.silent),
            }


def _seconds(milliseconds: int | None) -> Decimal | None:
    return None if milliseconds is None else Decimal(milliseconds).scaleb(-3)
