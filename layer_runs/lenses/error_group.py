"""One group of errors, opened: what it said, when, in which runs and layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import islice
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from .. import charts, formatting
from ..buckets import Bucket
from ..filters import LayerRunFilterSet
from ..models import LayerRun
from . import nodes
from .causes import Cause
from .error_lines import Lines, Tally, Version
from .nodes import Work
from .run import ERROR_TEXT_SHOWN

RUNS_SHOWN = 20


@dataclass(frozen=True)
class Evidence:
    """A message as it was last raised: the first `ERROR_TEXT_SHOWN` characters of what the run itself keeps."""

    text: str
    is_cut: bool
    run_url: str
    whole_url: str


def group_report(
    selection: LayerRunFilterSet,
    cause: Cause,
    counted: Lines,
    versions: dict[Version, int],
    work: dict[tuple[str, str], Work],
    buckets: Sequence[Bucket],
    zone: tzinfo,
) -> dict[str, Any]:
    """Return what is said of a cause when it is the only one: `counted` are its lines and no other's."""
    tally, line = cause.tally, cause.newest.line
    runs, dropped = reverse("layer_runs:list"), dict.fromkeys(selection.carried)
    layers = [
        (rate, selection.link(runs, **dropped | {"layer_name": [rate.version.layer]}))
        for rate in nodes.by_layer(versions, work)
    ]
    # Where there are no more of them than layers, they would only say the same again.
    hashes = [layer for layer, _hash in work if layer in tally.layers]
    return {
        "title": cause.newest.title,
        "code": formatting.error_code(line.message),
        "nodes": [group.node for group in cause.groups],
        "sentence": sentence(tally, counted, zone),
        "first_seen": cause.seen.first,
        "last_seen": cause.seen.last,
        "raised_at": tally.last_at,
        "evidence": evidence(selection, cause),
        "timeline": timeline(selection, tally, buckets),
        "runs": newest_runs(selection, tally, counted),
        "runs_count": len(tally.runs),
        "runs_url": selection.link(runs, **dropped),
        "layers": layers,
        "says_versions": len(layers) < max(len(versions), len(hashes)),
        "list_url": selection.link(error=None),
    }


def sentence(tally: Tally, counted: Lines, zone: tzinfo) -> str:
    """Return the figures of a group in a sentence: `17 errors in 12 runs of 5 layers, on 5 days.`"""
    days = {counted.runs[pk].started_at.astimezone(zone).date() for pk in tally.runs}
    return _("%(errors)s in %(runs)s of %(layers)s, on %(days)s.") % {
        "errors": formatting.plural(tally.errors, "error"),
        "runs": formatting.plural(len(tally.runs), "run"),
        "layers": formatting.plural(len(tally.layers), "layer"),
        "days": formatting.plural(len(days), "day"),
    }


def evidence(selection: LayerRunFilterSet, cause: Cause) -> Evidence:
    """Return the newest message of a cause, from the run itself: its line keeps only the beginning."""
    line = cause.newest.line
    run = LayerRun.objects.only("errors").filter(pk=line.run_id).first()
    kept = next(run.read_errors(line.position, line.position + 1), None) if run else None
    text = kept.message if kept and kept.fingerprint == line.fingerprint else line.message
    dropped = dict.fromkeys(selection.carried)
    page = f"{reverse('layer_runs:list')}{line.run_id}/"
    return Evidence(
        text[:ERROR_TEXT_SHOWN],
        len(text) > ERROR_TEXT_SHOWN,
        selection.link(page, **dropped),
        selection.link(f"{page}errors/", **dropped, position=str(line.position)),
    )


def timeline(selection: LayerRunFilterSet, tally: Tally, buckets: Sequence[Bucket]) -> charts.Bars:
    """Return the errors of a group over time, each column the way to its own stretch."""
    columns = (
        charts.Column(
            bucket.name,
            bucket.label,
            [charts.Part("failed", number, formatting.plural(number, "error"))],
            url=selection.link(period=None, **bucket.params) if number else "",
            total="" if number else _("no such error"),
        )
        for bucket, number in zip(buckets, tally.spark, strict=True)
    )
    return charts.bars(
        columns, [charts.Series("failed", _("Errors"))], label=_("Errors of this group over time"), first=_("When")
    )


def newest_runs(selection: LayerRunFilterSet, tally: Tally, counted: Lines) -> list[tuple[LayerRun, int, str]]:
    """Return the newest runs of a group with its errors in each, and the way to them."""
    runs, dropped = reverse("layer_runs:list"), dict.fromkeys(selection.carried)
    shown = list(islice((pk for pk in counted.runs if pk in tally.runs), RUNS_SHOWN))
    found = LayerRun.objects.for_list().in_bulk(shown)
    return [(found[pk], tally.runs[pk], selection.link(f"{runs}{pk}/", **dropped)) for pk in shown if pk in found]
