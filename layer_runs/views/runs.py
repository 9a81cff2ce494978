"""The pages: each hands the selection to a lens, and the lens's answer to a template."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.core.serializers.json import DjangoJSONEncoder
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from . import export, formatting
from .access import admin_link
from .columns import Look
from .filters import LayerRunFilterSet
from .lenses import run as run_lens
from .lenses import runs as runs_lens
from .models import LayerRun
from .pages import MonitorView, PageView
from .tables import PAGE_SIZES, LayerRunTable, RunPaginator, page_size
from .windows import PERIODS

EXPORTS = (("csv", "CSV"), ("json", gettext_lazy("JSON lines")))


class SelectionPage(PageView):
    """A lens: the filters, and below them what the selection holds."""

    # What the address of the page says besides its selection.
    here: dict[str, str] = {}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        selection = self.selection
        totals = runs_lens.totals(selection.qs)
        window = selection.window
        return super().get_context_data(
            totals=totals,
            cards=runs_lens.cards(selection, totals),
            chips=list(selection.chips()),
            clear_url=selection.cleared(),
            complaints=list(selection.complaints()),
            periods=[
                {"value": value, "label": label, "taken": value == selection.named_period}
                for value, label in PERIODS.items()
            ],
            window_text=formatting.stretch(window.since, window.until, self.look.now, self.look.zone),
            zone=str(self.look.zone),
            **kwargs,
        )

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        response = super().render_to_response(context, **kwargs)
        htmx = self.request.htmx
        # Not where a dashboard of the host's own asks for the fragment: that page keeps its address.
        if htmx and urlsplit(htmx.current_url_abs_path or self.request.path).path == self.request.path:
            # The address bar says what the server understood: no blanks, no defaults, no mistakes.
            response["HX-Push-Url"] = self.selection.link(**self.here)
        return response


class RunListView(SelectionPage):
    """The Runs lens."""

    template_name = "layer_runs/list.html"
    fragment_template_name = "layer_runs/_results.html"
    fragment_id = "run-results"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        table = LayerRunTable(
            self.selection.qs,
            sort=self.request.GET.get("sort", ""),
            look=Look(self.look.now, self.look.zone, self.detail_link, self.sees_details),
        )
        per_page = page_size(self.request.GET.get("per_page", ""))
        if not table.is_newest_first:
            self.selection.carried["sort"] = table.sort
        if per_page != PAGE_SIZES[0]:
            self.selection.carried["per_page"] = str(per_page)
        context = super().get_context_data(table=table, **kwargs)

        wanted = self.request.GET.get("page") or "1"
        total = context["totals"]["total"]
        table.paginator = RunPaginator(table.rows, per_page, count=total)
        table.page = page = table.paginator.page(table.paginator.nearest(wanted))
        self.here = {"page": str(page.number)} if page.number > 1 else {}
        context |= {
            "exports": [
                (label, self.selection.link(reverse("layer_runs:export", args=[kind]))) for kind, label in EXPORTS
            ],
            "admin_url": self.admin_url(),
            "headers": list(table.headers(self.selection.link)),
            "page": page,
            "previous_url": self.selection.link(page=page.previous_page_number()) if page.has_previous() else "",
            "next_url": self.selection.link(page=page.next_page_number()) if page.has_next() else "",
        }
        here = formatting.count(page.start_index()), formatting.count(page.end_index()), formatting.count(total)
        context["page_text"] = _("%s–%s of %s") % here + (f", {_('newest first')}" if table.is_newest_first else "")
        if wanted != str(page.number):
            context["page_notice"] = _("There is no page “%(wanted).20s”; this is page %(number)s of %(pages)s.") % {
                "wanted": wanted,
                "number": page.number,
                "pages": page.paginator.num_pages,
            }
        if not total:
            context["ways_on"] = runs_lens.ways_on(self.selection)
            context["none_yet"] = not context["ways_on"] and not LayerRun.objects.exists()
        return context

    def admin_url(self) -> str:
        """Return the same selection in the built-in admin, which has a sort of its own and starts with all of time."""
        listing, period = admin_link("changelist"), self.selection.named_period
        changes = dict.fromkeys(self.selection.carried) | {"period": [period] if period not in ("", "all") else None}
        return self.selection.link(listing, **changes) if listing else ""

    def detail_link(self, run: LayerRun) -> str:
        # A run lies right under the list and its id is fit for a URL; a reverse() a row would cost as much as the SQL.
        return f"{self.selection.path}{run.pk}/{self.query}"

    @cached_property
    def query(self) -> str:
        """What the links of all rows end in: the selection, its sort and this page."""
        return self.selection.link("", **self.here)


class StatsView(SelectionPage):
    """The totals alone: a page, and a fragment for a dashboard of the host's own."""

    url_name = "layer_runs:stats"
    template_name = "layer_runs/stats.html"
    fragment_template_name = "layer_runs/_totals.html"
    fragment_id = "run-stats"


