"""`manage.py rebuild_derived`: bring the index over errors back in step with the runs it was derived from."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from ...errors import read_errors
from ...formatting import count, plural
from ...models import ErrorLine, LayerRun

BATCH = 500
# What an error line says, in the order of the tuples compared here.
LINE = ("position", "topic", "node", "message", "fingerprint", "started_at")
_FIELDS = [ErrorLine._meta.get_field(name) for name in LINE]


class Command(BaseCommand):
    help = (
        "Find the runs whose error lines do not match their errors (written by raw SQL, or indexed by an older rule)"
        " and rewrite the lines. The errors themselves are evidence and stay as they are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="Change nothing; exit with 1 if any line is wrong.")

    def handle(self, *, check: bool, **options: Any) -> None:
        checked = wrong = 0
        for runs in batches():
            stale = [run.pk for run in out_of_step(runs)]
            checked += len(runs)
            wrong += len(stale)
            if stale and not check:
                repair(stale)
        looked_at = f"{plural(checked, 'run')} with errors checked"
        if not wrong:
            self.stdout.write(f"{looked_at}: all error lines are right.")
        elif check:
            raise CommandError(
                f"{looked_at}: the error lines of {count(wrong)} are wrong. Run rebuild_derived to repair them.",
                returncode=1,
            )
        else:
            self.stdout.write(f"{looked_at}: the error lines of {count(wrong)} were wrong and are repaired.")


def batches() -> Iterator[list[LayerRun]]:
    """Yield the runs that have errors or lines, without what is not needed of them."""
    has_lines = Exists(ErrorLine.objects.filter(run=OuterRef("pk")))
    runs = LayerRun.objects.filter(Q(error_count__gt=0) | has_lines).only("errors", "started_at").order_by("pk")
    after = ""
    while batch := list(runs.filter(pk__gt=after)[:BATCH]):
        yield batch
        after = batch[-1].pk


def out_of_step(runs: list[LayerRun]) -> Iterator[LayerRun]:
    """Yield those of the runs whose lines are not what their errors say."""
    stored = defaultdict(list)
    lines = ErrorLine.objects.filter(run__in=[run.pk for run in runs]).order_by("run", "position")
    for run_id, *line in lines.values_list("run_id", *LINE):
        stored[run_id].append(line)
    for run in runs:
        if stored[run.pk] != expected_lines(run):
            yield run


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


def repair(ids: list[str]) -> None:
    """Rewrite the lines of these runs from their errors as they are now."""
    with transaction.atomic():
        ErrorLine.objects.rewrite(LayerRun.objects.select_for_update().filter(pk__in=ids).only("errors", "started_at"))
