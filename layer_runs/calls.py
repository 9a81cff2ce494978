"""The LLM calls of runs. Every way of writing them adds up anew what their runs used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .constraints import MAX_TOKENS, fits, in_range, times, whole
from .derived import RunUsage
from .fields import MAX_USD, CleanTextField, RedactedTextField, UsdField, new_ulid
from .querysets import batched

FIGURES = ("tokens_input", "tokens_output", "tokens_total", "latency_ms")
# What the usage of a run follows from.
ADDED_UP = {
    *("run", "run_id", "topic", "call_type", "model_profile", "model_name"),
    *("tokens_input", "tokens_output", "tokens_total", "estimated_cost_usd"),
}


class LlmCallQuerySet(models.QuerySet["LlmCall"]):
    """LLM calls. Writes keep the usage of their runs in step, also of the runs that calls are taken from."""

    def bulk_create(self, objs: Iterable[models.Model], *args: Any, **kwargs: Any) -> list[models.Model]:
        """Create the calls and add up anew what their runs used, together."""
        calls = list(objs)
        self._for_write = True
        with transaction.atomic(using=self.db):
            run_ids = {call.run_id for call in calls}
            if kwargs.get("ignore_conflicts") or kwargs.get("update_conflicts"):
                # One that is stored already may be another run's.
                run_ids |= self._runs_of([call.pk for call in calls])
            created = super().bulk_create(calls, *args, **kwargs)
            RunUsage.objects.using(self.db).rewrite(run_ids)
        return created

    def update(self, **values: Any) -> int:
        """Update the calls and, where a sum follows from one of the values, what their runs used."""
        if self.query.is_sliced or not ADDED_UP & set(values):
            return super().update(**values)
        self._for_write = True
        with transaction.atomic(using=self.db):
            # Before, since what is updated may no longer be what was selected.
            run_ids = self._runs()
            moved = list(self.order_by().values_list("pk", flat=True)) if {"run", "run_id"} & set(values) else []
            updated = super().update(**values)
            RunUsage.objects.using(self.db).rewrite(run_ids | self._runs_of(moved))
        return updated

    update.alters_data = True

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the calls and add up anew what their runs used."""
        if self.query.is_sliced:
            return super().delete()
        self._for_write = True
        with transaction.atomic(using=self.db):
            run_ids = self._runs()
            deleted = super().delete()
            RunUsage.objects.using(self.db).rewrite(run_ids)
        return deleted

    delete.alters_data = True
    delete.queryset_only = True

    def _runs(self) -> set[str]:
        return set(self.order_by().values_list("run_id", flat=True).distinct())

    def _runs_of(self, pks: list[str]) -> set[str]:
        stored = self.model._base_manager.using(self.db).values_list("run_id", flat=True).distinct()
        return {run_id for part in batched(pks) for run_id in stored.filter(pk__in=part)}


class LlmCall(models.Model):
    """One call to a model: why a run cost what it cost. Prompts and responses are not kept."""

    id = CleanTextField(primary_key=True, max_length=64, default=new_ulid, editable=False)
    run = models.ForeignKey("LayerRun", on_delete=models.CASCADE, related_name="calls", db_index=False)
    topic = CleanTextField(max_length=300, blank=True, default="", db_default="")
    call_type = CleanTextField(max_length=50, blank=True, default="", db_default="")
    model_profile = CleanTextField(max_length=100, blank=True, default="", db_default="")
    model_provider = CleanTextField(max_length=100, blank=True, default="", db_default="")
    model_name = CleanTextField(max_length=200, blank=True, default="", db_default="")
    tokens_input = models.BigIntegerField(default=0, db_default=0)
    tokens_output = models.BigIntegerField(default=0, db_default=0)
    tokens_total = models.BigIntegerField(default=0, db_default=0)
    estimated_cost_usd = UsdField(null=True, blank=True, help_text=_("Empty when the model has no price."))
    latency_ms = models.BigIntegerField(null=True, blank=True)
    success = models.BooleanField(default=True, db_default=True)
    error_message = RedactedTextField(max_length=2000, blank=True, default="", db_default="")
    created_at = models.DateTimeField(default=timezone.now)

    objects = LlmCallQuerySet.as_manager()

    class Meta:
        # What `run.calls.add()` writes through.
        base_manager_name = "objects"
        # The calls of a run, and of one of its targets in order of time.
        indexes = [models.Index("run", "topic", "created_at", "id", "estimated_cost_usd", name="llmcall_run_topic")]
        constraints = [
            in_range("llmcall_figures_in_range", 0, MAX_TOKENS + 1, *FIGURES),
            in_range("llmcall_cost_in_range", 0, MAX_USD, "estimated_cost_usd"),
            *times("llmcall", "created_at"),
            whole("llmcall", *FIGURES, "estimated_cost_usd", "success"),
            *fits(
                "llmcall",
                **{"id": 64, "topic": 300, "call_type": 50, "error_message": 2000},
                **{"model_profile": 100, "model_provider": 100, "model_name": 200},
            ),
        ]

    def __str__(self) -> str:
        return f"{self.call_type} {self.id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the call and, where a sum may have changed, what its run used, and the run it was taken from."""
        written = kwargs.get("update_fields")
        if written is not None and not ADDED_UP & set(written):
            return super().save(*args, **kwargs)
        using = kwargs.setdefault("using", router.db_for_write(type(self), instance=self))
        with transaction.atomic(using=using):
            run_ids = self._stored_runs(using)
            super().save(*args, **kwargs)
            RunUsage.objects.using(using).rewrite(run_ids | {self.run_id})

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the call and add up anew what its run used."""
        using = kwargs.setdefault("using", router.db_for_write(type(self), instance=self))
        with transaction.atomic(using=using):
            run_ids = self._stored_runs(using)
            deleted = super().delete(*args, **kwargs)
            RunUsage.objects.using(using).rewrite(run_ids)
        return deleted

    def _stored_runs(self, using: str) -> set[str]:
        return set(type(self)._base_manager.using(using).filter(pk=self.pk).values_list("run_id", flat=True))
