"""One layer: its runs over time, how long they took and what a target cost, and where its version changed."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from django.urls import reverse
from django.utils.translation import gettext as _

from .. import charts, formatting
from ..buckets import Bucket, days
from ..columns import Look
from ..filters import LayerRunFilterSet
from ..models import LayerRun, Status
from ..querysets import LayerRunQuerySet
from . import nodes, timeline, versions
from .layer_charts import Run, RunCharts
from .layer_table import cell, outcomes
from .layers import BAD
from .version_table import VersionTable
from .versions import Version

# A chart of single runs stays readable, and cheap, up to about so many.
RUNS_DRAWN = 200
COLUMNS = ("id", "started_at", "status", "duration_ms", "layer_hash", "estimated_cost_usd")
TARGETS = ("targets_matched", "targets_processed", "targets_skipped")
# The parameters that say which runs of all layers an outage is looked for in.
OF_AN_OUTAGE = ("source", "period", "since", "until")


@dataclass
class Outcomes:
    """How each run ended, where no bucket has two: a cell each, the names of the axis, and what a cell means."""

    title: str
    sentence: str
    cells: charts.Cells
    labels: list[charts.Label]
    legend: charts.Cells


@dataclass
class LayerPage:
    """What the page of a layer shows below its cards. One of `cells` and `timeline` says when it ran."""

    name: str
    sentence: str
    # What is said of all runs although the selection is of some outcomes.
    notice: str
    cells: Outcomes | None
    timeline: timeline.Timeline | None
    drawn: str
    lengths: charts.Dots
    costs: charts.Dots
    versions: VersionTable
    all_url: str
    compare_url: str


def page(selection: LayerRunFilterSet, cut: Sequence[Bucket], look: Look) -> LayerPage:
    """Return the one layer of a selection that has runs, with a column for each bucket of its window."""
    (name,) = selection.values["layer_name"]
    # Versions are judged by all of their runs: among chosen outcomes each would be as good as the choice.
    whole = nodes.whatever_came_of_them(selection)
    runs, everything = selection.qs, whole.qs
    newest = _newest(runs)
    last = newest if whole is selection else _newest(everything)
    nights = outages_of(selection, look)
    first_uses = LayerRun.objects.first_uses(name, selection.values.get("source", []))
    found = versions.versions(everything, nights, first_uses)
    errors = versions.matrix(everything.lines(), found) if selection.sees_errors else None
    of_all = sum(version.runs for version in found)
    total = of_all if whole is selection else runs.count()
    charted = RunCharts(selection, list(reversed(newest)), cut, found, look)
    alone = _outcomes(selection, newest, cut, look) if total == len(newest) else None
    return LayerPage(
        name=name,
        sentence=" ".join(_sentences(last, of_all, found, look)),
        notice=_notice(selection),
        cells=alone,
        timeline=None if alone else timeline.drawn(selection, cut, look.zone),
        drawn=_drawn(len(newest), total),
        lengths=charted.lengths(),
        costs=charted.costs(),
        versions=VersionTable(whole, found, nights, errors, look),
        all_url=selection.link(layer_name=None, layer_hash=None),
        compare_url=_compare_url(whole, last, found),
    )


def _newest(runs: LayerRunQuerySet) -> list[Run]:
    return list(runs.newest_first().values(*COLUMNS, *TARGETS)[:RUNS_DRAWN])


def _notice(selection: LayerRunFilterSet) -> str:
    labels = [str(selection.filters[name].label) for name in nodes.outcomes_chosen(selection)]
    if not labels:
        return ""
    return _("This and the versions are of runs of every outcome, not only of those chosen (%s).") % ", ".join(labels)


def _compare_url(selection: LayerRunFilterSet, newest: Sequence[Run], found: Sequence[Version]) -> str:
    """Return where the newest two versions stand side by side: the last run of each that had something to do."""
    last = {run["layer_hash"]: run["id"] for run in reversed(newest)}
    last |= {run["layer_hash"]: run["id"] for run in reversed(newest) if run["targets_processed"]}
    pair = [last[version.hash] for version in found[:2] if version.hash in last]
    if len(pair) < 2:
        return ""
    carried = dict.fromkeys(selection.carried)
    return selection.link(reverse("layer_runs:compare"), a=pair[1], b=pair[0], **carried)


def outages_of(selection: LayerRunFilterSet, look: Look) -> list[Bucket]:
    """Return the days of the selection's window that speak of the provider, by the runs of all layers."""
    others = {name: None for name in selection.parameters() if name not in OF_AN_OUTAGE}
    everything = selection.variant(**others).qs
    cut = days(selection.window, LayerRun.objects.started_bounds(), look.now, look.zone)
    return versions.outages(everything, list(cut))


