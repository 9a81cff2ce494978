"""`manage.py rebuild_derived`: bring what is derived from runs and their calls back in step with them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from ...errors import read_errors
from ...formatting import count, plural
from ...models import ErrorLine, LayerRun, LlmCall, RunUsage

BATCH = 500
# What an error line says, in the order of the tuples compared here.
LINE = ("position", "topic", "node", "message", "fingerprint", "started_at")
_FIELDS = [ErrorLine._meta.get_field(name) for name in LINE]


class Command(BaseCommand):
    help = (
        "Find the runs whose error lines do not match their errors, or whose usage is not the sum of their LLM calls"
        " (written by raw SQL, or derived by an older rule) and rewrite lines and usage. The errors and the calls are"
        " evidence and stay as they are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="Change nothing; exit with 1 if anything is wrong.")

    def handle(self, *, check: bool, **options: Any) -> None:
        # The lines first: what was wasted follows from them.
        runs, lines = look_at(batches(runs_with_errors()), stale_lines, None if check else repair_lines)
        users, usage = look_at(batches(runs_with_calls()), stale_usage, None if check else repair_usage)
        were = ("are wrong", "is wrong") if check else ("were wrong and are repaired", "was wrong and is repaired")
        of_lines = f"the error lines of {count(lines)} {were[0]}" if lines else "all error lines are right"
        of_usage = f"the usage of {count(usage)} {were[1]}" if usage else "all usage is right"
        said = [
            f"{plural(runs, 'run')} with errors checked: {of_lines}.",
            f"{plural(users, 'run')} with LLM calls checked: {of_usage}.",
        ]
        if check and (lines or usage):
            raise CommandError(" ".join([*said, "Run rebuild_derived to repair them."]), returncode=1)
        self.stdout.write("\n".join(said))


def look_at(
    batches: Iterable[list[LayerRun]],
    find_stale: Callable[[list[LayerRun]], list[str]],
    repair: Callable[[list[str]], None] | None,
) -> tuple[int, int]:
    """Return how many runs there are and how many of them are out of step, and repair those."""
    checked = wrong = 0
    for runs in batches:
        stale = find_stale(runs)
        checked += len(runs)
        wrong += len(stale)
        if stale and repair:
            repair(stale)
    return checked, wrong


def batches(runs: QuerySet[LayerRun]) -> Iterator[list[LayerRun]]:
    """Yield these runs in the order of their ids."""
    after = ""
    while batch := list(runs.order_by("pk").filter(pk__gt=after)[:BATCH]):
        yield batch
        after = batch[-1].pk


def runs_with_errors() -> QuerySet[LayerRun]:
    """Return the runs that have errors or lines, without what is not needed of them."""
    has_lines = Exists(ErrorLine.objects.filter(run=OuterRef("pk")))
    return LayerRun.objects.filter(Q(error_count__gt=0) | has_lines).only("errors", "started_at")


def runs_with_calls() -> QuerySet[LayerRun]:
    """Return the runs that have LLM calls or usage: their ids are enough."""
    has_calls, has_usage = (Exists(model.objects.filter(run=OuterRef("pk"))) for model in (LlmCall, RunUsage))
    return LayerRun.objects.filter(has_calls | has_usage).only("pk")


def stale_lines(runs: list[LayerRun]) -> list[str]:
    """Return the ids of those of the runs whose lines are not what their errors say."""
    stored = defaultdict(list)
    lines = ErrorLine.objects.filter(run__in=[run.pk for run in runs]).order_by("run", "position")
    for run_id, *line in lines.values_list("run_id", *LINE):
        stored[run_id].append(line)
    return [run.pk for run in runs if stored[run.pk] != expected_lines(run)]


def stale_usage(runs: list[LayerRun]) -> list[str]:
    """Return the ids of those of the runs whose usage is not what their calls add up to."""
    return RunUsage.objects.out_of_step([run.pk for run in runs])


def expected_lines(run: LayerRun) -> list[list[Any]]:
    """Return the lines of a run as the database gives them back."""
    derived = (
        (error.position, error.topic, error.node, error.message, error.fingerprint, run.started_at)
        for error in read_errors(run.errors)
    )
    return [
        [field.to_python(field.get_prep_value(value)) for field, value in zip(_FIELDS, line, strict=True)]
        for line in derived
    ]


def repair_lines(ids: list[str]) -> None:
    """Rewrite the lines of these runs from their errors as they are now."""
    with transaction.atomic():
        ErrorLine.objects.rewrite(LayerRun.objects.select_for_update().filter(pk__in=ids).only("errors", "started_at"))


def repair_usage(ids: list[str]) -> None:
    """Add up anew what these runs used, from their calls as they are now."""
    RunUsage.objects.rewrite(ids)
