"""The Errors lens: what went wrong in a selection, cause by cause."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import formatting
from ..buckets import Bounds, Bucket
from ..filters import LayerRunFilterSet
from ..forms import FlagField
from ..models import Status
from . import nodes, targets
from .causes import fold, groups_of
from .error_group import group_report
from .error_lines import OF_LINES, count_lines, lines_of
from .error_rows import Rows, heads, in_order, order_of

# A page of more would take longer to read than to fix; the CSV has them all.
GROUPS_SHOWN = 200
FAILED = (Status.FAILED.value, Status.CRASHED.value)
CSV_COLUMNS = ("fingerprint", "title", "node", "errors", "runs", "targets", "first_seen", "last_seen", "code", "layers")


def report(
    selection: LayerRunFilterSet,
    buckets: Sequence[Bucket],
    bounds: Bounds,
    zone: tzinfo,
    *,
    order: str = "",
    all_targets: bool = False,
) -> dict[str, Any]:
    """Return what the page shows: the causes, the targets that fail most, the nodes under each version.

    Every line of the selection is read once, whatever there is to say of it. `bounds` are those of all runs.
    """
    lines = lines_of(selection)
    counted = count_lines(lines, buckets)
    causes = fold(groups_of(counted, selection.window, GROUPS_SHOWN))
    shown: dict[str, Any] = {
        "errors": counted.errors,
        "runs": len(counted.runs),
        "runs_url": _elsewhere(selection, has_errors=["1"]),
        "groups": len(counted.newest),
        "hidden": len(counted.newest) - sum(len(cause.groups) for cause in causes),
        "causes": len(causes),
        "last_at": counted.last_at,
        "silent": _silent(selection),
    }
    if not causes:
        return shown | {"ways_on": list(ways_on(selection))}
    order = order_of(order)
    top = max(max(cause.tally.spark) for cause in causes)
    oldest, since = bounds[0], selection.window.since
    tells_new = oldest is not None and since is not None and oldest < since
    rows = Rows(selection, counted, zone, top=top, unit=buckets[0].unit, tells_new=tells_new)
    work = nodes.work_of(selection)
    at_most = targets.SHOWN_AT_MOST if all_targets else targets.SHOWN
    versions, failing = counted.versions(), counted.targets()
    layers = {version.layer for version in versions}
    shown |= {
        "heads": list(heads(selection, order)),
        "rows": list(rows.of(in_order(causes, order))),
        "targets": targets.table(selection, targets.worst(failing, lines, at_most), len(failing)),
        "nodes": nodes.table(selection, versions, work, layers.pop() if len(layers) == 1 else None),
    }
    if "error" in selection.values and len(causes) == 1 and not shown["hidden"]:
        shown["group"] = group_report(selection, causes[0], counted, versions, work, buckets, zone)
    return shown


def csv_rows(selection: LayerRunFilterSet) -> Iterator[dict[str, Any]]:
    """Yield a row for every group there is, most errors first. First and last seen are over all time."""
    counted = count_lines(lines_of(selection))
    for group in groups_of(counted, selection.window):
        yield {
            "fingerprint": group.fingerprint,
            "title": group.title,
            "node": group.node,
            "errors": group.tally.errors,
            "runs": len(group.tally.runs),
            "targets": len(group.tally.targets),
            "first_seen": group.seen.first,
            "last_seen": group.seen.last,
            "code": formatting.error_code(group.line.message),
            "layers": len(group.tally.layers),
        }


def ways_on(selection: LayerRunFilterSet) -> Iterator[dict[str, str]]:
    """Yield how to widen a selection without errors, each way with the number of errors behind it."""
    always = {"period": ["all"], "since": None, "until": None}
    filters = dict.fromkeys(name for name in selection.parameters() if name not in (*always, *selection.carried))
    ways = []
    if selection.window:
        ways.append((_("%s in other times: show all"), always))
    if filters:
        ways.append((_("%s in this period without a filter"), filters))
    found = [way for way in (_way(selection, *way) for way in ways) if way]
    if not found and len(ways) > 1:
        found = [way for way in [_way(selection, _("%s in all, without a filter"), always | filters)] if way]
    return iter(found)


def _way(selection: LayerRunFilterSet, text: str, changes: dict[str, Any]) -> dict[str, str] | None:
    number = lines_of(selection.variant(**changes)).order_by().count()
    if not number:
        return None
    return {"text": text % formatting.plural(number, "error"), "url": selection.link(**changes)}


def _silent(selection: LayerRunFilterSet) -> dict[str, str] | None:
    """Return how many runs failed or crashed and left no error, which no group has, and the link to them."""
    chosen = selection.values.get("status", FAILED)
    statuses = [status for status in FAILED if status in chosen]
    said = set(OF_LINES) & set(selection.values) or selection.values.get("has_errors") == FlagField.YES
    if said or not statuses:
        return None
    changes = {"status": statuses, "has_errors": ["0"]}
    number = selection.variant(**changes).qs.order_by().count()
    if not number:
        return None
    text = ngettext("%s failed or crashed run left no error", "%s failed or crashed runs left no error", number)
    return {"text": text % formatting.count(number), "url": _elsewhere(selection, **changes)}


def _elsewhere(selection: LayerRunFilterSet, **changes: Any) -> str:
    return selection.link(reverse("layer_runs:list"), **dict.fromkeys(selection.carried) | changes)
