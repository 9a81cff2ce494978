"""Looking for new runs while a page is open."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict

from .. import formatting
from ..access import asked_from
from ..pages import PageView
from ..tables import CURSORS


class LiveView(PageView):
    """How many runs a selection holds beyond those the reader has seen: `after` is their number."""

    template_name = "layer_runs/live.html"
    fragment_template_name = "layer_runs/_live.html"
    fragment_id = "run-news"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        seen = self.request.GET.get("after", "")[:12]
        total = self.selection.qs.order_by().count()
        new = max(total - int(seen), 0) if seen.isascii() and seen.isdigit() else 0
        news = formatting.plural(new, "new run")
        return super().get_context_data(new=new, news=news, page_url=self.page_url(), **kwargs)

    def page_url(self) -> str:
        """Return the page that asks, from its beginning: that is where new runs are."""
        asking = urlsplit(asked_from(self.request))
        query = QueryDict(asking.query, mutable=True)
        for name in ("page", *CURSORS):
            query.pop(name, None)
        return f"{asking.path}?{query.urlencode()}"

    def to_login(self, request: HttpRequest) -> HttpResponseBase:
        # Nobody asked for the login page to come up under their eyes: the page says that it no longer looks.
        return HttpResponse(status=401) if request.htmx else super().to_login(request)
