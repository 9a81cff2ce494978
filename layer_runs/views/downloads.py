"""Downloads: the selection as it is stored, and what a lens shows of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _

from .. import export
from ..audit import Action, record, user_name
from ..models import LayerRun
from ..pages import MonitorView


class DownloadView(ABC, MonitorView):
    """The selection, streamed, with a trail. A mistake in the query is an answer of its own, never a wider export."""

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        if complaints := [f"{label}: {message}" for _name, label, message in self.selection.complaints()]:
            return HttpResponseBadRequest("\n".join(complaints), content_type="text/plain; charset=utf-8")
        # The period is said, also where it is the one that needs no saying.
        what = self.selection.link(request.path, period=self.selection.named_period or None)
        return export.send(self.download(**kwargs), request, what=what + self.extent())

    @abstractmethod
    def download(self, **kwargs: Any) -> export.File:
        """Return what there is to download."""

    def extent(self) -> str:
        """Return what the trail adds to the address."""
        return ""


class ExportView(DownloadView):
    """The runs of the selection, every column."""

    def download(self, kind: str) -> export.File:
        if kind not in export.KINDS:
            raise Http404(_("Runs are exported as csv or json."))
        runs = self.selection.filter_queryset(LayerRun.objects.all()).newest_first()
        return export.runs_file(runs, kind, with_details=self.sees_details)

    def extent(self) -> str:
        return f", {export.extent(self.sees_details)}"


class LensCsvView(DownloadView):
    """What a lens shows, as CSV: `columns` are its heads, `rows()` its rows, as dicts of plain values."""

    name = ""
    columns: tuple[str, ...] = ()

    @abstractmethod
    def rows(self) -> Iterable[dict[str, Any]]:
        """Return the rows, each with a value for every column."""

    def download(self) -> export.File:
        return export.table_file(self.name, self.columns, self.rows())


class RawView(MonitorView):
    """The row as it is kept, with its calls, as a download."""

    needs_details = True

    def get(self, request: HttpRequest, pk: str) -> HttpResponseBase:
        run = get_object_or_404(LayerRun, pk=pk)
        headers = {"Content-Disposition": f'attachment; filename="layer-run-{pk.replace(":", "-")}.json"'}
        if request.method == "HEAD":
            return HttpResponse(content_type="application/json", headers=headers)
        row = export.row(run) | {"calls": [export.row(call) for call in run.calls.order_by("created_at", "id")]}
        record(Action.EXPORT, actor=user_name(request.user), what=request.path, runs=1)
        as_text = {"indent": 2, "ensure_ascii": False}
        return JsonResponse(row, encoder=DjangoJSONEncoder, json_dumps_params=as_text, headers=headers)
