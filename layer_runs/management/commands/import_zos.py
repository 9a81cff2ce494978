"""`manage.py import_zos`: bring the runs of a Zos database in, again and again."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router, transaction
from django.utils import timezone

from ...audit import Action, AuditEvent, process_owner, record
from ...demo import SOURCE as DEMO
from ...formatting import count, plural
from ...importing import BEAT_EVERY, Importing, ImportRunning, compare, write
from ...lines import one_line
from ...models import LayerRun, RemovedRun
from ...notes import note_lines
from ...sources import SourceError
from ...sources.zos import ZosDatabase
from ...sources.zos_rows import RejectedRun, ZosRun
from ..stopping import Stopping

ODD, UNREADABLE, BUSY = 1, 2, 3
NAMED = 20  # How many odd or rejected runs a summary names.
NOTES = 2  # And how many notes on each.
BAR = 30


@dataclass
class Tally:
    """What became of the runs so far."""

    read: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    left_out: int = 0
    calls: int = 0
    calls_without_a_run: int | None = None
    secrets: int = 0
    runs_with_secrets: int = 0
    odd: list[str] = field(default_factory=list)
    rejected: list[RejectedRun] = field(default_factory=list)


def what_was_odd(run: ZosRun) -> str:
    """Return a run's id and its first notes, on one line whatever the values were."""
    notes = [note.removesuffix(".") for note in note_lines(run.odd_notes)]
    more = [f"and {count(len(notes) - NOTES)} more"] if len(notes) > NOTES else []
    return f"{run.id}: {one_line(' '.join('; '.join([*notes[:NOTES], *more]).split()))}"


