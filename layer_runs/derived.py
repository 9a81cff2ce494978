"""What follows from a run and its calls, kept in step by every way of writing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any, Self

from django.db import connections, models, transaction
from django.db.models import F, Q

from .constraints import fits, in_range, times, whole
from .errors import read_errors
from .fields import CleanTextField, UsdField
from .querysets import BATCH, batched
from .windowed import WindowedQuerySet

# Where the sum of a run's costs stops, in US dollars: no run may stop an import, or overflow the sum of a page.
MOST_USD = 10**9
SUMS = ("calls", "tokens_input", "tokens_output", "tokens_total", "estimated_cost_usd", "unpriced_tokens", "wasted_usd")
USAGE_COLUMNS = ("run_id", "started_at", "layer_name", "model_profile", "model_name", "call_type", *SUMS)
_NANO = 10**9


class ErrorLineQuerySet(WindowedQuerySet):
    """The index over the errors of runs, derived from their JSON and never edited by itself."""

    def mentioning(self, text: str) -> Self:
        """Keep the lines with this text in the error, the topic or the node."""
        return self.filter(
            Q(message__contains_ascii=text) | Q(topic__contains_ascii=text) | Q(node__contains_ascii=text)
        )

    def rewrite(self, runs: Collection[models.Model]) -> None:
        """Replace the lines of these runs by what their errors say now."""
        runs = list(runs)
        with transaction.atomic(using=self.db):
            for part in batched(runs):
                self.filter(run__in=[run.pk for run in part]).delete()
            lines = (self._line(run, error) for run in runs for error in read_errors(run.errors))
            self.bulk_create(lines, batch_size=BATCH)

    def _line(self, run: models.Model, error: Any) -> models.Model:
        return self.model(
            run_id=run.pk,
            position=error.position,
            topic=error.topic,
            node=error.node,
            message=error.message,
            fingerprint=error.fingerprint,
            started_at=run.started_at,
        )


class ErrorLine(models.Model):
    """One error of a run, searchable. Derived from the JSON, which stays the evidence."""

    run = models.ForeignKey("LayerRun", on_delete=models.CASCADE, related_name="error_lines", db_index=False)
    position = models.PositiveIntegerField()
    topic = CleanTextField(max_length=300, blank=True)
    node = CleanTextField(max_length=200, blank=True)
    message = CleanTextField(max_length=2000, blank=True)
    fingerprint = CleanTextField(max_length=32)
    started_at = models.DateTimeField()

    objects = ErrorLineQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(F("started_at").desc(), F("run").desc(), name="errorline_started"),
            models.Index("fingerprint", F("started_at").desc(), "run", name="errorline_fingerprint"),
            models.Index("topic", F("started_at").desc(), "run", name="errorline_topic"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["run", "position"], name="errorline_position"),
            whole("errorline", "position"),
            *fits("errorline", topic=300, node=200, message=2000, fingerprint=32),
        ]

    def __str__(self) -> str:
        return f"{self.node}: {self.message}"


def insert_usage(of_runs: str) -> str:
    """Return SQL that writes the usage of the runs whose ids stand in `of_runs`, twice."""
    return f"INSERT INTO layer_runs_runusage ({', '.join(USAGE_COLUMNS)}) {add_up_calls(of_runs)}"


def add_up_calls(of_runs: str) -> str:
    """Return SQL for what those runs used: a row of `USAGE_COLUMNS` a run, model and purpose.

    A call is wasted where an error of its run names its topic.
    """
    # Of constants and placeholders. A join, since EXISTS would read all errors of a run once a call; and GROUP BY,
    # since SQLite makes no index for the DISTINCT topics of a single run.
    return f"""
        SELECT run.id AS run_id, run.started_at, run.layer_name, call.model_profile, call.model_name, call.call_type,
            count(*) AS calls,
            sum(call.tokens_input) AS tokens_input,
            sum(call.tokens_output) AS tokens_output,
            sum(call.tokens_total) AS tokens_total,
            {_sum_of_usd("call.estimated_cost_usd")} AS estimated_cost_usd,
            sum(CASE WHEN call.estimated_cost_usd IS NULL THEN call.tokens_total ELSE 0 END) AS unpriced_tokens,
            {_sum_of_usd("CASE WHEN failed.topic IS NOT NULL THEN call.estimated_cost_usd END")} AS wasted_usd
        FROM layer_runs_layerrun AS run
        JOIN layer_runs_llmcall AS call ON call.run_id = run.id
        LEFT JOIN (
            SELECT run_id, topic FROM layer_runs_errorline WHERE topic <> '' AND run_id IN ({of_runs})
            GROUP BY run_id, topic
        ) AS failed ON failed.run_id = call.run_id AND failed.topic = call.topic
        WHERE run.id IN ({of_runs})
        GROUP BY run.id, call.model_profile, call.model_name, call.call_type
    """  # noqa: S608 (names and placeholders)


def _sum_of_usd(amount: str) -> str:
    # Dollars and the rest apart: SQLite's sum() of so many nano-dollars would fail where it overflows.
    dollars = f"coalesce(sum(({amount}) / {_NANO}), 0)"
    rest = f"coalesce(sum(({amount}) - ({amount}) / {_NANO} * {_NANO}), 0)"
    return f"CASE WHEN {dollars} < {MOST_USD} THEN {dollars} * {_NANO} + {rest} ELSE {MOST_USD * _NANO} END"


class RunUsageQuerySet(WindowedQuerySet):
    """What runs used, derived from their LLM calls and never edited by itself."""

    def rewrite(self, run_ids: Iterable[str], *, is_first: bool = False) -> None:
        """Replace what these runs used by the sums of their calls now; `is_first` says that nothing is there yet."""
        self._for_write = True
        with transaction.atomic(using=self.db, savepoint=False), connections[self.db].cursor() as cursor:
            # In one order, so that two writers of the same runs wait for each other and not for ever.
            for ids in batched(sorted(set(run_ids))):
                if not is_first:
                    self._lock(ids)
                    self.filter(run__in=ids).delete()
                cursor.execute(insert_usage(_places(ids)), [*ids, *ids])

    def out_of_step(self, run_ids: Collection[str]) -> list[str]:
        """Return the ids of those of these runs whose usage is not the sum of their calls."""
        ids = list(run_ids)
        expected = add_up_calls(_places(ids))
        # Names of our own columns, and placeholders.
        stored = f"SELECT {', '.join(USAGE_COLUMNS)} FROM layer_runs_runusage WHERE run_id IN ({_places(ids)})"  # noqa: S608
        missing, extra = f"{expected} EXCEPT {stored}", f"{stored} EXCEPT {expected}"
        sql = f"SELECT run_id FROM ({missing}) AS missing UNION SELECT run_id FROM ({extra}) AS extra"  # noqa: S608
        with connections[self.db].cursor() as cursor:
            cursor.execute(sql, ids * 6)
            return sorted(run_id for (run_id,) in cursor.fetchall())

    def _lock(self, ids: list[str]) -> None:
        # Who adds to the same run meanwhile would insert the same sums again.
        if connections[self.db].features.has_select_for_update:
            runs = self.model._meta.get_field("run").related_model._base_manager.using(self.db)
            list(runs.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk").values_list("pk"))


class RunUsage(models.Model):
    """What a run used of one model for one purpose: its calls, added up."""

    run = models.ForeignKey("LayerRun", on_delete=models.CASCADE, related_name="usage", db_index=False)
    started_at = models.DateTimeField()
    layer_name = CleanTextField(max_length=200)
    model_profile = CleanTextField(max_length=100, blank=True)
    model_name = CleanTextField(max_length=200, blank=True)
    call_type = CleanTextField(max_length=50, blank=True)
    calls = models.BigIntegerField()
    tokens_input = models.BigIntegerField()
    tokens_output = models.BigIntegerField()
    tokens_total = models.BigIntegerField()
    estimated_cost_usd = UsdField()
    unpriced_tokens = models.BigIntegerField()
    wasted_usd = UsdField()

    objects = RunUsageQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "run usage"
        # All there is, so that the costs of a period are read from the index alone.
        indexes = [
            models.Index(
                *(F("started_at").desc(), "layer_name", "model_name", "model_profile", "call_type", *SUMS, "run"),
                name="runusage_started",
            ),
            # Few calls are of targets that failed: their cost is found without reading all the others.
            models.Index(
                *(F("started_at").desc(), "layer_name", "wasted_usd", "run"),
                name="runusage_wasted",
                condition=Q(wasted_usd__gt=0),
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["run", "model_name", "model_profile", "call_type"], name="runusage_once"),
            # Sums of what is bounded itself: no bound but that of the column.
            in_range("runusage_sums_in_range", 0, 2**63 - 1, *(name for name in SUMS if not name.endswith("usd"))),
            in_range("runusage_costs_in_range", 0, Decimal(9 * MOST_USD), "estimated_cost_usd", "wasted_usd"),
            *times("runusage", "started_at"),
            whole("runusage", *SUMS),
            *fits("runusage", layer_name=200, model_profile=100, model_name=200, call_type=50),
        ]

    def __str__(self) -> str:
        return f"{self.call_type} {self.model_name} {self.run_id}"


def _places(ids: Collection[str]) -> str:
    return ", ".join(["%s"] * len(ids))
