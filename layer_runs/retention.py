"""How long runs are kept: the rule, and the deletion of what it does not keep, in short batches."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import router, transaction
from django.db.models import Q
from django.utils.functional import cached_property

from .audit import AuditEvent
from .formatting import plural
from .models import LayerRun, PruneMark, Status
from .querysets import LayerRunQuerySet

FAILURES = (Status.FAILED, Status.PARTIAL, Status.CRASHED)
# A transaction deletes at most so many runs with all that belongs to them, and fewer where that takes long:
# a writer who waits for it is to wait for less than half a second.
BATCH, LEAST_BATCH = 500, 10
LONG, SHORT = 0.25, 0.1  # In seconds.
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1), "y": timedelta(days=365)}
LONGEST = timedelta(days=36_500)
_SPAN = re.compile(r"([0-9]{1,9})([hdwy])")


def read_span(text: str) -> timedelta:
    """Return a span such as `36h`, `90d`, `12w` or `1y` (365 days). Raises ValueError with a sentence."""
    found = _SPAN.fullmatch(text)
    # Counted in units first, so that no number is too large to be a span.
    if not found or not 0 < int(found[1]) <= LONGEST // UNITS[found[2]]:
        raise ValueError(f"“{text}” is no span of time: use hours, days, weeks or years, such as 36h, 90d, 12w or 1y.")
    return int(found[1]) * UNITS[found[2]]


@dataclass(frozen=True)
class Rule:
    """What is kept: runs and failures of a certain age, and the newest few of each layer and source."""

    keep: timedelta
    keep_failures: timedelta
    keep_last: int = 0

    def __post_init__(self) -> None:
        if self.keep_failures < self.keep:
            raise ValueError("Failures are kept at least as long as other runs.")
        if self.keep_last < 0:
            raise ValueError("The newest runs to keep of each layer are a number from 0.")

    def __str__(self) -> str:
        words = [f"runs of the last {_in_words(self.keep)}"]
        if self.keep_failures > self.keep:
            words.append(f"failures of the last {_in_words(self.keep_failures)}")
        if self.keep_last:
            words.append(f"the newest {self.keep_last} of each layer")
        return f"keep {', '.join(words)}"


def _in_words(span: timedelta) -> str:
    days, rest = divmod(span, timedelta(days=1))
    return plural(span // timedelta(hours=1), "hour") if rest else plural(days, "day")


@dataclass
class Pruned:
    """What went so far: how many runs, of which layers, and what they cost in US dollars."""

    runs: int = 0
    layers: set[str] = field(default_factory=set)
    cost: Decimal = Decimal(0)
    unpriced_tokens: int = 0


class Pruning:
    """The runs that a rule does not keep, as of one moment."""

    def __init__(self, rule: Rule, now: datetime) -> None:
        # A run that is exactly as old as the rule says goes, too.
        just_after = now + timedelta(microseconds=1)
        self.before, self.failures_before = just_after - rule.keep, just_after - rule.keep_failures
        self.pruned = Pruned()
        self._keep_last = rule.keep_last
        self._at_once = BATCH // 4
        # For each layer and source, when the last of its newest few started; None where there are no more than those.
        self._edges: dict[tuple[str, str], datetime | None] = {}
        self._oldest_spared: datetime | None = None
        self._using = router.db_for_write(LayerRun)
        self._runs = LayerRun.objects.using(self._using)

    @cached_property
    def _expired(self) -> Q:
        """What is too old and has ended. The newest few of a layer are among them."""
        expired = Q(started_at__lt=self.before) & ~Q(status=Status.RUNNING)
        if self.failures_before < self.before:
            expired &= ~Q(status__in=FAILURES) | Q(started_at__lt=self.failures_before)
        return expired

    def batches(self) -> Iterator[list[str]]:
        """Yield the ids of the runs to delete, the oldest first. What is kept among them is passed by once."""
        rows = self._runs.filter(self._expired).order_by("started_at", "id")
        rows = rows.values_list("pk", "started_at", "layer_name", "source")
        after = Q()
        while found := list(rows.filter(after)[: self._at_once]):
            pk, started_at, *_ = found[-1]
            after = Q(started_at__gte=started_at) & (Q(started_at__gt=started_at) | Q(id__gt=pk))
            if batch := [pk for pk, *run in found if not self._is_spared(*run)]:
                yield batch

    def _is_spared(self, started_at: datetime, layer_name: str, source: str) -> bool:
        if not self._keep_last:
            return False
        layer = (layer_name, source)
        if layer not in self._edges:
            newest = self._runs.same_layer_as(LayerRun(layer_name=layer_name, source=source)).newest_first()
            starts = newest.values_list("started_at", flat=True)[self._keep_last - 1 : self._keep_last]
            self._edges[layer] = next(iter(starts), None)
        edge = self._edges[layer]
        # Those that started at the very same moment as the last one stay, too.
        is_spared = edge is None or started_at >= edge
        if is_spared and self._oldest_spared is None:
            self._oldest_spared = started_at
        return is_spared

    def count(self, ids: list[str]) -> None:
        """Count a batch as if it was deleted."""
        self._add(self._figures(ids, for_update=False).values())

    def delete(self, ids: list[str], event: AuditEvent) -> None:
        """Delete those of the runs that are still to be deleted, and say in the trail how many it is by now."""
        begun = time.monotonic()
        with transaction.atomic(using=self._using):
            figures = self._figures(ids, for_update=True)
            # Before the runs go: whoever does not find them any more finds the mark.
            for source in sorted({source for source, *_ in figures.values()}):
                marks = PruneMark.objects.using(self._using)
                marks.move(source, before=self.before, failures_before=self.failures_before)
            self._runs.filter(pk__in=list(figures)).only("pk").remove(remembered=False)
            # With them, so that it is right even if this process is killed.
            AuditEvent.objects.filter(pk=event.pk).update(runs=self.pruned.runs + len(figures))
        self._add(figures.values())
        taken = time.monotonic() - begun
        if taken > LONG:
            self._at_once = max(self._at_once // 2, LEAST_BATCH)
        elif taken < SHORT:
            self._at_once = min(self._at_once * 2, BATCH)

    def _figures(self, ids: list[str], *, for_update: bool) -> dict[str, tuple]:
        """Return what is counted of each run that is still to be deleted, by its id."""
        rows = self._runs.filter(self._expired, pk__in=ids).order_by("pk")
        if for_update:
            # What an importer is writing right now is left for the next time: neither waits for the other.
            rows = rows.select_for_update(skip_locked=True)
        found = rows.values_list("pk", "source", "layer_name", "estimated_cost_usd", "unpriced_tokens")
        return {pk: figures for pk, *figures in found}

    def _add(self, figures: Iterable[tuple]) -> None:
        for _source, layer_name, cost, unpriced_tokens in figures:
            self.pruned.runs += 1
            self.pruned.layers.add(layer_name)
            self.pruned.cost += cost or 0
            self.pruned.unpriced_tokens += unpriced_tokens

    def oldest_left(self) -> datetime | None:
        """Return when the oldest run that is stored now started."""
        return self._oldest(self._runs)

    def oldest_kept(self) -> datetime | None:
        """Return when the oldest run started that stays. Known once all batches were looked at."""
        edges = (self._oldest(self._runs.exclude(self._expired)), self._oldest_spared)
        return min((edge for edge in edges if edge is not None), default=None)

    def _oldest(self, runs: LayerRunQuerySet) -> datetime | None:
        return runs.order_by("started_at", "id").values_list("started_at", flat=True).first()
