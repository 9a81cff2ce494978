"""What the lenses have in common: the filters, and below them what the selection holds."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from .. import buckets, formatting
from ..access import asked_from
from ..filters import LayerRunFilterSet
from ..lenses import runs as runs_lens
from ..menus import menu_names, menus, more
from ..models import LayerRun
from ..pages import PageView
from ..windows import PERIODS

# The lenses: the name of the page, its word, and whether it shows what only some may read.
LENSES = (
    ("list", _("Runs"), False),
    ("layers", _("Layers"), False),
    ("errors", _("Errors"), True),
    ("costs", _("Costs"), False),
)
# The choices of one menu are a fragment of every lens: this and the name of the parameter is its id.
CHOICES = "run-choices-"


class SelectionPage(PageView):
    """A lens: the filters, and below them what the selection holds."""

    fragment_id = "run-results"
    # What there is to download: a word, the name of the page, and its arguments.
    exports: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    # What the address of the page says besides its selection.
    here: dict[str, str] = {}

    @cached_property
    def selection(self) -> LayerRunFilterSet:
        selection = super().selection
        if self.request.GET.get("live") == "1":
            selection.carried["live"] = "1"
        return selection

    @cached_property
    def buckets(self) -> list[buckets.Bucket]:
        """The window of the selection, cut for a chart."""
        return buckets.buckets(self.selection.window, self.bounds, self.look.now, self.look.zone)

    @cached_property
    def bounds(self) -> buckets.Bounds:
        return LayerRun.objects.started_bounds()

    @cached_property
    def totals(self) -> dict[str, Any]:
        """The figures of the selection, as its cards show them."""
        return runs_lens.totals(self.selection.qs)

    def counted(self) -> dict[str, dict[str, int]]:
        """Return the runs by the values of a parameter, where the page has counted them anyway."""
        return {} if self.totals["other"] else {"status": self.totals}

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        target = self.fragment_wanted
        if target.startswith(CHOICES) and target.removeprefix(CHOICES) in menu_names():
            self.fragment_id, self.fragment_template_name = target, "layer_runs/_choices.html"
            (menu,) = menus(self.selection, only=target.removeprefix(CHOICES), counted=True)
            return super().render_to_response({"menu": menu})
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        totals = self.totals
        window, carried = self.selection.window, dict.fromkeys(self.selection.carried)
        live = {"live": self.selection.carried.get("live")}
        context = {
            "totals": totals,
            "cards": runs_lens.cards(self.selection, totals),
            "chips": list(self.selection.chips()),
            "clear_url": self.selection.cleared(),
            "complaints": list(self.selection.complaints()),
            "periods": [
                {"value": value, "label": label, "taken": value == self.selection.named_period}
                for value, label in PERIODS.items()
            ],
            "window_text": formatting.stretch(window.since, window.until, self.look.now, self.look.zone),
            "zone": str(self.look.zone),
            # Only where the form is drawn: a fragment leaves it as it is.
            "menus": partial(menus, self.selection, counted=True, known=self.counted()),
            "more": partial(more, self.selection),
            "lenses": [
                (name, label, self.selection.link(reverse(f"layer_runs:{name}"), **carried | live))
                for name, label, needs_details in LENSES
                if self.sees_details or not needs_details
            ],
            "list_url": self.selection.link(reverse("layer_runs:list"), **carried | live),
            "lens_name": self.url_name.removeprefix("layer_runs:"),
            "exports": [
                (label, self.selection.link(reverse(f"layer_runs:{name}", args=args), **carried))
                for label, name, args in self.exports
            ],
            "live_url": self.live_url(totals["total"]) if live["live"] else "",
        }
        return super().get_context_data(**context | kwargs)

    def nothing(self) -> dict[str, Any]:
        """Return what to say of an empty selection: how to widen it, or that there are no runs yet."""
        ways_on = runs_lens.ways_on(self.selection)
        return {"ways_on": ways_on, "none_yet": not ways_on and not LayerRun.objects.exists()}

    def live_url(self, total: int) -> str:
        """Return where to ask for runs beyond these. Its window begins where this one does, and does not slide."""
        since = self.selection.window.since
        edges = {"period": None, "since": since.isoformat()} if self.selection.named_period not in ("", "all") else {}
        carried = dict.fromkeys(self.selection.carried)
        return self.selection.link(reverse("layer_runs:live"), after=str(total), **carried | edges)

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        response = super().render_to_response(context, **kwargs)
        # Not where a dashboard of the host's own asks for the fragment: that page keeps its address.
        if self.request.htmx and urlsplit(asked_from(self.request) or self.request.path).path == self.request.path:
            # The address bar says what the server understood: no blanks, no defaults, no mistakes.
            response["HX-Push-Url"] = self.selection.link(**self.here)
        return response
