"""The pages about one run."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from .. import formatting
from ..access import admin_link
from ..filters import LayerRunFilterSet
from ..lenses import run as run_lens
from ..models import LayerRun
from ..pages import PageView
from ..tables import CURSORS, LayerRunTable, RunPaginator


class PageOfRuns(PageView):
    """A page about runs of a list. Its links carry the list it was opened from: selection, sort and page."""

    carries: tuple[str, ...] = ("sort", "per_page", "page", *CURSORS, "live")

    @cached_property
    def selection(self) -> LayerRunFilterSet:
        selection = super().selection
        given = self.request.GET
        selection.carried = {name: given[name] for name in self.carries if name in given}
        return selection

    def link_to(self, run: LayerRun | None) -> str:
        """Return the page of a run, with the selection that its "back" leads to."""
        return self.selection.link(reverse("layer_runs:detail", args=[run.pk])) if run else ""

    def link_to_both(self, before: LayerRun | None, after: LayerRun | None) -> str:
        """Return the page that compares two runs, where there are two."""
        if before is None or after is None:
            return ""
        return self.selection.link(reverse("layer_runs:compare"), a=before.pk, b=after.pk)


class RunPage(PageOfRuns):
    """A page about one run."""

    @cached_property
    def run(self) -> LayerRun:
        # Its errors can be 30 MB: a page of them is read from their lines.
        return get_object_or_404(LayerRun.objects.defer("errors"), pk=self.kwargs["pk"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        errors_url = self.selection.link(reverse("layer_runs:run_errors", args=[self.run.pk]), page=None)
        here = {"run": self.run, "run_url": self.link_to(self.run)}
        # Ready for one more parameter: the page of the errors, or the position of one.
        here["errors_url"] = f"{errors_url}{'&' if '?' in errors_url else '?'}"
        return super().get_context_data(**here, **kwargs)


class RunDetailView(RunPage):
    """One run: a drawer over the list, and a page of its own."""

    template_name = "layer_runs/detail.html"
    fragment_template_name = "layer_runs/_detail.html"
    fragment_id = "run-detail"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        report = run_lens.report(self.run, self.look.now, with_details=self.sees_details)
        return super().get_context_data(
            **report | {"around": [(run, self.link_to(run), self.cells(run)) for run in report["around"]]},
            title=f"{self.run.layer_name}, {formatting.clock(self.run.started_at, self.look.now, self.look.zone)}",
            before_url=self.link_to(report["before"]),
            after_url=self.link_to(report["after"]),
            compare_url=self.link_to_both(report["before"], self.run),
            admin_url=self.admin_url(),
            **kwargs,
        )

    def cells(self, run: LayerRun) -> list[tuple[str, str]]:
        """Return what the list says of a run, in the list's own words."""
        columns = (LayerRunTable.base_columns[name] for name in ("status", "targets", "cost", "duration"))
        return [(column.css, column.html(run, self.look)) for column in columns]

    def admin_url(self) -> str:
        """Return the run in the built-in admin, with the way back to the same selection there."""
        page = admin_link("change", self.run.pk)
        query = self.selection.link("", **dict.fromkeys(self.selection.carried)).removeprefix("?")
        return f"{page}?{urlencode({'_changelist_filters': query})}" if page and query else page


class RunErrorsView(RunPage):
    """A run's errors page by page; `?position=3` is the whole text of one of them."""

    needs_details = True
    carries = ("sort", "per_page", *CURSORS, "live")  # `page` is one of the errors here
    template_name = "layer_runs/errors_of_run.html"
    fragment_template_name = "layer_runs/_errors.html"
    fragment_id = "run-errors"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        position = request.GET.get("position", "")
        if not position:
            return super().get(request, *args, **kwargs)
        if not (position.isascii() and position.isdigit() and len(position) < 10):
            return HttpResponseBadRequest(_("A position is a whole number."), content_type="text/plain")
        # Counted before they are read: all of them, to find one.
        some = int(position) < self.run.error_count
        for error in self.run.read_errors(int(position), int(position) + 1) if some else ():
            # Plain text: whatever a model or a stranger wrote, no browser runs it.
            return HttpResponse(error.message, content_type="text/plain; charset=utf-8")
        raise Http404(_("This run has no error at that position."))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        count = self.run.error_count
        pages = RunPaginator(range(count), run_lens.ERRORS_PER_PAGE, count=count)
        page = pages.nearest(self.request.GET.get("page", "1"))
        return super().get_context_data(errors=run_lens.error_page(self.run, page), **kwargs)
