"""The table of the Costs lens by layer: what each cost, and what came of it. It adds up to the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ... import formatting
from ...filters import LayerRunFilterSet
from ...statistics import per_target
from .spending import Ran, Spending
from .tables import Cell, Links, Row, Table, change, cost_cell, count_cell, ratio, share_cell, usd_cell

DEFAULT_SORT = "-cost"

# The columns that sort: a name, its head, what is on hover, and what a layer has there.
LAYER_COLUMNS: tuple[tuple[str, Any, Any, Callable[[Ran, Ran | None], Any]], ...] = (
    ("cost", gettext_lazy("Cost"), "", lambda ran, before: ran.sums.cost),
    ("runs", gettext_lazy("Runs"), "", lambda ran, before: ran.runs),
    ("tokens", gettext_lazy("Tokens"), "", lambda ran, before: ran.sums.tokens),
    (
        "per_run",
        gettext_lazy("Per run"),
        gettext_lazy("Cost ÷ runs"),
        lambda ran, before: ratio(ran.sums.cost, ran.runs),
    ),
    (
        "per_target",
        gettext_lazy("Per target"),
        gettext_lazy("Cost ÷ targets processed"),
        lambda ran, before: per_target(ran.sums.cost, ran.processed),
    ),
    (
        "per_insight",
        gettext_lazy("Per insight"),
        gettext_lazy("Cost ÷ insights"),
        lambda ran, before: ratio(ran.sums.cost, ran.insights),
    ),
    (
        "yield",
        gettext_lazy("Insights per $"),
        "",
        lambda ran, before: ran.insights / ran.sums.cost if ran.sums.cost else None,
    ),
    (
        "wasted",
        gettext_lazy("Wasted"),
        gettext_lazy("Failed and crashed runs, and calls of failed targets"),
        lambda ran, before: ran.wasted,
    ),
    (
        "change",
        gettext_lazy("Change"),
        gettext_lazy("Of the cost, against the window before"),
        lambda ran, before: change(ran.sums.cost, before.sums.cost if before else None),
    ),
)
_FIGURES = {name: figure for name, _label, _title, figure in LAYER_COLUMNS}


def sort_of(wanted: str) -> str:
    """Return the sort that is asked for, or the default where there is no such column."""
    return wanted if wanted.removeprefix("-") in (*_FIGURES, "layer") else DEFAULT_SORT


def heads(selection: LayerRunFilterSet, sort: str, caveat: str = "") -> list[dict[str, Any]]:
    """Return the heads of the table of layers, each a link that sorts by it; `caveat` is of the window before."""
    columns = [("layer", _("Layer"), ""), *((name, label, title) for name, label, title, _figure in LAYER_COLUMNS)]
    return [
        {
            "name": name,
            "label": label,
            "title": f"{title}. {caveat}" if name == "change" and caveat else title,
            "css": _css(name),
            "url": selection.link(sort=_next_sort(name, sort)),
            "aria_sort": ("descending" if sort[0] == "-" else "ascending") if sort.removeprefix("-") == name else "",
        }
        for name, label, title in columns
    ]


def _css(name: str) -> str:
    if name == "layer":
        return ""
    return "lr-n" if name in ("cost", "per_insight", "change") else "lr-n lr-opt"


def _next_sort(name: str, sort: str) -> str | None:
    first, second = (name, f"-{name}") if name == "layer" else (f"-{name}", name)
    wanted = second if sort == first else first
    return None if wanted == DEFAULT_SORT else wanted


def by_layer(now: Spending, before: Spending | None, sort: str, links: Links) -> Table:
    """Return a row a layer that ran. A layer that only ran before is named where the change is explained."""
    layers, were = now.by_layer(), before.by_layer() if before else {}
    whole = sum(layers.values(), Ran())
    most = max((ran.sums.cost for ran in layers.values()), default=Decimal(0))
    rows = [
        Row(
            layer or _("(no name)"),
            _layer_cells(ran, were.get(layer), whole, most, links.runs(layer_name=layer), compared=before is not None),
            links.here(layer),
        )
        for layer, ran in _sorted(layers, were, sort)
    ]
    total_before = sum(were.values(), Ran()) if before else None
    foot = _layer_cells(whole, total_before, whole, Decimal(0), links.runs(), compared=before is not None)
    # A quiet link in a foot is underlined: here it is a figure like its neighbours.
    foot = [replace(cell, css=cell.css.removesuffix(" lr-quiet")) for cell in foot]
    return Table(rows, Row(_("All layers"), foot))


def _sorted(layers: dict[str, Ran], were: dict[str, Ran], sort: str) -> list[tuple[str, Ran]]:
    name, falls = sort.removeprefix("-"), sort.startswith("-")
    ordered = sorted(layers.items())
    if name == "layer":
        return ordered[::-1] if falls else ordered
    values = {layer: _FIGURES[name](ran, were.get(layer)) for layer, ran in ordered}
    # What has no such figure comes last, whichever way.
    known = [item for item in ordered if values[item[0]] is not None]
    known.sort(key=lambda item: values[item[0]], reverse=falls)
    return known + [item for item in ordered if values[item[0]] is None]


def _layer_cells(ran: Ran, before: Ran | None, whole: Ran, most: Decimal, url: str, *, compared: bool) -> list[Cell]:
    cost, figure = ran.sums.cost, {name: of(ran, before) for name, of in _FIGURES.items()}
    bar = f"{max(cost, Decimal(0)) * 100 / most:.2f}%" if most > 0 else ""
    yields = figure["yield"]
    new = _("new") if compared and cost and not (before and before.sums.cost) else formatting.change(figure["change"])
    return [
        cost_cell(ran.sums, url),
        share_cell(cost, whole.sums.cost),
        Cell("", css="lr-bars lr-opt", width=bar),
        count_cell(ran.runs, "lr-opt lr-quiet", url),
        count_cell(ran.sums.tokens, "lr-opt"),
        usd_cell(figure["per_run"], 3, css="lr-opt"),
        usd_cell(figure["per_target"], 4, css="lr-opt"),
        usd_cell(figure["per_insight"], 4),
        Cell(
            formatting.NOTHING if yields is None else f"{yields:,.1f}" if yields else "0", css="lr-opt", zero=not yields
        ),
        usd_cell(ran.wasted, 3, css="lr-opt"),
        Cell(new, zero=figure["change"] is None, title=_before(before)),
    ]


def _before(before: Ran | None) -> str:
    return _("%s before") % formatting.usd_exact(before.sums.cost) if before else ""
