"""The Costs lens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..columns import Look
from ..lenses import costs as costs_lens
from ..lenses.costs.daily import daily
from .downloads import LensCsvView
from .selection import SelectionPage


class CostsView(SelectionPage):
    """What the selection cost; `by` is what its chart is stacked by, `sort` the order of its layers."""

    url_name = "layer_runs:costs"
    template_name = "layer_runs/costs.html"
    fragment_template_name = "layer_runs/_costs.html"
    exports = (("CSV", "costs_csv", ()),)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        by = "layer" if self.request.GET.get("by") == "layer" else "model"
        sort = costs_lens.sort_of(self.request.GET.get("sort", ""))
        if by == "layer":
            self.selection.carried["by"] = by
        if sort != costs_lens.DEFAULT_SORT:
            self.selection.carried["sort"] = sort
        context = super().get_context_data(**kwargs)
        context["lens"] = costs_lens.costs(
            self.selection, self.buckets, self.bounds, self.look.now, self.look.zone, by=by, sort=sort
        )
        if not context["totals"]["total"]:
            context |= self.nothing()
        return context


class CostsCsvView(LensCsvView):
    """What was spent a day, layer, model and call type. The rows add up to the cards of the lens."""

    url_name = "layer_runs:costs"
    name = "costs"
    columns = (
        *("day", "layer_name", "model_name", "call_type", "calls", "tokens_input", "tokens_output", "cost_usd"),
        "unpriced_tokens",
    )

    def rows(self) -> Iterator[dict[str, Any]]:
        for use in daily(self.selection.qs, Look.at_once().zone):
            yield {
                "day": use.day.isoformat(),
                "layer_name": use.layer,
                "model_name": use.model,
                "call_type": use.call_type,
                "calls": use.sums.calls,
                "tokens_input": use.sums.tokens_input,
                "tokens_output": use.sums.tokens_output,
                "cost_usd": use.sums.cost,
                "unpriced_tokens": use.sums.unpriced,
            }
