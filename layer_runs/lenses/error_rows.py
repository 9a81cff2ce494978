"""The table of causes: its columns, its order, and what each row says and leads to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import charts, formatting
from ..filters import LayerRunFilterSet
from .causes import Cause, Group
from .error_lines import Lines, SeenRun, Tally

SAMPLES = 3
LAYERS_NAMED = 2
DEFAULT_ORDER = "-errors"
ORDERS: dict[str, tuple[Any, Callable[[Cause | Group], Any]]] = {
    "errors": (gettext_lazy("Errors"), lambda row: row.tally.errors),
    "runs": (gettext_lazy("Runs"), lambda row: len(row.tally.runs)),
    "targets": (gettext_lazy("Targets"), lambda row: len(row.tally.targets)),
    "first_seen": (gettext_lazy("First seen"), lambda row: row.seen.first),
    "last_seen": (gettext_lazy("Last seen"), lambda row: row.seen.last),
}


def order_of(wanted: str) -> str:
    """Return an order that there is; anything else is most errors first."""
    return wanted if wanted.removeprefix("-") in ORDERS else DEFAULT_ORDER


def in_order(causes: Iterable[Cause], order: str) -> list[Cause]:
    """Return the causes in this order, and the groups of each; what is equal by errors, then runs, then its id."""
    ordered = [Cause(cause.key, _sorted(cause.groups, order), cause.tally, cause.seen) for cause in causes]
    return _sorted(ordered, order)


def _sorted(rows: list[Any], order: str) -> list[Any]:
    rows = sorted(rows, key=lambda row: (-row.tally.errors, -len(row.tally.runs), min(row.fingerprints)))
    return sorted(rows, key=ORDERS[order.removeprefix("-")][1], reverse=order.startswith("-"))


def heads(selection: LayerRunFilterSet, order: str) -> Iterator[dict[str, Any]]:
    """Yield the columns to sort by: the most or the latest first, and the other way round at a second click."""
    for name, (label, _key) in ORDERS.items():
        following = name if order == f"-{name}" else f"-{name}"
        url = selection.link(sort=None if following == DEFAULT_ORDER else following)
        direction = {f"-{name}": "descending", name: "ascending"}.get(order, "")
        yield {"name": name, "label": label, "url": url, "aria_sort": direction}


def samples(tally: Tally, runs: dict[str, SeenRun]) -> list[SeenRun]:
    """Return the newest runs of a few layers, or of one where it is the only one, newest first."""
    newest = iter(tally.runs)
    kept: dict[str, SeenRun] = {}
    spare: list[SeenRun] = []
    while len(kept) < min(SAMPLES, len(tally.layers)):
        run = runs[next(newest)]
        if kept.setdefault(run.layer, run) is not run:
            spare.append(run)
    while len(kept) + len(spare) < SAMPLES and (pk := next(newest, None)):
        spare.append(runs[pk])
    return sorted([*kept.values(), *spare[: SAMPLES - len(kept)]], key=lambda run: run.started_at, reverse=True)


class Rows:
    """What the rows say, for the template. `top` is the highest count of any bucket: all sparks share their scale.

    `tells_new` is whether there are runs from before the window: without them every error would be new.
    """

    def __init__(
        self, selection: LayerRunFilterSet, counted: Lines, zone: tzinfo, *, top: int, unit: str, tells_new: bool
    ) -> None:
        self.selection, self.counted, self.zone, self.top, self.unit = selection, counted, zone, top, unit
        self.tells_new = tells_new
        self.left_out = selection.values.get("exclude_error", [])
        self.runs_path = reverse("layer_runs:list")
        self.dropped = dict.fromkeys(selection.carried)

    def of(self, causes: Iterable[Cause]) -> Iterator[dict[str, Any]]:
        """Yield a row a cause and, where that was raised at several nodes, a row a node under it."""
        for cause in causes:
            said = {
                "cause": cause.key,
                "title": cause.newest.title,
                "code": formatting.error_code(cause.newest.line.message),
            }
            if len(cause.groups) == 1:
                yield self._row(cause) | said | self._of_group(cause.groups[0])
                continue
            yield self._row(cause) | said | {"nodes": len(cause.groups)}
            for group in cause.groups:
                under = {"title": group.title, "is_under": True, "is_new": False}
                yield self._row(group, height=16) | self._of_group(group) | under

    def _row(self, counted: Cause | Group, height: int = 24) -> dict[str, Any]:
        tally, seen, error = counted.tally, counted.seen, counted.fingerprints
        layers = sorted(tally.layers, key=lambda name: (-tally.layers[name], name))
        named = layers if len(layers) <= LAYERS_NAMED else layers[:1]
        return {
            "url": self.selection.link(error=error),
            "runs_url": self._runs(error=error),
            "without_url": self.selection.link(exclude_error=[*self.left_out, *error], error=None),
            "errors": tally.errors,
            "runs": len(tally.runs),
            "targets": len(tally.targets),
            "layers": [(name, self._runs(error=error, layer_name=[name])) for name in named],
            "more_layers": len(layers) - len(named),
            "first_seen": seen.first,
            "last_seen": seen.last,
            "is_new": self.tells_new and seen.is_new,
            "days_away": seen.days_away(self.zone),
            "spark": charts.spark(tally.spark, top=self.top, label=self._spoken(tally), height=height),
        }

    def _of_group(self, group: Group) -> dict[str, Any]:
        """Return what only a group has: its fingerprint, its node, and runs to look at."""
        return {
            "fingerprint": group.fingerprint,
            "node": group.node,
            "node_url": self.selection.link(node=[group.node]) if group.node else "",
            "samples": [
                (run.started_at, run.layer, self.selection.link(f"{self.runs_path}{run.pk}/", **self.dropped))
                for run in samples(group.tally, self.counted.runs)
            ],
        }

    def _spoken(self, tally: Tally) -> str:
        return _("%(errors)s, in %(some)s of %(all)s") % {
            "errors": formatting.plural(tally.errors, "error"),
            "some": sum(1 for number in tally.spark if number),
            "all": formatting.plural(len(tally.spark), self.unit),
        }

    def _runs(self, **changes: Any) -> str:
        return self.selection.link(self.runs_path, **self.dropped | changes)