class Command(BaseCommand):
    help = (
        "Import the runs of a Zos database, which may be in use. Run it again to bring in what is new or changed."
        " Exit code: 0 fine, 1 some runs were odd or rejected, 2 the database cannot be read,"
        " 3 another import of the same source is running, 130 or 143 interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", help="The SQLite file of Zos. Only read. Times in it without a zone are UTC.")
        parser.add_argument("--source", default="", help="A name for this Zos; its runs are stored as NAME:id.")
        parser.add_argument("--dry-run", action="store_true", help="Write nothing and say what would happen.")
        parser.add_argument(
            "--bring-back", action="store_true", help="Import also what was deleted or pruned here, until it is again."
        )
        parser.add_argument(
            "--report-missing", action="store_true", help="List the runs stored from this source that it has no more."
        )

    def handle(self, *, path: str, source: str, **options: Any) -> None:
        if source and not re.fullmatch(r"[A-Za-z0-9_.-]{1,30}", source):
            raise CommandError(
                f"{source} cannot be a source's name: use at most 30 letters, digits and `_ . -`.",
                returncode=UNREADABLE,
            )
        if source == DEMO:
            raise CommandError(
                f"{source} is the source of the invented runs of seed_demo_runs: choose another name.",
                returncode=UNREADABLE,
            )
        self.tally, self.stopping = Tally(), Stopping()
        self.dry_run, self.bring_back = options["dry_run"], options["bring_back"]
        self.seen: set[str] | None = set() if options["report_missing"] else None
        self.event: AuditEvent | None = None
        self.what = f"{source or 'default'}: {path}{' --bring-back' if self.bring_back else ''}"
        try:
            with (
                self.stopping.listening(),
                ZosDatabase(path) as zos,
                nullcontext() if self.dry_run else Importing(source) as importing,
            ):
                try:
                    self.bring_in(zos, source, importing)
                finally:
                    self.end_progress()
        except (SourceError, ImportRunning) as error:
            if self.tally.read:
                self.say_summary(path)
            is_busy = isinstance(error, ImportRunning)
            self.leave_trail(str(error), is_needed=not is_busy)
            code = BUSY if is_busy else UNREADABLE
            raise CommandError(f"{error}{self.what_stays()}", returncode=code) from error
        self.leave_trail(f"stopped by {self.stopping.signal.name}" if self.stopping.signal else "")
        self.say_summary(path)
        if self.seen is not None:
            self.report_missing(source)
        self.stopping.exit_if_asked()
        if self.tally.odd or self.tally.rejected:
            raise CommandError("Not every run could be imported as it was: see above.", returncode=ODD)

    def bring_in(self, zos: ZosDatabase, source: str, importing: Importing | None) -> None:
        if importing is not None:
            # Its number of runs stays empty until the end: one that was killed can be told from one that ended.
            self.event = record(Action.IMPORT, actor=process_owner(), what=self.what)
        total = zos.count_runs()
        for batch in zos.batches(source, timezone.now()):
            runs = self.sort_out(batch)
            difference = compare(runs, bring_back=self.bring_back)
            if importing is None:
                pass  # A dry run ends with the comparison.
            elif difference.new or difference.updated:
                # Together, so that an importer that was replaced meanwhile writes nothing more.
                with transaction.atomic(using=router.db_for_write(LayerRun)):
                    importing.beat()
                    if self.bring_back:
                        RemovedRun.objects.filter(pk__in=[run.id for run in difference.new]).delete()
                    write(difference)
            else:
                importing.beat(every=BEAT_EVERY)
            left_out = {run.id for run in difference.left_out}
            self.tally.odd += [what_was_odd(run) for run in runs if run.odd and run.id not in left_out]
            secrets = [run.secrets for run in runs if run.secrets and run.id not in left_out]
            self.tally.secrets += sum(secrets)
            self.tally.runs_with_secrets += len(secrets)
            self.tally.new += len(difference.new)
            self.tally.updated += len(difference.updated)
            self.tally.unchanged += difference.unchanged
            self.tally.left_out += len(left_out)
            self.show_progress(total)
            if self.stopping.is_asked_for:
                return
        self.tally.calls_without_a_run = zos.count_calls_without_a_run()

    def sort_out(self, batch: list[ZosRun | RejectedRun]) -> list[ZosRun]:
        """Count a batch and return what can be stored of it: each id once."""
        runs: dict[str, ZosRun] = {}
        for run in batch:
            if isinstance(run, RejectedRun):
                self.tally.rejected.append(run)
            elif run.id in runs:
                self.tally.rejected.append(RejectedRun(run.id, "another row has the same id"))
            else:
                runs[run.id] = run
        self.tally.read += len(batch)
        self.tally.calls += sum(len(run.calls) for run in runs.values())
        if self.seen is not None:
            self.seen.update(run.id for run in batch)
        return list(runs.values())

    def leave_trail(self, trouble: str = "", *, is_needed: bool = True) -> None:
        """Say in the trail how many runs came in, or what ended the import before its end."""
        if self.dry_run:
            return
        if self.event is None and is_needed:
            self.event = record(Action.IMPORT, actor=process_owner(), what=self.what)
        if self.event is None:
            return
        written = self.tally.new + self.tally.updated
        if trouble:
            # In words: a number in its column says that the source was read to its end.
            what = f"{self.what} (after {plural(written, 'run')}: {trouble})"
            AuditEvent.objects.filter(pk=self.event.pk).update(what=what)
        else:
            self.event.count(written)

    def report_missing(self, source: str) -> None:
        """List what is stored from this source and no longer in its file, the oldest first."""
        if self.stopping.is_asked_for:
            self.stdout.write("What its source has no more cannot be said: it was not read to its end.")
            return
        stored = LayerRun.objects.filter(source=source).order_by("started_at", "id").values_list("pk", flat=True)
        # A rejected row says its id as its source knows it.
        prefix = f"{source}:" if source else ""
        missing = [pk for pk in stored.iterator() if not {pk, pk.removeprefix(prefix)} & self.seen]
        self.stdout.write(f"{plural(len(missing), 'run')} stored from this source and no longer in it.")
        for pk in missing:
            self.stdout.write(f"  {pk}")

    def show_progress(self, total: int) -> None:
        """Draw a bar over itself, on a terminal only. Runs that arrive meanwhile may take it past its end."""
        if self.stderr.isatty():
            read = self.tally.read
            done = BAR if read >= total else BAR * read // total
            line = f"\r[{'#' * done}{' ' * (BAR - done)}] {count(read)} of {plural(max(read, total), 'run')}"
            self.stderr.write(line, style_func=str, ending="")
            self.stderr.flush()

    def end_progress(self) -> None:
        if self.stderr.isatty() and self.tally.read:
            self.stderr.write("", style_func=str)

    def say_summary(self, path: str) -> None:
        tally, would = self.tally, "would be " if self.dry_run else ""
        if self.dry_run:
            self.stdout.write("A dry run: nothing was written.")
        self.stdout.write(
            f"{path}: {plural(tally.read, 'run')} read: {count(tally.new)} {would}new, {count(tally.updated)}"
            f" {would}updated, {count(tally.unchanged)} unchanged, {count(len(tally.odd))} odd,"
            f" {count(len(tally.rejected))} rejected."
        )
        if tally.left_out:
            self.stdout.write(f"{count(tally.left_out)} pruned or deleted here left out; --bring-back imports them.")
        without = (
            f", {plural(tally.calls_without_a_run, 'call')} without a run left out"
            if tally.calls_without_a_run is not None
            else ""
        )
        self.stdout.write(f"{plural(tally.calls, 'LLM call')} read{without}.")
        if tally.secrets:
            runs = plural(tally.runs_with_secrets, "run")
            self.stdout.write(f"{plural(tally.secrets, 'secret')} in {runs} {would}replaced.")
        if tally.odd:
            self.stdout.write("Odd, stored with a note on what could not be kept:")
            self.name_some(tally.odd)
        if tally.rejected:
            self.stdout.write("Rejected, not stored:")
            self.name_some([one_line(f"{run.id}: {run.reason}") for run in tally.rejected])

    def name_some(self, names: list[str]) -> None:
        for name in names[:NAMED]:
            self.stdout.write(f"  {name}")
        if len(names) > NAMED:
            self.stdout.write(f"  and {count(len(names) - NAMED)} more")

    def what_stays(self) -> str:
        written = 0 if self.dry_run else self.tally.new + self.tally.updated
        return f" {plural(written, 'run')} imported before that stay." if written else ""
