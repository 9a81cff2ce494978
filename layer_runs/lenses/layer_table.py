"""The rows of the Layers lens as they are read: texts, links and cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import time
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from .. import charts, formatting
from ..buckets import Bucket
from ..columns import Look
from ..filters import LayerRunFilterSet
from ..models import LayerRun, Status
from .durations import NOT_TIMED
from .layer_heads import DEFAULT_SORT, HEADS, chosen_sort, ordered
from .layers import COUNTING, LayerRow, LayersReport
from .nodes import outcomes_chosen
from .timeline import OTHER, by_tone, word

# The worst first. Looked up for every cell: asking the statuses themselves takes twenty times as long.
_RANK = {tone: rank for rank, tone in enumerate(charts.TONES)}


class Figure(NamedTuple):
    """A figure of a row. `note` stands below it; without `url` there is nothing to lead to."""

    text: str
    note: str = ""
    url: str = ""
    title: str = ""
    css: str = ""


class LayerTable:
    """What the template draws of a report."""

    def __init__(self, report: LayersReport, selection: LayerRunFilterSet, look: Look, sort: str = "") -> None:
        self.report, self.selection, self.look = report, selection, look
        self.sort = chosen_sort(sort)
        self.runs_url = reverse("layer_runs:list")
        self.costs_url = reverse("layer_runs:costs")
        # A link of this page carries its sort; one to another lens does not.
        self.away = dict.fromkeys(selection.carried)
        self.previous = selection.previous()

    @property
    def heads(self) -> Iterator[dict[str, Any]]:
        """Yield the heads of the columns; the link of one turns its order around, or begins with the largest."""
        for head in HEADS:
            shown = {"name": head.name, "label": head.label, "title": head.title, "css": head.css}
            if head.name == "change" and self.report.before:
                shown["title"] = _("Cost against %s.") % self.before_text
            if head.key:
                first, second = (head.name, f"-{head.name}") if head.name == "name" else (f"-{head.name}", head.name)
                following = second if self.sort == first else first
                shown["url"] = self.selection.link(sort=None if following == DEFAULT_SORT else following)
                if self.sort.removeprefix("-") == head.name:
                    shown["aria_sort"] = "descending" if self.sort.startswith("-") else "ascending"
            yield shown

    @property
    def legend(self) -> charts.Cells:
        return outcomes(self.report.everything.statuses, self.report.cut)

    @property
    def days(self) -> Sequence[charts.Label]:
        return charts.head(self.report.cut)

    @property
    def unit(self) -> str:
        """What a cell is: an hour, a day, a week, a month or a year."""
        units = {"hour": _("an hour"), "day": _("a day"), "week": _("a week"), "month": _("a month")}
        return units.get(self.report.cut[0].unit, _("a year")) if self.report.cut else ""

    @property
    def before_text(self) -> str:
        before, zone = self.report.before, self.look.zone
        return formatting.days(before.since.astimezone(zone), before.until.astimezone(zone)) if before else ""

    @property
    def is_today_open(self) -> bool:
        """Whether the window counts today as a whole day although it is not over: the one before has whole days."""
        window, now = self.selection.window, self.look.now
        if window.since is None or window.since > now or (window.until and window.until <= now):
            return False
        return window.since.astimezone(self.look.zone).time() == time.min

    @property
    def chosen_by_outcome(self) -> str:
        """The filters in force that choose runs by how they ended: a success rate is then of those alone."""
        return ", ".join(str(self.selection.filters[name].label) for name in outcomes_chosen(self.selection))

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(ordered(self.report.rows, self.sort), 1):
            yield self._row(row, {"layer_name": [row.name]}, f"cells-{number}")

    @cached_property
    def everything(self) -> dict[str, Any]:
        return self._row(self.report.everything, {}, "cells-all")

    @property
    def silent(self) -> Iterator[dict[str, Any]]:
        """Yield the layers that were silent, the one heard of last first."""
        for row in sorted(self.report.silent, key=lambda row: (row.last, row.name), reverse=True):
            # From its last run to the beginning of the window there is no other.
            edges = {"since": row.last.isoformat(), "until": self.selection.window.since.isoformat()}
            url = self._link(row, {"layer_name": [row.name]}, self.runs_url, period=None, **edges)
            yield {"name": row.name, "url": self._layer_url(row.name), "last": {"at": row.last, "url": url}}

    def _row(self, row: LayerRow, chosen: dict[str, list[str]], cells_name: str) -> dict[str, Any]:
        link = partial(self._link, row, chosen, self.runs_url)
        return {
            "name": row.name,
            "url": self._layer_url(row.name) if chosen else "",
            "runs": Figure(formatting.plural(row.runs, "run"), url=link()),
            "cells": self._cells(row, link, cells_name),
            "last": {"at": row.last, "url": link(period=None, since=row.last.isoformat())} if row.last else None,
            "figures": [
                ("lr-n", self._success(row, link)),
                ("lr-n lr-c-length", self._length(row, link)),
                ("lr-n lr-c-insights", _quiet_zero(formatting.count(row.insights), row.insights, link())),
                ("lr-n", self._cost(row, chosen)),
                ("lr-n lr-c-yield", self._yield(row)),
                ("lr-n lr-c-change", self._change(row, chosen)),
            ],
        }

    def _link(self, row: LayerRow, chosen: dict[str, list[str]], path: str, **changes: Any) -> str:
        # No parameter asks for a layer without a name: nothing would lead to exactly its runs.
        return self.selection.link(path, **self.away | chosen | changes) if row.name or not chosen else ""

    def _layer_url(self, name: str) -> str:
        return self.selection.link(layer_name=[name]) if name else ""

    def _cells(self, row: LayerRow, link: Callable[..., str], name: str) -> charts.Cells:
        # One link a row, and what a bucket adds to it: thirty links a row would cost as much as the queries.
        base = link(period=None, since=None, until=None)
        joint = "&" if "?" in base else "?"
        cells = [
            cell(bucket, counts, f"{base}{joint}{query}" if base else "")
            for bucket, query, counts in zip(self.report.cut, self._queries, row.days, strict=True)
        ]
        return charts.cells(cells, label=_("Outcomes of %s") % (row.name or _("all layers")), name=name)

    @cached_property
    def _others(self) -> list[str]:
        """The statuses of the sources' own."""
        return [status for status in LayerRun.objects.values_of("status") if status and status not in Status.values]

    @cached_property
    def _queries(self) -> list[str]:
        return [urlencode(bucket.params) for bucket in self.report.cut]

    def _success(self, row: LayerRow, link: Callable[..., str]) -> Figure:
        if not row.counting:
            return Figure(formatting.NOTHING, css="lr-zero", title=_("No run that counts"))
        statuses = [status for status in COUNTING if row.statuses[status]]
        said = {"part": formatting.count(row.succeeded), "whole": formatting.count(row.counting)}
        note = _("%(part)s of %(whole)s") % said
        title = _("Only of runs chosen by outcome (%s)") % self.chosen_by_outcome if self.chosen_by_outcome else ""
        return Figure(formatting.share(row.succeeded, row.counting), note, link(status=statuses), title)

    def _length(self, row: LayerRow, link: Callable[..., str]) -> Figure:
        typical = row.typical
        if not typical.runs:
            return Figure(formatting.NOTHING, css="lr-zero", title=_("No finished run that was not dry"))
        title = _("of %s that finished and were not dry") % formatting.plural(typical.runs, "run")
        timed = [status for status in row.statuses if status not in (*NOT_TIMED, OTHER)]
        url = link(status=[*timed, *(self._others if row.other else ())], sort="-duration")
        return Figure(formatting.duration(typical.p50), formatting.duration(typical.p95), url, title)

    def _cost(self, row: LayerRow, chosen: dict[str, list[str]]) -> Figure:
        url = self._link(row, chosen, self.costs_url)
        note = _share_of(row.cost, self.report.everything.cost) if chosen else ""
        title = formatting.usd_exact(row.cost)
        if row.unpriced:
            note = _("+ unpriced")
            said = {"cost": title, "tokens": formatting.count(row.unpriced)}
            title = _("%(cost)s and %(tokens)s tokens without a price") % said
        return Figure(formatting.usd(row.cost, 2), note, url, title, "" if row.cost else "lr-zero")

    def _yield(self, row: LayerRow) -> Figure:
        if row.cost_per_insight is None or row.insights_per_dollar is None:
            return Figure(formatting.NOTHING, css="lr-zero")
        per_dollar = formatting.ratio(row.insights_per_dollar, 1)
        return Figure(formatting.usd(row.cost_per_insight), _("%s per $1") % per_dollar)

    def _change(self, row: LayerRow, chosen: dict[str, list[str]]) -> Figure:
        if self.previous is None:
            return Figure(formatting.NOTHING, css="lr-zero", title=_("There is no time before all time."))
        if not self.report.everything.runs_before:
            return Figure(formatting.NOTHING, css="lr-zero", title=_("Nothing ran in the window before."))
        if not row.runs_before:
            return Figure(_("new"), title=_("No run in the window before"), css="lr-zero")
        url = self.previous.link(self.runs_url, **chosen) if row.name or not chosen else ""
        said = {"now": formatting.usd(row.cost, 2), "before": formatting.usd(row.cost_before, 2)}
        title = _("%(now)s after %(before)s") % said
        return Figure(formatting.change(row.change), "", url, title)


