"""Fill the database with invented runs, so that there is something to look at."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from layer_runs.demo import IS_DEMO, LEAST_DAYS, invent
from layer_runs.models import LayerRun, LlmCall

STALE_AFTER = timedelta(hours=12)
BATCH = 500


class Command(BaseCommand):
    help = "Fill the database with demo runs up to now. Does nothing while the last ones are less than 12 hours old."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=60, help=f"How far back they go: {LEAST_DAYS} to 3650.")
        parser.add_argument("--force", action="store_true", help="Make them anew even if they are recent.")

    def handle(self, *, days: int, force: bool, **options: Any) -> None:
        if not LEAST_DAYS <= days <= 3650:
            raise CommandError(f"--days {days}: give a number from {LEAST_DAYS} to 3650.")
        now = timezone.now()
        if not force and self.is_fresh(now):
            self.stdout.write("The demo runs are recent: left as they are.")
            return
        made = list(invent(now, days))
        calls = [call for run in made for call in run.calls]
        # In one transaction: whoever looks meanwhile sees the old runs or the new ones, never half of them.
        with transaction.atomic():
            LayerRun.objects.filter(IS_DEMO).remove(remembered=False)
            LayerRun.objects.bulk_create([run.row for run in made], batch_size=BATCH)
            LlmCall.objects.bulk_create(calls, batch_size=BATCH)
        self.stdout.write(f"{len(made):,} demo runs of {days} days, with {len(calls):,} LLM calls.")

    def is_fresh(self, now: datetime) -> bool:
        newest = LayerRun.objects.filter(IS_DEMO).newest_first().values_list("started_at", flat=True).first()
        return newest is not None and now - newest < STALE_AFTER
