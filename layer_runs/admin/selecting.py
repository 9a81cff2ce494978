"""What an action of the admin's list is about: runs that were ticked, or all that the list selects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.forms import BooleanField
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from ..access import VIEW_DETAILS
from ..filters import LayerRunFilterSet
from ..models import LayerRun
from ..windows import Window
from .filters import selection_of


@dataclass
class Selected:
    """The runs of an action. `is_whole` says that they are all of a selection, and not ticked one by one."""

    runs: QuerySet
    is_whole: bool
    selection: LayerRunFilterSet
    complaints: list[str]
    path: str
    ticked: list[str]

    @classmethod
    def of(cls, request: HttpRequest, runs: QuerySet) -> Selected:
        # Read as the admin's own form reads it.
        is_whole = BooleanField(required=False).to_python(request.POST.get("select_across"))
        every, sees_errors = LayerRun.objects.all(), request.user.has_perm(VIEW_DETAILS)
        selection = selection_of(dict(request.GET.lists()), every, sees_errors=sees_errors)
        # Of what was asked for itself: a period that is none became all of time above.
        given = LayerRunFilterSet(request.GET, every, sees_errors=sees_errors).complaints()
        complaints = [f"{label}: {message}" for _name, label, message in given]
        return cls(runs, is_whole, selection, complaints, request.path, request.POST.getlist(ACTION_CHECKBOX_NAME))

    @property
    def refusal(self) -> str:
        """Why nothing may be done with all of a selection: a mistake in it made it wider than what was meant."""
        if not (self.is_whole and self.complaints):
            return ""
        return _("Nothing was done, since a filter was left out. %s") % " ".join(self.complaints)

    @cached_property
    def window(self) -> Window:
        """The window as it is now, with both its edges still: no later run is in it, and none slides out."""
        window = self.selection.window
        newest = self.runs.started_bounds()[1]
        # A clock may be ahead of ours.
        ends = [self.selection.now, *([newest + timedelta(microseconds=1)] if newest else [])]
        return Window(window.since, window.until or max(ends))

    def link(self, **changes: str | list[str] | None) -> str:
        """Return the list of all these runs, at any later time."""
        edges = {name: _iso(getattr(self.window, name)) for name in ("since", "until")}
        return self.selection.link(self.path, **({"period": None} | edges | changes))

    def name(self) -> str:
        """Return what the trail calls these runs."""
        if self.is_whole:
            return f"all of {self.selection.link(self.path, period=self.selection.named_period or None)}"
        return f"ticked: {', '.join(self.ticked)}"


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
