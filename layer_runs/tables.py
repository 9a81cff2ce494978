"""The table of runs: its columns, how they sort, and how the rows are paged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from .models import LayerRun

PAGE_SIZES = (20, 50, 100)


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
        super().__init__(runs, order_by=(self.sort,), **options)

    @property
    def is_newest_first(self) -> bool:
        return self.sort == "-started_at"

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
        for run in self.page.object_list.data:
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
