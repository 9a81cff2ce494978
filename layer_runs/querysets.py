"""The selection: every query of the app, under a name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from typing import Any, Self

from django.db import connections, models, transaction
from django.db.models import Count, Q, Sum, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact

from .errors import read_errors
from .windows import EVER, Window

# What no list needs and what can be large: read only where one run is shown.
EVIDENCE = ("errors", "notes")
BATCH = 500
# Beyond so many values, a menu is no menu.
VALUES_AT_MOST = 500


def batched(runs: list[models.Model]) -> Iterator[list[models.Model]]:
    return (runs[start : start + BATCH] for start in range(0, len(runs), BATCH))


class LayerRunQuerySet(models.QuerySet["LayerRun"]):
    """Runs. Reads end in an index; writes keep what is derived from a run in step with it."""

    def newest_first(self) -> Self:
        return self.order_by("-started_at", "-id")

    def for_list(self) -> Self:
        """Leave the evidence in the database: one run's errors can outweigh a page of runs."""
        return self.defer(*EVIDENCE)

    def within(self, window: Window) -> Self:
        if window.since is not None:
            self = self.filter(started_at__gte=window.since)
        if window.until is not None:
            self = self.filter(started_at__lt=window.until)
        return self

    def search(self, text: str, *, in_errors: bool = True, window: Window = EVER) -> Self:
        """Find literal text in a run's id and, where the reader may see them, in its errors, topics and nodes.

        `window` repeats the bounds of the selection, so that only its error lines are read.
        """
        found = Q(id__contains_ascii=text)
        if in_errors:
            found |= Q(pk__in=self._error_lines().mentioning(text, window))
        return self.filter(found)

    def same_layer_as(self, run: models.Model) -> Self:
        # The source inside an expression: a planner without statistics would else take its index for as
        # good as the layer's, and walk past the runs of every other layer.
        return self.filter(Exact(Coalesce("source", Value("")), run.source), layer_name=run.layer_name)

    def before(self, run: models.Model) -> Self:
        """Runs of the same layer and source that started earlier, the nearest first."""
        earlier = Q(started_at__lt=run.started_at) | Q(started_at=run.started_at, id__lt=run.id)
        return self.same_layer_as(run).filter(earlier, started_at__lte=run.started_at).newest_first()

    def after(self, run: models.Model) -> Self:
        """Runs of the same layer and source that started later, the nearest first."""
        later = Q(started_at__gt=run.started_at) | Q(started_at=run.started_at, id__gt=run.id)
        return self.same_layer_as(run).filter(later, started_at__gte=run.started_at).order_by("started_at", "id")

    def totals(self, statuses: Iterable[str]) -> dict[str, Any]:
        """Return the sums of these runs as of one moment: `total`, a count a status, `other`, and what they made.

        `cost` is a Decimal of US dollars; every figure is 0 when there is nothing to add.
        """
        named = list(statuses)
        runs = self.order_by()
        stored = self.values_of("status")
        if len(stored) < VALUES_AT_MOST:
            # Says nothing but which index to use: one that begins with the status holds all that is added up.
            runs = runs.filter(status__in=stored)
        groups = runs.values("status").annotate(
            total=Count("*"),
            insights=Sum("insights_created"),
            tokens=Sum("tokens_total"),
            cost=Sum("estimated_cost_usd"),
            unpriced=Sum("unpriced_tokens"),
        )
        sums = dict.fromkeys(("total", "insights", "tokens", "unpriced", *named, "other"), 0) | {"cost": Decimal(0)}
        for group in groups:
            status = group.pop("status")
            sums[status if status in named else "other"] += group["total"]
            for name, value in group.items():
                sums[name] += value or 0
        # PostgreSQL adds bigints up to a numeric.
        return {name: value if name == "cost" else int(value) for name, value in sums.items()}

    def values_of(self, field: str, limit: int = VALUES_AT_MOST) -> list[str]:
        """Return the distinct values of an indexed text column, sorted, by hopping over its index.

        DISTINCT would read every row; this reads one entry a value. At most `limit` of them.
        """
        quote = connections[self.db].ops.quote_name
        table, column = quote(self.model._meta.db_table), quote(self.model._meta.get_field(field).column)
        # Names from the model's own fields, quoted: nothing here comes from a request.
        sql = (
            f"WITH RECURSIVE hop(value) AS (SELECT min({column}) FROM {table} UNION ALL"
            f" SELECT (SELECT min({column}) FROM {table} WHERE {column} > hop.value) FROM hop"
            f" WHERE hop.value IS NOT NULL) SELECT value FROM hop WHERE value IS NOT NULL LIMIT {int(limit)}"
        )
        with connections[self.db].cursor() as cursor:
            cursor.execute(sql)
            # By its text: a database made before the columns were checked may hold what is none.
            return sorted((value for (value,) in cursor.fetchall()), key=str)

    def bulk_create(self, objs: Iterable[models.Model], *args: Any, **kwargs: Any) -> list[models.Model]:
        """Create the runs and the index of their errors, together."""
        runs = list(objs)
        for run in runs:
            run.complete()
        with transaction.atomic(using=self.db):
            created = super().bulk_create(runs, *args, **kwargs)
            if kwargs.get("ignore_conflicts") or kwargs.get("update_conflicts"):
                # What is stored now need not be what was given.
                stored = self.model._base_manager.using(self.db).only("errors", "started_at")
                runs = [run for part in batched(runs) for run in stored.filter(pk__in=[run.pk for run in part])]
            self._error_lines().rewrite(runs)
        return created

    def update(self, **values: Any) -> int:
        """Update the runs and, where their errors or starts are among the values, the index of their errors."""
        if self.query.is_sliced or not {"errors", "started_at"} & set(values):
            return super().update(**values)
        self._for_write = True
        with transaction.atomic(using=self.db):
            # Before, since what is updated may no longer be what was selected.
            ids = list(self.order_by().values_list("pk", flat=True).distinct())
            updated = super().update(**values)
            stored = self.model._base_manager.using(self.db).only("errors", "started_at")
            for start in range(0, len(ids), BATCH):
                self._error_lines().rewrite(stored.filter(pk__in=ids[start : start + BATCH]))
        return updated

    update.alters_data = True

    def _error_lines(self) -> ErrorLineQuerySet:
        return self.model.error_lines.rel.related_model.objects.using(self.db)


class ErrorLineQuerySet(models.QuerySet["ErrorLine"]):
    """The index over the errors of runs, derived from their JSON and never edited by itself."""

    def mentioning(self, text: str, window: Window) -> models.QuerySet[Any, Any]:
        """Return the ids of runs with this text in an error, a topic or a node."""
        lines = self.filter(
            Q(message__contains_ascii=text) | Q(topic__contains_ascii=text) | Q(node__contains_ascii=text)
        )
        if window.since is not None:
            lines = lines.filter(started_at__gte=window.since)
        if window.until is not None:
            lines = lines.filter(started_at__lt=window.until)
        return lines.values("run_id")

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
