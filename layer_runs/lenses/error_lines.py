"""The error lines of a selection, read once for all that the Errors lens says of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple, Self

from ..buckets import Bucket
from ..filters import LayerRunFilterSet
from ..models import LayerRun

# The parameters that choose among the lines, and the column each of them chooses by.
OF_LINES = {"error": "fingerprint", "node": "node", "topic": "topic"}
LINES_AT_ONCE = 5_000


class Version(NamedTuple):
    """A node under one version of its layer."""

    layer: str
    node: str
    hash: str


@dataclass(slots=True)
class SeenRun:
    """A run with error lines. `bucket` is the place of the one it began in."""

    pk: str
    started_at: datetime
    layer: str
    hash: str
    bucket: int


@dataclass(slots=True)
class Tally:
    """Lines counted: the lines of each run, target and layer. `line` is the newest; a line may have no target."""

    spark: list[int]
    line: int = 0
    last_at: datetime | None = None
    errors: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of_all(cls, tallies: Iterable[Self]) -> Self:
        """Return the lines of several tallies as one: a run or target that is in two of them is one."""
        tallies = sorted(tallies, key=lambda tally: (tally.last_at, tally.line), reverse=True)
        return cls(
            [sum(counts) for counts in zip(*(tally.spark for tally in tallies), strict=True)],
            tallies[0].line,
            tallies[0].last_at,
            sum(tally.errors for tally in tallies),
            *(_added_up(getattr(tally, name) for tally in tallies) for name in ("runs", "targets", "layers")),
        )


@dataclass(slots=True)
class Target:
    """A target that failed. `runs` are those it failed in."""

    errors: int
    last_at: datetime
    runs: set[str]


@dataclass(slots=True)
class Lines:
    """All lines of a selection. `runs` are newest first; what is counted is by (fingerprint, run) and the like."""

    runs: dict[str, SeenRun]
    columns: int
    of_runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    of_targets: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    newest: dict[str, tuple[str, int]] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        return self.of_runs.total()

    @property
    def last_at(self) -> datetime | None:
        """When the newest run with an error began."""
        return next(iter(self.runs.values())).started_at if self.runs else None

    def add(self, rows: Sequence[tuple[int, str, str, str, str]]) -> None:
        """Count lines, at least one, that are no newer than those before them."""
        # Whole columns at once: one by one in Python takes three times as long.
        lines, runs, fingerprints, nodes, topics = zip(*rows, strict=True)
        self.nodes.update(zip(fingerprints, nodes, strict=True))
        self.of_runs.update(zip(fingerprints, runs, strict=True))
        self.of_targets.update(zip(fingerprints, topics, strict=True))
        self.failures.update(zip(topics, runs, strict=True))
        for line, run, fingerprint in zip(lines, runs, fingerprints, strict=True):
            known = self.newest.get(fingerprint)
            # The lines of one run come in any order.
            if known is None or (known[0] == run and line < known[1]):
                self.newest[fingerprint] = run, line

    def groups(self) -> dict[str, Tally]:
        """Return the lines by what went wrong, the fingerprint."""
        groups = {
            fingerprint: Tally([0] * self.columns, line, self.runs[run].started_at)
            for fingerprint, (run, line) in self.newest.items()
        }
        for (fingerprint, pk), number in self.of_runs.items():
            group, run = groups[fingerprint], self.runs[pk]
            group.errors += number
            group.runs[pk] = number
            group.layers[run.layer] = group.layers.get(run.layer, 0) + number
            group.spark[run.bucket] += number
        for (fingerprint, topic), number in self.of_targets.items():
            if topic:
                groups[fingerprint].targets[topic] = number
        return groups

    def targets(self) -> dict[str, Target]:
        """Return the lines by target, those that name one."""
        targets: dict[str, Target] = {}
        for (topic, run), number in self.failures.items():
            if not topic:
                continue
            if target := targets.get(topic):
                target.errors += number
                target.runs.add(run)
            else:
                targets[topic] = Target(number, self.runs[run].started_at, {run})
        return targets

    def versions(self) -> Counter[Version]:
        """Return how many lines there are at each node under each version."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for (fingerprint, pk), number in self.of_runs.items():
            run = self.runs[pk]
            counts[run.layer, self.nodes[fingerprint], run.hash] += number
        return Counter({Version(*names): number for names, number in counts.items()})


def lines_of(selection: LayerRunFilterSet) -> Any:
    """Return the error lines that a selection speaks of: those of its runs, and of these only what it names.

    A run that failed in two ways is found by either; under `error=` its other errors do not count.
    """
    chosen = {name: selection.values[name] for name in OF_LINES if name in selection.values}
    if not chosen:
        return selection.qs.lines()
    # Who has such a line is among the runs with one: they need not be looked for twice.
    runs = selection.variant(**dict.fromkeys(chosen)).qs
    return runs.lines().filter(**{f"{OF_LINES[name]}__in": values for name, values in chosen.items()})


def count_lines(lines: Any, buckets: Sequence[Bucket] = ()) -> Lines:
    """Count lines, each read once; of a line no more is kept than of its run and target."""
    runs = sorted(_runs_of(lines, buckets), key=lambda run: (run.started_at, run.pk), reverse=True)
    counted = Lines({run.pk: run for run in runs}, max(len(buckets), 1))
    rows = lines.order_by("-started_at", "-run_id").values_list("pk", "run_id", "fingerprint", "node", "topic")
    some = rows.iterator(LINES_AT_ONCE)
    while read := list(islice(some, LINES_AT_ONCE)):
        # A run that was written after the runs were read is for the next look.
        if known := [row for row in read if row[1] in counted.runs]:
            counted.add(known)
    return counted


def _runs_of(lines: Any, buckets: Sequence[Bucket]) -> Iterator[SeenRun]:
    """Yield the runs that these lines belong to. Read apart: there are fewer of them than lines."""
    # In UTC: comparing moments of two zones asks both for their offset every time.
    starts = [bucket.start.astimezone(UTC) for bucket in buckets]
    # Within the window of the lines, which says nothing new, but so that a planner need not read every run there is.
    runs = LayerRun.objects.filter(pk__in=lines.order_by().values("run")).within(lines.window)
    columns = runs.values_list("pk", "started_at", "layer_name", "layer_hash")
    for pk, started_at, layer, layer_hash in columns.iterator(LINES_AT_ONCE):
        bucket = max(bisect_right(starts, started_at) - 1, 0)
        yield SeenRun(pk, started_at, layer, layer_hash, bucket)


def _added_up(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total
