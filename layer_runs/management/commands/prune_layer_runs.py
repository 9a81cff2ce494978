"""`manage.py prune_layer_runs`: delete what is older than anybody wants to keep."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ...audit import Action, process_owner, record
from ...formatting import count, exact, plural, usd
from ...models import RemovedRun
from ...retention import Pruning, Rule, read_span
from ..stopping import Stopping

WRONG_RULE = 2


class Command(BaseCommand):
    help = (
        "Delete old runs with their LLM calls and errors, never one that is running. What is pruned is not imported"
        " again. Spans are hours, days, weeks or years of 365 days: 36h, 90d, 12w, 1y."
        " Exit code: 0 fine, 2 the rule cannot be read, 130 or 143 interrupted: run it again to go on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--keep", required=True, metavar="SPAN", help="Delete runs that started longer ago.")
        parser.add_argument(
            "--keep-failures",
            metavar="SPAN",
            help="Keep failures (failed, partial or crashed) this long; as long as all others unless said.",
        )
        parser.add_argument(
            "--keep-last",
            type=int,
            default=0,
            metavar="N",
            help="Keep the newest N runs of each layer and source, whatever their age.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Delete nothing and say what would go.")

    def handle(self, *, keep: str, keep_failures: str | None, keep_last: int, dry_run: bool, **options: Any) -> None:
        try:
            rule = Rule(read_span(keep), read_span(keep if keep_failures is None else keep_failures), keep_last)
        except ValueError as error:
            raise CommandError(str(error), returncode=WRONG_RULE) from error
        pruning, stopping = Pruning(rule, timezone.now()), Stopping()
        with stopping.listening():
            if dry_run:
                self.stdout.write("A dry run: nothing was deleted.")
                self.look(pruning, stopping)
            else:
                self.prune(pruning, stopping, str(rule))
        self.say_summary(pruning, dry_run=dry_run)
        # What a dry run did not come to look at would be taken for kept.
        if not (dry_run and stopping.is_asked_for):
            oldest = pruning.oldest_kept() if dry_run else pruning.oldest_left()
            self.stdout.write(f"Oldest run kept: {exact(oldest, timezone.get_default_timezone())}.")
        stopping.exit_if_asked()

    def look(self, pruning: Pruning, stopping: Stopping) -> None:
        for batch in pruning.batches():
            pruning.count(batch)
            if stopping.is_asked_for:
                return

    def prune(self, pruning: Pruning, stopping: Stopping, what: str) -> None:
        event = record(Action.PRUNE, actor=process_owner(), what=what)
        try:
            for batch in pruning.batches():
                pruning.delete(batch, event)
                if stopping.is_asked_for:
                    return
            RemovedRun.objects.drop_covered()
        finally:
            event.count(pruning.pruned.runs)

    def say_summary(self, pruning: Pruning, *, dry_run: bool) -> None:
        pruned = pruning.pruned
        of_layers = f" of {plural(len(pruned.layers), 'layer')}" if pruned.runs else ""
        were = "would be pruned" if dry_run else "pruned"
        unpriced = f" + {count(pruned.unpriced_tokens)} unpriced tokens" if pruned.unpriced_tokens else ""
        self.stdout.write(f"{plural(pruned.runs, 'run')}{of_layers} {were}.")
        self.stdout.write(f"What they cost: {usd(pruned.cost, 2)} (estimate){unpriced}.")
