"""What was taken away here on purpose, so that the next import does not bring it back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .fields import CleanTextField
from .querysets import BATCH


class RemovedRunQuerySet(models.QuerySet["RemovedRun"]):
    def remember(self, runs: Iterable[models.Model]) -> None:
        """Keep the ids of runs that are about to be deleted."""
        removed = (RemovedRun(id=run.pk, source=run.source, started_at=run.started_at) for run in runs)
        self.bulk_create(removed, batch_size=BATCH, ignore_conflicts=True)

    def drop_covered(self) -> int:
        """Forget the ids that a mark keeps away as well, and return how many those were."""
        dropped = 0
        for mark in PruneMark.objects.using(self.db):
            # How it ended is not kept here: only what is too old even for a failure is covered for sure.
            covered = self.filter(source=mark.source, started_at__lt=mark.failures_before).order_by("started_at")
            while ids := list(covered.values_list("pk", flat=True)[:BATCH]):
                dropped += self.filter(pk__in=ids).delete()[0]
        return dropped


class RemovedRun(models.Model):
    """The id of a run that was deleted here and may still be at its source."""

    id = CleanTextField(primary_key=True, max_length=64)
    source = CleanTextField(max_length=30, blank=True)
    started_at = models.DateTimeField()
    removed_at = models.DateTimeField(default=timezone.now)

    objects = RemovedRunQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [models.Index("source", "started_at", name="removedrun_source")]

    def __str__(self) -> str:
        return self.id


class PruneMarkQuerySet(models.QuerySet["PruneMark"]):
    def move(self, source: str, *, before: datetime, failures_before: datetime) -> None:
        """Move the mark of a source forwards. It never goes back: what was pruned stays pruned."""
        edges = {"before": before, "failures_before": failures_before}
        _mark, is_new = self.get_or_create(source=source, defaults=edges)
        if not is_new:
            for name, edge in edges.items():
                self.filter(source=source, **{f"{name}__lt": edge}).update(**{name: edge})


class PruneMark(models.Model):
    """How far back the runs of a source were pruned: what is older and not stored is not imported any more."""

    source = CleanTextField(primary_key=True, max_length=30)
    before = models.DateTimeField(help_text=_("Runs that started earlier were pruned, except failures."))
    failures_before = models.DateTimeField(help_text=_("Failures that started earlier were pruned, too."))

    objects = PruneMarkQuerySet.as_manager()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.source or 'default'}: {self.before:%Y-%m-%d %H:%M}"

    def covers(self, run: Any, *, failure: bool) -> bool:
        """Tell whether a run of this source is one that was pruned, or would have been."""
        return run["started_at"] < (self.failures_before if failure else self.before)
