"""The pages as a browser gets them: through every middleware, for one member of staff, on either database."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock
from urllib.parse import urlencode

from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.template.response import TemplateResponse
from django.test import Client
from django.urls import reverse

from layer_runs.models import LayerRun

from . import runs
from .databases import use
from .timing import Sample, ask, clocked, interleaved, queries, sample_of

FRAGMENT = {"HX-Request": "true", "HX-Target": "run-results"}
FILTERS: dict[str, dict[str, str]] = {
    "no filter (7 d)": {},
    "layer": {"layer_name": runs.LAYERS[3]},
    "status": {"status": "failed"},
    "layer + status": {"layer_name": runs.LAYERS[3], "status": "failed"},
    "30 d": {"period": "30d"},
    "layer + status, all time": {"layer_name": runs.LAYERS[3], "status": "failed", "period": "all"},
}


class Browser:
    """A member of staff who looks at one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        use(alias)
        with transaction.atomic():
            user, _ = User.objects.get_or_create(username="bench", defaults={"is_staff": True})
            user.user_permissions.set(Permission.objects.filter(content_type__app_label="layer_runs"))
        self.client = Client(SERVER_NAME="localhost")
        self.client.force_login(user)

    def get(self, path: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None) -> Any:
        use(self.alias)
        response = self.client.get(f"{path}?{urlencode(query)}" if query else path, headers=headers)
        if response.status_code != 200:
            raise RuntimeError(f"{path} answered {response.status_code}")
        if response.streaming:
            response.getvalue()
        return response

    def page(self, name: str = "list", *args: str, query: Mapping[str, str] | None = None) -> Callable[[], Any]:
        return partial(self.get, reverse(f"layer_runs:{name}", args=args), query)

    def count_queries(self, **query: str) -> int:
        use(self.alias)
        with queries() as asked:
            self.page(query=query)()
        return len(asked)


def one_run(browser: Browser) -> LayerRun:
    """Return a run that failed in part and has as many calls as most."""
    use(browser.alias)
    erring = LayerRun.objects.filter(status="partial", error_count__gt=1).newest_first()
    return next(run for run in erring.iterator(chunk_size=50) if run.calls.count() >= 8)


@contextmanager
def timed_rendering(times: list[tuple[float, float]]) -> Iterator[None]:
    """Note how long each template response takes to render."""
    render = TemplateResponse.render

    def timed(response: TemplateResponse) -> Any:
        with clocked(times):
            return render(response)

    with mock.patch.object(TemplateResponse, "render", timed):
        yield


def our_own_work(browser: Browser, rounds: int) -> dict[str, Sample]:
    """Return the page, the same base without content, their difference, and what that is made of."""
    pages: dict[str, Callable[[], Any]] = {"page": browser.page(), "empty": partial(browser.get, "/bench/empty/")}
    rendering: dict[str, list[tuple[float, float]]] = {name: [] for name in pages}

    def watched(name: str) -> None:
        with timed_rendering(rendering[name]):
            pages[name]()

    samples = interleaved({name: partial(watched, name) for name in pages}, rounds)
    whole = samples["page"].minus(samples["empty"])
    rendered = {name: sample_of(times[-rounds:]) for name, times in rendering.items()}
    rendered_more = rendered["page"].minus(rendered["empty"])
    return samples | {"own": whole, "rendering": rendered_more, "view": whole.minus(rendered_more)}


def own_queries(browser: Browser, page: Callable[[], Any], rounds: int) -> dict[str, Sample]:
    """Return the time of each query that the page asks and its base does not, asked again by itself."""
    with queries() as asked:
        page()
    with queries() as asked_by_base:
        browser.get("/bench/empty/")
    base = [sql for sql, _params in asked_by_base]
    own = ((sql, params) for sql, params in asked if sql not in base)
    named = {f"{n}. {_said(sql)}": partial(ask, sql, params) for n, (sql, params) in enumerate(own, start=1)}
    return interleaved(named, rounds, warm_up=1)


def _said(sql: str) -> str:
    """Return the table of a query, what it groups by, and of how many parts it is put together."""
    plain = sql.replace('"', "").replace("layer_runs_", "")
    if plain.startswith("WITH RECURSIVE"):
        return f"choices of {plain.split('min(')[1].split(')')[0]}"
    selected, table = re.search(r"SELECT (.*?) FROM \(*(\w+)", plain).groups()
    groups = re.search(r"GROUP BY ([\d, ]+)", plain)
    # Grouped by place: of what is selected first, as no sum is.
    columns = re.findall(r" AS (\w+)", selected)
    places = [int(place) for place in groups[1].split(", ")] if groups else []
    keys = ", ".join(columns[place - 1] for place in places if place <= len(columns))
    parts = plain.count(" UNION ALL ") + 1
    said = [table, f"by {keys}" if keys else "", f"in {parts} parts" if parts > 1 else ""]
    return " ".join(filter(None, said))[:72]
