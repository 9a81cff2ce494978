"""The versions of a layer as they are read: figures, differences, links and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from django.urls import reverse
from django.utils.translation import gettext as _

from .. import formatting
from ..buckets import Bucket
from ..columns import Look
from ..filters import LayerRunFilterSet
from ..models import Status
from .durations import NOT_TIMED
from .layers import BAD, COUNTING
from .nodes import work_of
from .versions import RUNS_NEEDED, Version

# A matrix of more is no longer read: the newest versions, and the nodes with the most errors.
VERSIONS_SHOWN = 8
NODES_SHOWN = 12


class Cell(NamedTuple):
    """A figure of a version: where it comes from, and the difference to the version before."""

    text: str
    note: str = ""
    url: str = ""
    change: str = ""


class Rate(NamedTuple):
    """The errors of a node for every 100 targets of a version. `width` is its bar, in percent of the worst."""

    text: str
    note: str
    width: str
    url: str


class VersionTable:
    """What the template draws of the versions; the newest first."""

    def __init__(
        self,
        selection: LayerRunFilterSet,
        versions: Sequence[Version],
        nights: Sequence[Bucket],
        nodes: Sequence[tuple[str, list[int]]] | None,
        look: Look,
    ) -> None:
        self.selection, self.versions, self.nights, self.look = selection, versions, nights, look
        self.nodes = nodes
        self.away = dict.fromkeys(selection.carried)
        self.needed = RUNS_NEEDED

    @property
    def nights_text(self) -> str:
        return ", ".join(formatting.short_day(night.start, self.look.now, self.look.zone) for night in self.nights)

    @property
    def hidden_nodes(self) -> int:
        return max(len(self.nodes or ()) - NODES_SHOWN, 0)

    @property
    def hidden_versions(self) -> int:
        return max(len(self.versions) - VERSIONS_SHOWN, 0)

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        for version in self.versions:
            yield {
                "version": version,
                "hash": version.hash[:8],
                "url": self.selection.link(layer_hash=[version.hash]) if version.hash else "",
                "used": self._used(version),
                "runs": Cell(formatting.count(version.runs), url=self._runs(version)),
                "cells": list(self._cells(version)),
                "verdict": self._verdict(version),
                "overtaken": self._overtaken(version),
            }

    def _link(self, version: Version, path: str, **changes: Any) -> str:
        # No parameter asks for runs that have no hash.
        changes = self.away | {"layer_hash": [version.hash]} | changes
        return self.selection.link(path, **changes) if version.hash else ""

    def _runs(self, version: Version, **changes: Any) -> str:
        return self._link(version, reverse("layer_runs:list"), **changes)

    def _used(self, version: Version) -> str:
        edges = (
            formatting.short_day(moment, self.look.now, self.look.zone) for moment in (version.first, version.last)
        )
        return " – ".join(dict.fromkeys(edges))

    def _cells(self, version: Version) -> Iterator[Cell]:
        before = version.before
        statuses = [status.value for status in COUNTING]
        yield Cell(
            formatting.share(version.good, version.counting) or formatting.NOTHING,
            _of(version.good, version.counting),
            self._runs(version, status=statuses) if version.counting else "",
            _points(version.success_rate, before and before.success_rate),
        )
        errors = reverse("layer_runs:errors")
        yield Cell(
            formatting.share(version.failed, version.targets) or formatting.NOTHING,
            _of(version.failed, version.targets),
            self._link(version, errors) if version.failed and self.selection.sees_errors else "",
            _points(version.failed_rate, before and before.failed_rate),
        )
        yield Cell(
            formatting.share(version.calm_bad, version.calm) or formatting.NOTHING,
            _of(version.calm_bad, version.calm),
            # With nights left out there is no selection of exactly these.
            self._runs(version, status=[s.value for s in BAD])
            if version.bad and version.bad == version.calm_bad
            else "",
            _points(version.calm_bad_rate, before and before.calm_bad_rate),
        )
        length = self._figure(version, lambda each: each.typical.p50, formatting.duration, self._lengths_url(version))
        timed = version.typical.runs
        yield length._replace(note=_("of %s") % formatting.count(timed)) if timed else length
        costs = self._link(version, reverse("layer_runs:costs"))
        yield self._figure(version, lambda each: each.tokens_per_target, _whole, costs)
        cost = self._figure(version, lambda each: each.cost_per_target, lambda value: formatting.usd(value, 4), costs)
        yield cost._replace(note=_("+ unpriced")) if version.unpriced else cost
        yield self._figure(version, lambda each: each.insights_per_target, formatting.ratio, self._runs(version))

    def _lengths_url(self, version: Version) -> str:
        timed = [status.value for status in Status if status not in NOT_TIMED]
        return self._runs(version, status=timed, sort="-duration") if version.typical.runs else ""

    def _figure(self, version: Version, figure: Callable[[Version], Any], text: Callable[[Any], str], url: str) -> Cell:
        value, before = figure(version), figure(version.before) if version.before else None
        change = formatting.change(Decimal(value) / Decimal(before) - 1) if before and value is not None else ""
        return Cell(text(value), "", url if value is not None else "", change)

    def _verdict(self, version: Version) -> dict[str, str]:
        verdict = version.verdict
        since = formatting.short_day(version.began, self.look.now, self.look.zone)
        p = "" if verdict.p is None else formatting.p_value(verdict.p)
        texts = {
            "first": (_("the first seen"), ""),
            "unjudged": (self._unjudged, ""),
            "few": (
                _("too few runs to tell"),
                _("%(runs)s of %(needed)s") % {"runs": verdict.fewest, "needed": RUNS_NEEDED},
            ),
            "same": (_("no clear change"), p),
            "worse": (_("worse since %s") % since, p),
            "better": (_("better since %s") % since, p),
        }
        text, note = texts[verdict.word]
        url = self._wider if verdict.word == "unjudged" else ""
        return {"word": verdict.word, "text": text, "note": note, "url": url}

    @property
    def _unjudged(self) -> str:
        narrowed = set(self.selection.values) - {"layer_name", "source", "period", "since", "until"}
        return _("no earlier version in this selection") if narrowed else _("no earlier version in this window")

    @property
    def _wider(self) -> str:
        """Where the versions before are: the same page of all time, or nothing where this is it."""
        wider = self.selection.link(period="all", since=None, until=None, layer_hash=None)
        return wider if wider != self.selection.link() else ""

    def _overtaken(self, version: Version) -> str:
        if not version.overtaken:
            return ""
        since = formatting.short_day(version.overtaken.began, self.look.now, self.look.zone)
        return _("also ran after v%(number)s began on %(since)s") % {"number": version.overtaken.number, "since": since}

    # -- nodes

    @property
    def columns(self) -> list[Version]:
        """The versions of the matrix, oldest first."""
        return list(self.versions[:VERSIONS_SHOWN])[::-1]

    @property
    def matrix(self) -> Iterator[tuple[str, list[Rate | None]]]:
        """Yield each node with its rate under each version; None where that version had no targets."""
        # As the Errors lens has it: also of runs that a filter on how they ended leaves out.
        work = {layer_hash: done.targets for (_layer, layer_hash), done in work_of(self.selection).items()}
        places = [(place, version) for place, version in enumerate(self.versions[:VERSIONS_SHOWN])][::-1]
        nodes = [
            (node, [(version, errors[place], work.get(version.hash, 0)) for place, version in places])
            for node, errors in (self.nodes or ())[:NODES_SHOWN]
        ]
        worst = max((errors / targets for _node, row in nodes for _v, errors, targets in row if targets), default=0)
        for node, row in nodes:
            yield node, [self._rate(node, *each, worst) if each[-1] else None for each in row]

    def _rate(self, node: str, version: Version, errors: int, targets: int, worst: float) -> Rate:
        url = self._link(version, reverse("layer_runs:errors"), node=[node]) if node and errors else ""
        width = 100 * errors / targets / worst if worst else 0
        return Rate(formatting.per_100(errors, targets), _of(errors, targets), f"{width:.1f}%", url)


def _of(part: int, whole: int) -> str:
    return _("%(part)s of %(whole)s") % {"part": formatting.count(part), "whole": formatting.count(whole)}


def _points(rate: float | None, before: float | None) -> str:
    """Return by how many percentage points a rate differs from the one before."""
    if rate is None or before is None:
        return ""
    points = round((rate - before) * 100)
    return _("%s pts") % (f"{points:+}".replace("-", formatting.MINUS) if points else "±0")


def _whole(value: Decimal | None) -> str:
    return formatting.ratio(value, 0)
