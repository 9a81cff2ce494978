"""The choices of a selection's repeatable parameters, each with the runs behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count

from . import formatting
from .filters import LayerRunFilterSet
from .models import LayerRun, Status
from .parameters import ValuesFilter


@dataclass(frozen=True)
class Choice:
    """A value. `runs` is how many the selection would hold with it alone, None where that was not asked."""

    value: str
    taken: bool
    runs: int | None = None

    @property
    def text(self) -> str:
        return formatting.count(self.runs)


@dataclass(frozen=True)
class Menu:
    """The choices of a parameter, with those that are taken."""

    name: str
    label: str
    choices: list[Choice]

    @property
    def taken(self) -> int:
        return sum(choice.taken for choice in self.choices)


def menu_names() -> list[str]:
    """Return the parameters that have a menu."""
    filters = LayerRunFilterSet.base_filters
    return [name for name, item in filters.items() if isinstance(item, ValuesFilter) and item.has_menu]


def menus(
    selection: LayerRunFilterSet,
    *,
    only: str = "",
    counted: bool = False,
    known: Mapping[str, Mapping[str, int]] | None = None,
) -> Iterator[Menu]:
    """Yield the menus, or one. Sources are a choice only where there are several.

    `known` are the runs of the selection by the values of a parameter, where the page has counted them already.
    """
    for name in [only] if only else menu_names():
        menu = _menu(selection, name, counted=counted, known=known or {})
        if only or name != "source" or len(menu.choices) > 1 or menu.taken:
            yield menu


def _menu(selection: LayerRunFilterSet, name: str, *, counted: bool, known: Mapping[str, Mapping[str, int]]) -> Menu:
    taken = selection.values.get(name, [])
    stored = [value for value in LayerRun.objects.values_of(selection.filters[name].field_name) if value]
    if name == "status":
        stored = [*Status.values, *(value for value in stored if value not in Status.values)]
    values = [*stored, *(value for value in taken if value not in stored)]
    # Where there is nothing to choose from, there is nothing to count.
    counted = counted and (name != "source" or len(values) > 1)
    # With some taken, the page has counted those alone.
    runs = known[name] if name in known and not taken else _runs(selection, name) if counted else {}
    choices = [Choice(value, value in taken, runs.get(value, 0) if counted else None) for value in values]
    return Menu(name, selection.filters[name].label, choices)


def _runs(selection: LayerRunFilterSet, name: str) -> dict[str, int]:
    """Return the number of runs a value, under everything else that is selected."""
    field = selection.filters[name].field_name
    others = selection.variant(**{name: None}).qs
    return dict(others.per(field, runs=Count("*")).values_list(field, "runs"))


# The parameters behind "More".
RARE = ("layer_hash", "exclude_layer", "has_errors", "min_cost", "min_duration")


def more(selection: LayerRunFilterSet) -> dict[str, Any]:
    """Return what the form's rarer filters hold now."""
    given = selection.values
    without, versions = given.get("exclude_layer", []), given.get("layer_hash", [])
    known = [name for name in LayerRun.objects.values_of("layer_name") if name]
    return {
        "taken": any(name in given for name in RARE),
        "has_errors": given.get("has_errors", ""),
        # One box, one version: several arrive by links, and are carried along.
        "layer_hash": versions[0] if len(versions) == 1 else "",
        "layers": [(name, name in without) for name in [*known, *(name for name in without if name not in known)]],
    }
