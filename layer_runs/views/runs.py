"""The Runs lens and its totals."""

from __future__ import annotations

from typing import Any

from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import formatting
from ..access import admin_link
from ..columns import Look
from ..lenses import timeline
from ..models import LayerRun
from ..tables import CURSORS, PAGE_SIZES, LayerRunTable, page_size
from .selection import SelectionPage


class RunListView(SelectionPage):
    """The Runs lens."""

    template_name = "layer_runs/list.html"
    fragment_template_name = "layer_runs/_results.html"
    exports = (("CSV", "export", ("csv",)), (gettext_lazy("JSON lines"), "export", ("json",)))

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

        given, total = self.request.GET, context["totals"]["total"]
        page = table.turn_to(given, total)
        self.here = page.here
        context |= {
            "admin_url": self.admin_url(),
            "headers": list(table.headers(self.selection.link)),
            "previous_url": self.selection.link(**page.previous) if page.previous else "",
            "next_url": self.selection.link(**page.next) if page.next else "",
        }
        here = tuple(formatting.count(number) for number in (page.start + bool(page.runs), page.end, page.total))
        context["page_text"] = _("%s–%s of %s") % here + (f", {_('newest first')}" if table.is_newest_first else "")
        wanted = given.get("page") or "1"
        if wanted != str(page.number) and not any(given.get(name) for name in CURSORS):
            context["page_notice"] = _("There is no page “%(wanted).20s”; this is page %(number)s of %(pages)s.") % {
                "wanted": wanted,
                "number": page.number,
                "pages": page.pages,
            }
        if total:
            context["timeline"] = timeline.drawn(self.selection, self.buckets, self.look.zone)
        else:
            context |= self.nothing()
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
