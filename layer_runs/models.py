"""What is kept: a run, its LLM calls, and what follows from both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import models, router, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .audit import AuditEvent
from .calls import LlmCall
from .constraints import MAX_COUNT, MAX_TOKENS, fits, in_range, times, whole
from .derived import ErrorLine, RunUsage
from .errors import RunError, read_errors
from .expressions import ErrorCount, FirstErrorText, IsRunId, MillisecondsBetween
from .fields import MAX_USD, CleanJSONField, CleanTextField, RedactedJSONField, UsdField, new_ulid
from .lines import visible
from .notes import redacted_in, with_note
from .querysets import LayerRunQuerySet
from .removals import PruneMark, RemovedRun

__all__ = [
    "RESERVED_IDS",
    "AuditEvent",
    "ErrorLine",
    "ImportLock",
    "LayerRun",
    "LlmCall",
    "PruneMark",
    "RemovedRun",
    "RunUsage",
    "Status",
]

# Words that are pages under the mount point and so can be no run's id.
RESERVED_IDS = ("api", "compare", "costs", "errors", "export", "layers", "live", "stats")
# The columns of whole numbers, as the bounds of the models take them.
COUNTS = ("targets_matched", "targets_processed", "targets_skipped", "insights_created")
TOKENS = ("tokens_input", "tokens_output", "tokens_total", "unpriced_tokens", "reported_tokens_total")


class Status(models.TextChoices):
    """How a run ended. A source may store other words: they are kept and counted as `other`."""

    SUCCESS = "success", _("Success")
    PARTIAL = "partial", _("Partial")
    FAILED = "failed", _("Failed")
    CRASHED = "crashed", _("Crashed")
    DRY = "dry", _("Dry")
    RUNNING = "running", _("Running")

    @classmethod
    def of(cls, *, processed: int, failed: int, insights: int, dry_run: bool = False) -> Status:
        """Return the status of a finished run, by the rule Zos itself uses.

        Every target raised: failed. Some: partial. None, but nothing was made or a dry run was
        asked for: dry. Otherwise: success. Trouble is never hidden by a dry run.
        """
        if failed:
            return cls.PARTIAL if processed else cls.FAILED
        return cls.DRY if dry_run or not insights else cls.SUCCESS


class LayerRun(models.Model):
    """One execution of a layer: evidence, written by pipelines, read by people, never edited by hand."""

    id = CleanTextField(primary_key=True, max_length=64, default=new_ulid, editable=False)
    source = CleanTextField(
        max_length=30, blank=True, default="", db_default="", help_text=_("The instance it came from.")
    )
    layer_name = CleanTextField(_("layer"), max_length=200)
    layer_hash = CleanTextField(
        max_length=64, blank=True, default="", db_default="", help_text=_("Version of the layer's config.")
    )
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    completed_at = models.DateTimeField(_("finished"), null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True, help_text=_("Last sign of life of a running run."))
    duration_ms = models.GeneratedField(
        expression=MillisecondsBetween("started_at", "completed_at"),
        output_field=models.BigIntegerField(null=True),
        db_persist=True,
        verbose_name=_("duration in ms"),
    )
    status = CleanTextField(max_length=32, default=Status.RUNNING, db_default=Status.RUNNING)
    targets_matched = models.PositiveIntegerField(default=0, db_default=0)
    targets_processed = models.PositiveIntegerField(default=0, db_default=0)
    targets_skipped = models.PositiveIntegerField(_("targets failed"), default=0, db_default=0)
    insights_created = models.PositiveIntegerField(_("insights"), default=0, db_default=0)
    model_profile = CleanTextField(max_length=100, blank=True, default="", db_default="")
    model_provider = CleanTextField(max_length=100, blank=True, default="", db_default="")
    model_name = CleanTextField(_("model"), max_length=200, blank=True, default="", db_default="")
    tokens_input = models.BigIntegerField(null=True, blank=True)
    tokens_output = models.BigIntegerField(null=True, blank=True)
    tokens_total = models.BigIntegerField(_("tokens"), null=True, blank=True)
    estimated_cost_usd = UsdField(_("estimated cost"), null=True, blank=True)
    unpriced_tokens = models.BigIntegerField(
        default=0, db_default=0, help_text=_("Tokens of calls that have no price.")
    )
    reported_cost_usd = UsdField(null=True, blank=True, help_text=_("What the source said, where its calls differ."))
    reported_tokens_total = models.BigIntegerField(null=True, blank=True)
    errors = RedactedJSONField(default=list, db_default=[], blank=True)
    error_count = models.GeneratedField(
        expression=ErrorCount("errors"), output_field=models.IntegerField(), db_persist=True
    )
    error_preview = models.GeneratedField(
        expression=FirstErrorText("errors", key="error"), output_field=CleanTextField(max_length=200), db_persist=True
    )
    error_node = models.GeneratedField(
        expression=FirstErrorText("errors", key="node"), output_field=CleanTextField(max_length=200), db_persist=True
    )
    # Last, so that every other field has left its note by the time this one is written.
    notes = CleanJSONField(default=dict, db_default={}, blank=True, help_text=_("What could not be kept as it came."))

    objects = LayerRunQuerySet.as_manager()

    # The fields that something else is derived from.
    DERIVED_FROM = frozenset({"errors", "started_at", "layer_name"})
    _filled_in_total: int | None = None

    class Meta:
        permissions = [
            ("view_run_details", "Can view error texts, topics and LLM calls"),
            ("prune_runs", "Can delete all runs of a selection at once"),
        ]
        indexes = [
            models.Index(F("started_at").desc(), F("id").desc(), name="layerrun_started"),
            # Wide, so that the figures of layers and the totals of a period are read from the index alone.
            models.Index(
                *("layer_name", F("started_at").desc(), F("id").desc(), "status", "duration_ms", "insights_created"),
                *("targets_processed", "targets_skipped", "tokens_total", "tokens_input", "tokens_output"),
                *("estimated_cost_usd", "unpriced_tokens"),
                name="layerrun_layer",
            ),
            models.Index(
                *("status", F("started_at").desc(), F("id").desc()),
                *("insights_created", "tokens_total", "estimated_cost_usd", "unpriced_tokens"),
                name="layerrun_status",
            ),
            models.Index("layer_name", "status", F("started_at").desc(), F("id").desc(), name="layerrun_layer_status"),
            models.Index("model_name", F("started_at").desc(), F("id").desc(), name="layerrun_model"),
            models.Index("layer_name", "layer_hash", F("started_at").desc(), F("id").desc(), name="layerrun_version"),
            models.Index("source", F("started_at").desc(), F("id").desc(), name="layerrun_source"),
            models.Index(
                F("started_at").desc(), F("id").desc(), name="layerrun_running", condition=Q(status=Status.RUNNING)
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=IsRunId("id"), name="layerrun_id_fits_a_url"),
            models.CheckConstraint(condition=~Q(id__in=RESERVED_IDS), name="layerrun_id_is_no_page"),
            in_range("layerrun_counts_in_range", 0, MAX_COUNT + 1, *COUNTS),
            in_range("layerrun_tokens_in_range", 0, MAX_TOKENS + 1, *TOKENS),
            in_range("layerrun_cost_in_range", 0, MAX_USD, "estimated_cost_usd", "reported_cost_usd"),
            *times("layerrun", "started_at", "completed_at", "heartbeat_at"),
            whole("layerrun", *COUNTS, *TOKENS, "estimated_cost_usd", "reported_cost_usd"),
            *fits(
                "layerrun",
                **{"id": 64, "source": 30, "layer_name": 200, "layer_hash": 64, "status": 32},
                **{"model_profile": 100, "model_provider": 100, "model_name": 200},
            ),
        ]

    def __str__(self) -> str:
        return visible(f"{self.layer_name} {self.id}")

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the run and, where a field it follows from may have changed, what is derived from it."""
        self.complete()
        written = kwargs.get("update_fields")
        if written is not None and {"tokens_input", "tokens_output"} & set(written):
            written = kwargs["update_fields"] = {*written, "tokens_total"}
        using = kwargs.setdefault("using", router.db_for_write(type(self), instance=self))
        notes = self.__dict__.get("notes")
        notes_are_written = notes is not None if written is None else "notes" in written
        is_first = self._state.adding and not kwargs.get("force_update")
        with transaction.atomic(using=using):
            super().save(*args, **kwargs)
            if not notes_are_written and self.__dict__.get("notes") is not notes:
                super().save(using=using, update_fields=["notes"])
            if written is None or self.DERIVED_FROM & set(written):
                self.derive([self], using=using, is_first=is_first)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the run with all that belongs to it. No import brings it back."""
        using = kwargs.setdefault("using", router.db_for_write(type(self), instance=self))
        with transaction.atomic(using=using):
            RemovedRun.objects.using(using).remember([self])
            return super().delete(*args, **kwargs)

    @staticmethod
    def remember_removed(runs: LayerRunQuerySet) -> None:
        """Keep the ids of these runs, so that no import brings them back."""
        RemovedRun.objects.using(runs.db).remember(runs.order_by().only("source", "started_at").iterator(2000))

    @staticmethod
    def derive(runs: Iterable[LayerRun], *, using: str, is_first: bool = False) -> None:
        """Rewrite what follows from these runs as they are now; `is_first` says that they were not stored before."""
        runs = list(runs)
        if erring := [run for run in runs if run.errors != []] if is_first else runs:
            ErrorLine.objects.using(using).rewrite(erring)
        # Also at first: until a transaction ends, calls may have been written before their run.
        RunUsage.objects.using(using).rewrite([run.pk for run in runs], is_first=is_first)

    def complete(self) -> None:
        """Fill in what follows from the rest: a total of tokens that nobody gave, from its two parts."""
        parts = [part for part in (self.tokens_input, self.tokens_output) if part is not None]
        if not parts or not all(isinstance(part, int) for part in parts):
            return  # An expression is for the database to work out.
        if self.tokens_total in (None, self._filled_in_total):
            self.tokens_total = self._filled_in_total = sum(parts)

    def note_altered(self, field: str, how: str) -> None:
        """Remember that a field could not be kept as it came."""
        self.notes = with_note(self.notes, "altered", field, how)

    def note_redacted(self, field: str, number: int, earlier: int) -> None:
        """Remember how many secrets were replaced in a field: just now, and `earlier` at most of those still there."""
        known = redacted_in(self.notes, field) if number or earlier or "notes" in self.__dict__ else 0
        if (total := number + min(earlier, known)) != known:
            self.notes = with_note(self.notes, "redacted", field, total)

    def read_errors(self, start: int = 0, stop: int | None = None) -> Iterator[RunError]:
        """Yield the errors as they can be read, whatever shape the JSON has."""
        return read_errors(self.errors, start, stop)

    @property
    def last_sign_of_life(self) -> datetime:
        return self.heartbeat_at or self.started_at

    def silence(self, now: datetime) -> timedelta:
        """Return how long a running run has given no sign of life."""
        return max(now - self.last_sign_of_life, timedelta(0))


class ImportLock(models.Model):
    """Who is importing a source right now, so that two importers never interleave."""

    source = CleanTextField(primary_key=True, max_length=30)
    host = CleanTextField(max_length=200)
    pid = models.PositiveIntegerField()
    taken_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now, help_text=_("When the importer last showed it is alive."))

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.source or 'default'}: {self.host} {self.pid}"
