"""The columns of the Layers lens, and how its rows sort by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.utils.translation import gettext_lazy

from .layers import LayerRow

# What costs most comes first: the order of the rows is then nearly the same every morning, and the grid shows trouble
# wherever it is.
DEFAULT_SORT = "-cost"


class Head(NamedTuple):
    """The head of a column: what it is called, how it is worked out, and what it sorts by."""

    name: str
    label: str
    title: str = ""
    key: Callable[[LayerRow], Any] | None = None
    css: str = "lr-n"


HEADS = (
    Head("name", gettext_lazy("Layer"), key=lambda row: row.name, css="lr-c-name"),
    Head("days", gettext_lazy("Outcome"), gettext_lazy("A cell shows its worst run."), css="lr-c-days"),
    Head("last", gettext_lazy("Last run"), key=lambda row: row.last, css="lr-n lr-c-last"),
    Head(
        "success",
        gettext_lazy("Success"),
        gettext_lazy("Success ÷ (success + partial + failed + crashed). Dry and running runs are left out."),
        lambda row: row.success_rate,
    ),
    Head(
        "duration",
        gettext_lazy("p50, p95"),
        gettext_lazy(
            "Half of the finished runs took no longer than the first, 19 of 20 no longer than the second (nearest"
            " rank). Dry runs are left out."
        ),
        lambda row: row.typical.p50,
        "lr-n lr-c-length",
    ),
    Head("insights", gettext_lazy("Insights"), key=lambda row: row.insights, css="lr-n lr-c-insights"),
    Head(
        "cost",
        gettext_lazy("Cost"),
        gettext_lazy("An estimate, and its share of the cost of all layers."),
        lambda row: row.cost,
    ),
    Head(
        "per_insight",
        gettext_lazy("Per insight"),
        gettext_lazy("Cost ÷ insights, and how many insights a dollar made."),
        lambda row: row.cost_per_insight,
        "lr-n lr-c-yield",
    ),
    Head("change", gettext_lazy("Change"), key=lambda row: row.change, css="lr-n lr-c-change"),
)
SORTS = {head.name: head.key for head in HEADS if head.key}


def chosen_sort(wanted: str) -> str:
    """Return a sort of this table; anything else is the default."""
    return wanted if wanted.removeprefix("-") in SORTS else DEFAULT_SORT


def ordered(rows: Iterable[LayerRow], sort: str) -> list[LayerRow]:
    """Return the rows by a column, equals by name; a row that has no such figure comes last either way."""
    key = SORTS[sort.removeprefix("-")]
    by_name = sorted(rows, key=lambda row: row.name)
    known = [row for row in by_name if key(row) is not None]
    # A stable sort, also when it is turned around.
    known.sort(key=key, reverse=sort.startswith("-"))
    return [*known, *(row for row in by_name if key(row) is None)]
