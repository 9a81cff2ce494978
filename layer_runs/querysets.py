"""The selection: every query of the app, under a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from django.db import connections, models, transaction
from django.db.models import Count, Q, Sum, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact

from .expressions import SumOfUsd
from .windowed import WindowedQuerySet
from .windows import Window

# What no list needs and what can be large: read only where one run is shown.
EVIDENCE = ("errors", "notes")
BATCH = 500
# Beyond so many values, a menu is no menu.
VALUES_AT_MOST = 500


def batched(runs: list[models.Model]) -> Iterator[list[models.Model]]:
    return (runs[start : start + BATCH] for start in range(0, len(runs), BATCH))


class LayerRunQuerySet(WindowedQuerySet):
    """Runs. Reads end in an index; writes keep what is derived from a run in step with it."""

    def newest_first(self) -> Self:
        return self.order_by("-started_at", "-id")

    def for_list(self) -> Self:
        """Leave the evidence in the database: one run's errors can outweigh a page of runs."""
        return self.defer(*EVIDENCE)

    def search(self, text: str, *, in_errors: bool = True) -> Self:
        """Find literal text in a run's id and, where the reader may see them, in its errors, topics and nodes."""
        found = Q(id__contains_ascii=text)
        if not in_errors:
            return self.filter(found)
        lines = self._related("error_lines").mentioning(text)
        return self.narrowed(lambda window: found | Q(pk__in=lines.within(window).values("run")))

    def with_related(self, name: str, **values: list[str]) -> Self:
        """Keep the runs with an error line (`error_lines`) or LLM calls (`usage`) of any of these values."""
        return self._by_related(name, values, found=True)

    def without_related(self, name: str, **values: list[str]) -> Self:
        """Leave out exactly the runs that `with_related` keeps."""
        return self._by_related(name, values, found=False)

    def _by_related(self, name: str, values: dict[str, list[str]], *, found: bool) -> Self:
        rows = self._related(name).filter(**{f"{field}__in": wanted for field, wanted in values.items()})

        def condition(window: Window) -> Q:
            mine = Q(pk__in=rows.within(window).values("run"))
            return mine if found else ~mine

        return self.narrowed(condition)

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
        groups = self.per(
            "status",
            total=Count("*"),
            insights=Sum("insights_created"),
            tokens=Sum("tokens_total"),
            cost=SumOfUsd("estimated_cost_usd"),
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

    def led_by(self, *key: str) -> Self:
        # There is an index that begins with each of these, and one with layer and status. Whatever else narrows
        # the rows picks its own.
        narrowed_by_layer = self.narrowed_by == {"layer_name"} and key == ("status",)
        if not set(key) < {"layer_name", "status", "model_name", "source"} or not (
            key and (narrowed_by_layer or not self.is_narrowed)
        ):
            return self
        stored = self.values_of(*key)
        return self.filter(**{f"{key[0]}__in": stored}) if len(stored) < VALUES_AT_MOST else self

    def started_bounds(self) -> tuple[datetime | None, datetime | None]:
        """Return when the oldest and the newest of these runs started, from the two ends of an index."""
        starts = self.newest_first().values_list("started_at", flat=True)
        return starts.reverse().first(), starts.first()

    def usage(self) -> Any:
        """Return what these runs used: their LLM calls, added up a run, model and purpose."""
        return self._related("usage").of_runs(self)

    def lines(self) -> Any:
        """Return the errors of these runs, a line each."""
        return self._related("error_lines").of_runs(self)

    def _related(self, name: str) -> Any:
        return getattr(self.model, name).rel.related_model.objects.using(self.db)

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

    def first_uses(self, layer: str, sources: Sequence[str] = ()) -> dict[str, datetime]:
        """Return when each version of a layer first ran at any time, by its hash; `sources` leaves out all others.

        Hops over an index as `values_of` does: two entries a version, where a GROUP BY reads every run.
        """
        connection = connections[self.db]
        quote, field = connection.ops.quote_name, self.model._meta.get_field
        table = quote(self.model._meta.db_table)
        name, version, started, source = (
            quote(field(each).column) for each in ("layer_name", "layer_hash", "started_at", "source")
        )
        # Only names of the model's own fields; what comes from a request is a parameter.
        among = f" AND {source} IN ({', '.join(['%s'] * len(sources))})" if sources else ""
        sql = (
            f"WITH RECURSIVE hop(value) AS (SELECT min({version}) FROM {table} WHERE {name} = %s UNION ALL"
            f" SELECT (SELECT min({version}) FROM {table} WHERE {name} = %s AND {version} > hop.value) FROM hop"
            f" WHERE hop.value IS NOT NULL) SELECT value, (SELECT min({started}) FROM {table} WHERE {name} = %s"
            f" AND {version} = hop.value{among}) FROM hop WHERE value IS NOT NULL"
        )
        moment = field("started_at").get_col(self.model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(sql, [layer, layer, layer, *sources])
            found = {value: first for value, first in cursor.fetchall() if first is not None}
        for convert in connection.ops.get_db_converters(moment):
            found = {value: convert(first, moment, connection) for value, first in found.items()}
        return found

    def bulk_create(self, objs: Iterable[models.Model], *args: Any, **kwargs: Any) -> list[models.Model]:
        """Create the runs and what is derived from them, together."""
        runs = list(objs)
        for run in runs:
            run.complete()
        with transaction.atomic(using=self.db):
            created = super().bulk_create(runs, *args, **kwargs)
            if kwargs.get("ignore_conflicts") or kwargs.get("update_conflicts"):
                # What is stored now need not be what was given.
                stored = self.model._base_manager.using(self.db).only("errors", "started_at")
                runs = [run for part in batched(runs) for run in stored.filter(pk__in=[run.pk for run in part])]
            self.model.derive(runs, using=self.db)
        return created

    def update(self, **values: Any) -> int:
        """Update the runs and, where it follows from one of the values, what is derived from them."""
        if self.query.is_sliced or not self.model.DERIVED_FROM & set(values):
            return super().update(**values)
        self._for_write = True
        with transaction.atomic(using=self.db):
            # Before, since what is updated may no longer be what was selected.
            ids = list(self.order_by().values_list("pk", flat=True).distinct())
            updated = super().update(**values)
            stored = self.model._base_manager.using(self.db).only("errors", "started_at")
            for start in range(0, len(ids), BATCH):
                self.model.derive(stored.filter(pk__in=ids[start : start + BATCH]), using=self.db)
        return updated

    update.alters_data = True

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the runs with all that belongs to them. No import brings them back."""
        return self.remove()

    delete.alters_data = True
    delete.queryset_only = True

    def remove(self, *, remembered: bool = True) -> tuple[int, dict[str, int]]:
        """Delete the runs; `remembered=False` where an import may bring them back, or a mark keeps them away."""
        self._for_write = True
        with transaction.atomic(using=self.db):
            if remembered:
                self.model.remember_removed(self)
            return super().delete()

    remove.alters_data = True
    remove.queryset_only = True

    def _error_lines(self) -> Any:
        return self.model.error_lines.rel.related_model.objects.using(self.db)
