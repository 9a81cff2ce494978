"""Downloads: the selection as it is stored, and what a lens shows of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponseBadRequest, HttpResponseBase
from django.utils.translation import gettext as _

from .. import export
from ..models import LayerRun
from ..pages import MonitorView


class DownloadView(ABC, MonitorView):
    """The selection, streamed. A mistake in the query is an answer of its own, never a wider export."""

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        if complaints := [f"{label}: {message}" for _name, label, message in self.selection.complaints()]:
            return HttpResponseBadRequest("\n".join(complaints), content_type="text/plain; charset=utf-8")
        return self.download(**kwargs)

    @abstractmethod
    def download(self, **kwargs: Any) -> HttpResponseBase:
        """Return what there is to download."""


class ExportView(DownloadView):
    """The runs of the selection, every column."""

    def download(self, kind: str) -> HttpResponseBase:
        if kind not in export.KINDS:
            raise Http404(_("Runs are exported as csv or json."))
        runs = self.selection.filter_queryset(LayerRun.objects.all()).newest_first()
        return export.response(runs, kind, with_details=self.sees_details)


class LensCsvView(DownloadView):
    """What a lens shows, as CSV: `columns` are its heads, `rows()` its rows, as dicts of plain values."""

    name = ""
    columns: tuple[str, ...] = ()

    @abstractmethod
    def rows(self) -> Iterable[dict[str, Any]]:
        """Return the rows, each with a value for every column."""

    def download(self) -> HttpResponseBase:
        return export.table(self.name, self.columns, self.rows())
