"""One layer: its runs over time, how long they took and what a target cost, and where its version changed."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby, takewhile
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from .. import charts, formatting
from ..buckets import Bucket, days
from ..columns import Look
from ..filters import LayerRunFilterSet
from ..models import LayerRun, Status
from . import timeline, versions
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
PER_TARGET = charts.Unit(lambda cost: formatting.usd(cost, 4), charts.USD.axis_text, charts.USD.steps)

Run = dict[str, Any]


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
    runs = selection.qs
    newest: list[Run] = list(runs.newest_first().values(*COLUMNS, *TARGETS)[:RUNS_DRAWN])
    nights = outages_of(selection, look)
    found = versions.versions(runs, nights)
    errors = versions.matrix(runs.lines(), found) if selection.sees_errors else None
    total = sum(version.runs for version in found)
    charted = _Charts(selection, list(reversed(newest)), cut, found, look)
    alone = _outcomes(selection, newest, cut, look) if total == len(newest) else None
    return LayerPage(
        name=name,
        sentence=" ".join(_sentences(newest, total, found, look)),
        cells=alone,
        timeline=None if alone else timeline.drawn(selection, cut, look.zone),
        drawn=_drawn(len(newest), total),
        lengths=charted.lengths(),
        costs=charted.costs(),
        versions=VersionTable(selection, found, nights, errors, look),
        all_url=selection.link(layer_name=None, layer_hash=None),
        compare_url=_compare_url(selection, newest, found),
    )


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
        since = formatting.short_day(version.first, look.now, look.zone)
        judged = {"version": version.number, "before": version.number - 1, "since": since}
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


class _Charts:
    """The charts of single runs, oldest first; they stand above each other and share one axis of time."""

    def __init__(
        self,
        selection: LayerRunFilterSet,
        runs: Sequence[Run],
        cut: Sequence[Bucket],
        found: Sequence[Version],
        look: Look,
    ) -> None:
        self.runs, self.look = runs, look
        # As wide as what is drawn: of many runs, the last few columns.
        self.cut = [bucket for bucket in cut if bucket.end > runs[0]["started_at"]] or cut
        self.versions = {version.hash: version for version in found}
        self.path, self.query = reverse("layer_runs:list"), selection.link("", **dict.fromkeys(selection.carried))
        # Neighbours of one version: where a version comes back it has several.
        self.stretches = [(key, list(group)) for key, group in groupby(runs, key=lambda run: run["layer_hash"])]

    def lengths(self) -> charts.Dots:
        return charts.dots(
            [self._dot(run, self._length(run)) for run in self.runs],
            label=_("Duration per run"),
            heads=[_("Run"), _("Duration"), _("Status")],
            marks=list(self._marks(named=True)),
            levels=list(self._levels(lambda version: version.typical.p50, formatting.duration, _("median"))),
            name="lengths",
        )

    def costs(self) -> charts.Dots:
        return charts.dots(
            [self._dot(run, self._cost(run)) for run in self.runs],
            label=_("Cost per target"),
            heads=[_("Run"), _("Cost per target"), _("Status")],
            marks=list(self._marks(named=False)),
            levels=list(self._levels(lambda version: version.cost_per_target, PER_TARGET.text, _("average"))),
            labels=charts.head(self.cut),
            name="target-costs",
            unit=PER_TARGET,
        )

    def _length(self, run: Run) -> int | None:
        milliseconds = run["duration_ms"]
        # Below zero is clock skew, and no length.
        return milliseconds if milliseconds is not None and milliseconds >= 0 else None

    def _cost(self, run: Run) -> Decimal | None:
        cost, targets = run["estimated_cost_usd"], run["targets_processed"]
        return cost / targets if cost is not None and targets else None

    def _dot(self, run: Run, value: Any) -> charts.Dot:
        (tone,) = timeline.by_tone({run["status"]: 1})
        return charts.Dot(
            at=self._place(run),
            value=value,
            name=formatting.clock(run["started_at"], self.look.now, self.look.zone),
            tone=tone,
            url=f"{self.path}{run['id']}/{self.query}",
            text=run["status"],
        )

    def _place(self, run: Run) -> float:
        return charts.place(run["started_at"], self.cut)

    def _marks(self, *, named: bool) -> Iterator[charts.Mark]:
        for layer_hash, runs in self.stretches:
            version = self.versions[layer_hash]
            text = f"v{version.number} {layer_hash[:7]}".strip()
            yield charts.Mark(self._place(runs[0]), text if named else "", text)

    def _levels(self, value: Any, text: Any, word: str) -> Iterator[charts.Level]:
        for layer_hash, runs in self.stretches:
            version = self.versions[layer_hash]
            level = value(version)
            if level is not None:
                title = f"v{version.number}: {word} {text(level)}"
                yield charts.Level(self._place(runs[0]), self._place(runs[-1]), level, title)
