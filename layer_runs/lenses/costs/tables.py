"""What the tables of the Costs lens are made of, and the one by layer. Each adds up to the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ... import formatting
from ...filters import LayerRunFilterSet
from .spending import Ran, Spending, Sums

DEFAULT_SORT = "-cost"


@dataclass(frozen=True)
class Cell:
    """A figure: its text, its exact value, and the runs behind it."""

    text: str
    title: str = ""
    url: str = ""
    css: str = ""
    zero: bool = False
    value: str = ""
    # Of a bar in place of a text, in percent.
    width: str = ""

    @property
    def is_bar(self) -> bool:
        return "lr-bars" in self.css


@dataclass(frozen=True)
class Row:
    """A line of a table. `cells` of its foot are those of all rows together."""

    name: str
    cells: list[Cell]
    url: str = ""
    sub: str = ""
    second: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    rows: list[Row]
    foot: Row


class Links:
    """The runs behind a figure, where the query string can name exactly those."""

    def __init__(self, selection: LayerRunFilterSet) -> None:
        self.selection = selection
        self.path = reverse("layer_runs:list")
        self.carried = dict.fromkeys(selection.carried)

    def runs(self, **values: str) -> str:
        """Return the address of the runs with these values, or none where it would be that of others."""
        taken = self.selection.values
        # Two values of one parameter mean either: a second model called cannot be asked for besides the first.
        asked = (name == "layer_name" or taken.get(name) in (None, [value]) for name, value in values.items())
        if not all(values.values()) or not all(asked):
            return ""
        changes: dict[str, Any] = {name: [value] for name, value in values.items()}
        return self.selection.link(self.path, **self.carried | changes)

    def here(self, layer: str) -> str:
        """Return the address of this page for one layer alone."""
        return self.selection.link(layer_name=[layer]) if layer else ""


# --- figures


def plain(value: Decimal | int | None) -> str:
    """Return a plain number: never localised, and `0` for none."""
    return f"{value:f}" if isinstance(value, Decimal) and value else str(value or 0)


def money(value: Decimal, places: int = 2) -> str:
    return formatting.usd(value, places) if value >= 0 else formatting.usd_change(value, places)


def ratio(cost: Decimal, number: int) -> Decimal | None:
    return cost / number if number else None


def change(now: Decimal | int | None, before: Decimal | int | None) -> Decimal | None:
    """Return by how much of what was before this is more; of nothing there is no part."""
    return Decimal(now or 0) / Decimal(before) - 1 if before else None


def usd_cell(value: Decimal | None, places: int = 2, url: str = "", css: str = "") -> Cell:
    if value is None:
        return Cell(formatting.NOTHING, css=css, zero=True)
    exact = formatting.usd_exact(value) if value >= 0 else formatting.usd_change(value, 9)
    return Cell(money(value, places), exact, url, css, not value, plain(value))


def cost_cell(sums: Sums, url: str = "") -> Cell:
    """Return a cost; tokens without a price are said, and are no zero."""
    cell, said = usd_cell(sums.cost, url=url), _unpriced(sums)
    if not said:
        return cell
    return replace(cell, title=f"{cell.title}, {said}", text=cell.text if sums.cost else _("unpriced"))


def count_cell(value: int, css: str = "") -> Cell:
    return Cell(formatting.count(value), css=css, zero=not value, value=str(value))


def share_cell(part: Decimal, whole: Decimal) -> Cell:
    return Cell(formatting.share(part, whole) if whole else formatting.NOTHING, css="lr-share", zero=not part)


# --- by layer

# The columns that sort: a name, its head, what is on hover, and what a layer has there.
LAYER_COLUMNS: tuple[tuple[str, Any, Any, Callable[[Ran, Ran | None], Any]], ...] = (
    ("cost", gettext_lazy("Cost"), "", lambda ran, before: ran.sums.cost),
    ("tokens", gettext_lazy("Tokens"), "", lambda ran, before: ran.sums.tokens),
    ("per_run", gettext_lazy("Per run"), "", lambda ran, before: ratio(ran.sums.cost, ran.runs)),
    (
        "per_target",
        gettext_lazy("Per target"),
        gettext_lazy("Cost by targets worked on: processed and failed"),
        lambda ran, before: ratio(ran.sums.cost, ran.targets),
    ),
    ("per_insight", gettext_lazy("Per insight"), "", lambda ran, before: ratio(ran.sums.cost, ran.insights)),
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


def heads(selection: LayerRunFilterSet, sort: str) -> list[dict[str, Any]]:
    """Return the heads of the table of layers, each a link that sorts by it, the largest first."""
    columns = [("layer", _("Layer"), ""), *((name, label, title) for name, label, title, _figure in LAYER_COLUMNS)]
    return [
        {
            "name": name,
            "label": label,
            "title": title,
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


def _unpriced(sums: Sums) -> str:
    return _("%s tokens without a price") % formatting.count(sums.unpriced) if sums.unpriced else ""