def _drawn(shown: int, total: int) -> str:
    if shown == total:
        return _("a dot a run")
    return _("a dot a run, the newest %(shown)s of %(total)s") % {
        "shown": formatting.count(shown),
        "total": formatting.count(total),
    }


def _sentences(newest: Sequence[Run], total: int, found: Sequence[Version], look: Look) -> Iterator[str]:
    """Yield what there is to say: when it ran, and what its last runs have in common."""
    first, last = min(version.first for version in found), newest[0]["started_at"]
    said = {"runs": formatting.plural(total, "run"), "ago": formatting.relative(last, look.now)}
    edges = [formatting.short_day(moment, look.now, look.zone) for moment in (first, last)]
    if edges[0] == edges[1]:
        yield _("%(runs)s on %(day)s, %(ago)s.") % (said | {"day": edges[0]})
    else:
        yield _("%(runs)s from %(first)s to %(last)s, the last one %(ago)s.") % (
            said | {"first": edges[0], "last": edges[1]}
        )
    version = found[0]
    if version.verdict.word in ("worse", "better"):
        since = formatting.short_day(version.began, look.now, look.zone)
        judged = {"version": version.number, "before": version.before.number, "since": since}
        is_worse = version.verdict.word == "worse"
        text = _("v%(version)s is worse than v%(before)s, since %(since)s.")
        yield (text if is_worse else _("v%(version)s is better than v%(before)s, since %(since)s.")) % judged
    for what, is_so in (
        (_("went wrong"), lambda run: run["status"] in BAD),
        (_("matched no targets"), lambda run: run["status"] == Status.DRY and not run["targets_matched"]),
    ):
        streak = len(list(takewhile(is_so, newest)))
        if streak == 1:
            yield _("The last run %s.") % what
        elif streak:
            yield _("The last %(runs)s %(what)s.") % {"runs": formatting.plural(streak, "run"), "what": what}


def _outcomes(selection: LayerRunFilterSet, runs: Sequence[Run], cut: Sequence[Bucket], look: Look) -> Outcomes | None:
    """Return the outcomes as a row of cells, which says all there is to say of at most one run a bucket."""
    counts: list[Counter[str]] = [Counter() for _bucket in cut]
    for run in runs:
        counts[bisect_right(cut, run["started_at"], key=lambda bucket: bucket.start) - 1][run["status"]] += 1
    if any(count.total() > 1 for count in counts):
        return None
    base, path = dict.fromkeys(selection.carried) | {"period": None}, reverse("layer_runs:list")
    cells = [
        cell(bucket, count, selection.link(path, **base | bucket.params) if count else "")
        for bucket, count in zip(cut, counts, strict=True)
    ]
    return Outcomes(
        title={"hour": _("Outcome per hour"), "day": _("Outcome per day")}.get(cut[0].unit, _("Outcomes")),
        sentence=f"{formatting.days(cut[0].start, cut[-1].end)}, {look.zone}",
        cells=charts.cells(cells, label=_("Outcomes"), name="outcomes"),
        labels=charts.head(cut),
        legend=outcomes(sum(counts, Counter()), cut),
    )