def outcomes(statuses: Counter[str], cut: Sequence[Bucket]) -> charts.Cells:
    """Return what the cells of a grid mean, as they are drawn; what is seldom seen only where there is some."""
    seen = by_tone(statuses)
    tones = [tone for tone in reversed(charts.TONES) if seen[tone] or tone not in (OTHER, Status.RUNNING)]
    row = [*(charts.Cell(word(tone), tone) for tone in tones), charts.Cell(_("no run"))]
    # As many as in the grid: by their number they are drawn as glyphs or as thin columns.
    drawn = charts.cells([*row, *[charts.Cell("")] * (len(cut) - len(row))], label=_("Legend"))
    return replace(drawn, cells=drawn.cells[: len(row)])


def cell(bucket: Bucket, counts: Counter[str], url: str) -> charts.Cell:
    """Return the runs of a bucket as a cell: the worst gives the tone, all are in words: `1 failed, 3 success`."""
    if not counts:
        return charts.Cell(bucket.name)
    worst_first = sorted(counts, key=lambda status: (_RANK.get(status, _RANK[OTHER]), status))
    text = ", ".join(f"{formatting.count(counts[status])} {status or _('no status')}" for status in worst_first)
    tone = worst_first[0] if worst_first[0] in _RANK else OTHER
    return charts.Cell(bucket.name, tone, text, url)


def _quiet_zero(text: str, value: int, url: str) -> Figure:
    return Figure(text, url=url, css="" if value else "lr-zero")


def _share_of(part: Decimal, whole: Decimal) -> str:
    return formatting.share(part, whole) if whole else ""
