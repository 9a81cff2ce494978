"""The Errors lens: the groups of errors of the selection, as a page and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..lenses import error_rows
from ..lenses import errors as errors_lens
from ..models import LayerRun
from .downloads import LensCsvView
from .selection import SelectionPage


class ErrorsView(SelectionPage):
    """What went wrong; with one error in the selection, all there is to say of that one."""

    needs_details = True
    url_name = "layer_runs:errors"
    template_name = "layer_runs/errors.html"
    fragment_template_name = "layer_runs/_errors_lens.html"
    exports = (("CSV", "errors_csv", ()),)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        order = error_rows.order_of(self.request.GET.get("sort", ""))
        if order != error_rows.DEFAULT_ORDER:
            self.selection.carried["sort"] = order
        all_targets = self.request.GET.get("targets") == "all"
        if all_targets:
            self.selection.carried["targets"] = "all"
        report = errors_lens.report(
            self.selection, self.buckets, self.bounds, self.look.zone, order=order, all_targets=all_targets
        )
        context = super().get_context_data(lens=report, unit=self.buckets[0].unit if self.buckets else "", **kwargs)
        if not context["totals"]["total"]:
            context["none_yet"] = not LayerRun.objects.exists()
        return context


class ErrorsCsvView(LensCsvView):
    """A row for every group of errors."""

    needs_details = True
    url_name = "layer_runs:errors"
    name = "errors"
    columns = errors_lens.CSV_COLUMNS

    def rows(self) -> Iterator[dict[str, Any]]:
        return errors_lens.csv_rows(self.selection)
