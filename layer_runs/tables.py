"""The table of runs: its columns, how they sort, and how the rows are paged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import django_tables2 as tables
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from . import formatting
from .columns import (
    CostColumn,
    DurationColumn,
    ErrorColumn,
    LayerColumn,
    Look,
    NumberColumn,
    StartedColumn,
    StatusColumn,
    TargetsColumn,
)
from .keyset import Order
from .models import LayerRun, RemovedRun

PAGE_SIZES = (20, 50, 100)
# What a link to a page may name besides its number: the run that it goes on after, or that it ends before.
CURSORS = ("after", "before")


@dataclass(frozen=True)
class Page:
    """Some runs of a list, and how many lie before them. `cursor` is what leads back to the very same place."""

    runs: list[LayerRun]
    start: int
    total: int
    size: int
    cursor: dict[str, str] = field(default_factory=dict)

    @property
    def number(self) -> int:
        # Rounded up, so that only a page with nothing before it is the first.
        return -(-self.start // self.size) + 1

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.size))

    @property
    def end(self) -> int:
        return self.start + len(self.runs)

    @property
    def here(self) -> dict[str, str]:
        """The parameters of this page; none for the first, which always begins with the newest."""
        return {"page": str(self.number), **self.cursor} if self.start else {}

    @property
    def previous(self) -> dict[str, str]:
        """The parameters of the page before, or nothing where there is none."""
        return {"page": str(self.number - 1), "before": self.runs[0].pk} if self.start else {}

    @property
    def next(self) -> dict[str, str]:
        return {"page": str(self.number + 1), "after": self.runs[-1].pk} if self.end < self.total else {}


class LayerRunTable(tables.Table):
    started_at = StartedColumn(verbose_name=_("Started"), accessor="started_at", sort=True)
    layer_name = LayerColumn(lambda run, look: run.layer_name, verbose_name=_("Layer"))
    status = StatusColumn(lambda run, look: run.status, verbose_name=_("Status"))
    targets = TargetsColumn(verbose_name=_("Targets"), accessor="targets_processed")
    insights = NumberColumn(
        lambda run, look: formatting.count(run.insights_created),
        verbose_name=_("Insights"),
        accessor="insights_created",
    )
    tokens = NumberColumn(
        lambda run, look: formatting.count(run.tokens_total),
        verbose_name=_("Tokens"),
        accessor="tokens_total",
        sort=True,
    )
    cost = CostColumn(verbose_name=_("Cost"), accessor="estimated_cost_usd", sort=True)
    duration = DurationColumn(
        lambda run, look: formatting.duration(run.duration_ms),
        verbose_name=_("Duration"),
        accessor="duration_ms",
        sort=True,
    )
    first_error = ErrorColumn(verbose_name=_("First error"), accessor="error_preview")

    def __init__(self, runs: QuerySet, *, sort: str = "", look: Look | None = None, **options: Any) -> None:
        # One key, and only of a column that offers it; anything else is the newest first.
        sortable = {name for name, column in self.base_columns.items() if column.orderable}
        self.sort = sort if sort.removeprefix("-") in sortable else "-started_at"
        self.look = look or Look.at_once()
        self.order = Order(str(self.base_columns[self.sort.removeprefix("-")].accessor), self.sort.startswith("-"))
        self.runs = runs
        self.page = Page([], 0, 0, PAGE_SIZES[0])
        super().__init__(runs, order_by=(self.sort,), **options)

    @property
    def is_newest_first(self) -> bool:
        return self.sort == "-started_at"

    def turn_to(self, given: Mapping[str, str], total: int) -> Page:
        """Read the page that the parameters ask for. `total` is how many runs there are, as was counted before.

        A run to go on from that is unknown, or with nothing beyond it, leaves the number of the page to decide.
        """
        self.page = Page([], 0, total, page_size(given.get("per_page", "")))
        if total:
            self.page = self._beside(given) or self._numbered(given.get("page", ""))
        return self.page

    def _numbered(self, wanted: str) -> Page:
        size = self.page.size
        start = (RunPaginator(range(self.page.total), size, count=self.page.total).nearest(wanted) - 1) * size
        return self._filled(list(self.runs.order_by(*self.order.terms)[start : start + size + 1]), start)

    def _beside(self, given: Mapping[str, str]) -> Page | None:
        name = next((name for name in CURSORS if given.get(name)), "")
        row = self._place(given[name]) if name else None
        if row is None:
            return None
        rows, size = (self.order.following if name == "after" else self.order.preceding), self.page.size
        runs = list(rows(self.runs, row)[: size + 1])
        if name == "before":
            if len(runs) <= size:
                return self._numbered("1")  # A whole first page, and not only what lies ahead of this run.
            runs = runs[size - 1 :: -1]
        if not runs:
            return None
        start = self.order.preceding(self.runs, runs[0]).order_by().count()
        return self._filled(runs, start, **{name: row.pk})

    def _filled(self, runs: list[LayerRun], start: int, **cursor: str) -> Page:
        # Runs that arrived since they were counted are there all the same, and lead on.
        size, total = self.page.size, max(self.page.total, start + len(runs))
        return Page(runs[:size], start, total, size, cursor)

    def _place(self, pk: str) -> Any:
        """Return a run as its place in the order; of one that was deleted since, when it started."""
        place = LayerRun.objects.only("started_at", self.order.column).filter(pk=pk).first()
        if place is None and self.order.by_time:
            place = RemovedRun.objects.filter(pk=pk).first()
        return place

    def headers(self, link: Callable[..., str]) -> Iterator[dict[str, str]]:
        """Yield the heads of the columns; the link of a sortable one turns its order around."""
        for bound in self.columns:
            head = {"name": bound.name, "label": bound.verbose_name, "css": bound.column.css}
            if bound.orderable:
                ascending, descending = bound.name, f"-{bound.name}"
                following = ascending if self.sort == descending else descending
                head["url"] = link(sort=None if following == "-started_at" else following)
                if self.sort in (ascending, descending):
                    head["aria_sort"] = "ascending" if self.sort == ascending else "descending"
            yield head

    def lines(self) -> Iterator[tuple[LayerRun, str]]:
        """Yield each run of the page with its cells, formatted a row at once: that is most of a page's speed."""
        columns = [bound.column for bound in self.columns]
        cells = "".join(f'<td role="cell" class="{column.css}">{{}}</td>' for column in columns)
        for run in self.page.runs:
            yield run, format_html(cells, *(column.html(run, self.look) for column in columns))


class RunPaginator(Paginator):
    """Pages of a known total. Any page number leads to the nearest page there is."""

    def __init__(self, rows: Any, per_page: int, *, count: int) -> None:
        super().__init__(rows, per_page)
        self.count = count

    def nearest(self, wanted: str) -> int:
        try:
            # Ten digits are beyond any page; Python refuses to read thousands of them.
            number = int(wanted.strip()[:10])
        except ValueError:
            return 1
        return min(max(number, 1), self.num_pages)


def page_size(wanted: str) -> int:
    """Return a page size from the fixed list; anything else is the first of them."""
    return int(wanted) if wanted in map(str, PAGE_SIZES) else PAGE_SIZES[0]
