"""What the tables of the Costs lens are made of: figures, rows, and the runs behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from ... import formatting
from ...filters import LayerRunFilterSet
from .spending import WHOLLY_WASTED, Sums


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
        self.taken = selection.parameters()

    def runs(self, **values: str) -> str:
        """Return the address of the runs with these values, or none where it would be that of others."""
        # Two values of one parameter mean either: a second model called cannot be asked for besides the first.
        asked = (name == "layer_name" or self.taken.get(name) in (None, [value]) for name, value in values.items())
        if not all(values.values()) or not all(asked):
            return ""
        changes: dict[str, Any] = {name: [value] for name, value in values.items()}
        return self.selection.link(self.path, **self.carried | changes)

    def wasted(self) -> str:
        """Return the address of the runs that came to nothing, or none where the selection holds no such status."""
        taken = self.selection.values.get("status", WHOLLY_WASTED)
        statuses = [str(status) for status in WHOLLY_WASTED if status in taken]
        return self.selection.link(self.path, **self.carried | {"status": statuses}) if statuses else ""

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


def count_cell(value: int, css: str = "", url: str = "") -> Cell:
    return Cell(formatting.count(value), url=url, css=css, zero=not value, value=str(value))


def share_cell(part: Decimal, whole: Decimal) -> Cell:
    return Cell(formatting.share(part, whole) if whole else formatting.NOTHING, css="lr-share", zero=not part)


def _unpriced(sums: Sums) -> str:
    return _("%s tokens without a price") % formatting.count(sums.unpriced) if sums.unpriced else ""