class RunPage(PageView):
    """A page about one run. Its links carry the list it was opened from: selection, sort and page."""

    carries: tuple[str, ...] = ("sort", "per_page", "page")

    @cached_property
    def selection(self) -> LayerRunFilterSet:
        selection = super().selection
        given = self.request.GET
        selection.carried = {name: given[name] for name in self.carries if name in given}
        return selection

    @cached_property
    def run(self) -> LayerRun:
        return get_object_or_404(LayerRun, pk=self.kwargs["pk"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        errors_url = self.selection.link(reverse("layer_runs:run_errors", args=[self.run.pk]), page=None)
        here = {"run": self.run, "run_url": self.link_to(self.run)}
        # Ready for one more parameter: the page of the errors, or the position of one.
        here["errors_url"] = f"{errors_url}{'&' if '?' in errors_url else '?'}"
        return super().get_context_data(**here, **kwargs)

    def link_to(self, run: LayerRun | None) -> str:
        """Return the page of a run, with the selection that its "back" leads to."""
        return self.selection.link(reverse("layer_runs:detail", args=[run.pk])) if run else ""


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
    carries = ("sort", "per_page")  # `page` is one of the errors here
    template_name = "layer_runs/errors_of_run.html"
    fragment_template_name = "layer_runs/_errors.html"
    fragment_id = "run-errors"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        position = request.GET.get("position", "")
        if not position:
            return super().get(request, *args, **kwargs)
        if not (position.isascii() and position.isdigit() and len(position) < 10):
            return HttpResponseBadRequest(_("A position is a whole number."), content_type="text/plain")
        for error in self.run.read_errors(int(position), int(position) + 1):
            # Plain text: whatever a model or a stranger wrote, no browser runs it.
            return HttpResponse(error.message, content_type="text/plain; charset=utf-8")
        raise Http404(_("This run has no error at that position."))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        count = self.run.error_count
        pages = RunPaginator(range(count), run_lens.ERRORS_PER_PAGE, count=count)
        page = pages.nearest(self.request.GET.get("page", "1"))
        return super().get_context_data(errors=run_lens.error_page(self.run, page), **kwargs)


class RawView(MonitorView):
    """The row as it is kept, with its calls, as a download."""

    needs_details = True

    def get(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        run = get_object_or_404(LayerRun, pk=pk)
        row = export.row(run) | {"calls": [export.row(call) for call in run.calls.order_by("created_at", "id")]}
        response = JsonResponse(row, encoder=DjangoJSONEncoder, json_dumps_params={"indent": 2, "ensure_ascii": False})
        response["Content-Disposition"] = f'attachment; filename="layer-run-{pk.replace(":", "-")}.json"'
        return response


class ExportView(MonitorView):
    """The selection, streamed. A mistake in the query is an answer of its own, never a wider export."""

    def get(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        if kind not in export.KINDS:
            raise Http404(_("Runs are exported as csv or json."))
        if complaints := [f"{label}: {message}" for _name, label, message in self.selection.complaints()]:
            return HttpResponseBadRequest("\n".join(complaints), content_type="text/plain; charset=utf-8")
        runs = self.selection.filter_queryset(LayerRun.objects.all()).newest_first()
        return export.response(runs, kind, with_details=self.sees_details)
