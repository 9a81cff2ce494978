"""`manage.py import_zos`: bring the runs of a Zos database in, again and again."""

from __future__ import annotations

import re
import signal
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import router, transaction
from django.utils import timezone

from ...demo import SOURCE as DEMO
from ...formatting import count, plural
from ...importing import BEAT_EVERY, Importing, ImportRunning, compare, write
from ...models import LayerRun
from ...notes import note_lines
from ...sources import SourceError
from ...sources.zos import ZosDatabase
from ...sources.zos_rows import RejectedRun, ZosRun

ODD, UNREADABLE, BUSY, SIGNALLED = 1, 2, 3, 128
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
    calls: int = 0
    calls_without_a_run: int | None = None
    odd: list[str] = field(default_factory=list)
    rejected: list[RejectedRun] = field(default_factory=list)


def what_was_odd(run: ZosRun) -> str:
    """Return a run's id and its first notes, on one line whatever the values were."""
    notes = [note.removesuffix(".") for note in note_lines(run.values["notes"])]
    more = [f"and {count(len(notes) - NOTES)} more"] if len(notes) > NOTES else []
    line = " ".join("; ".join([*notes[:NOTES], *more]).split())
    # What a terminal would obey is shown as the mark of an unreadable character.
    return f"{run.id}: " + "".join(letter if letter.isprintable() else "\ufffd" for letter in line)


class Command(BaseCommand):
    help = (
        "Import the runs of a Zos database, which may be in use. Run it again to bring in what is new or changed."
        " Exit code: 0 fine, 1 some runs were odd or rejected, 2 the database cannot be read,"
        " 3 another import of the same source is running, 130 or 143 interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", help="The SQLite file of Zos. It is opened read-only.")
        parser.add_argument("--source", default="", help="A name for this Zos; its runs are stored as NAME:id.")
        parser.add_argument("--dry-run", action="store_true", help="Write nothing and say what would happen.")

    def handle(self, *, path: str, source: str, dry_run: bool, **options: Any) -> None:
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
        self.tally = Tally()
        self.dry_run = dry_run
        self.stopped_by: signal.Signals | None = None
        try:
            with (
                self.listening_to_signals(),
                ZosDatabase(path) as zos,
                nullcontext() if dry_run else Importing(source) as importing,
            ):
                try:
                    self.bring_in(zos, source, importing)
                finally:
                    self.end_progress()
        except (SourceError, ImportRunning) as error:
            if self.tally.read:
                self.say_summary(path)
            code = BUSY if isinstance(error, ImportRunning) else UNREADABLE
            raise CommandError(f"{error}{self.what_stays()}", returncode=code) from error
        self.say_summary(path)
        if self.stopped_by:
            raise CommandError(
                f"Stopped by {self.stopped_by.name}. Run it again to go on.", returncode=SIGNALLED + self.stopped_by
            )
        if self.tally.odd or self.tally.rejected:
            raise CommandError("Not every run could be imported as it was: see above.", returncode=ODD)

    def bring_in(self, zos: ZosDatabase, source: str, importing: Importing | None) -> None:
        total = zos.count_runs()
        for batch in zos.batches(source, timezone.now()):
            runs = self.sort_out(batch)
            difference = compare(runs)
            if importing is None:
                pass  # A dry run ends with the comparison.
            elif difference.new or difference.updated:
                # Together, so that an importer that was replaced meanwhile writes nothing more.
                with transaction.atomic(using=router.db_for_write(LayerRun)):
                    importing.beat()
                    write(difference)
            else:
                importing.beat(every=BEAT_EVERY)
            self.tally.new += len(difference.new)
            self.tally.updated += len(difference.updated)
            self.tally.unchanged += difference.unchanged
            self.show_progress(total)
            if self.stopped_by:
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
        self.tally.odd += [what_was_odd(run) for run in runs.values() if run.odd]
        return list(runs.values())

    @contextmanager
    def listening_to_signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the import after the batch in hand; a second one ends it at once."""

        def stop(number: int, frame: Any) -> None:
            if self.stopped_by:
                raise KeyboardInterrupt
            self.stopped_by = signal.Signals(number)

        if threading.current_thread() is not threading.main_thread():
            yield  # Only the main thread hears signals.
            return
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

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
        left_out = (
            f", {plural(tally.calls_without_a_run, 'call')} without a run left out"
            if tally.calls_without_a_run is not None
            else ""
        )
        self.stdout.write(f"{plural(tally.calls, 'LLM call')} read{left_out}.")
        if tally.odd:
            self.stdout.write("Odd, stored with a note on what could not be kept:")
            self.name_some(tally.odd)
        if tally.rejected:
            self.stdout.write("Rejected, not stored:")
            self.name_some([f"{run.id}: {run.reason}" for run in tally.rejected])

    def name_some(self, names: list[str]) -> None:
        for name in names[:NAMED]:
            self.stdout.write(f"  {name}")
        if len(names) > NAMED:
            self.stdout.write(f"  and {count(len(names) - NAMED)} more")

    def what_stays(self) -> str:
        written = 0 if self.dry_run else self.tally.new + self.tally.updated
        return f" {plural(written, 'run')} imported before that stay." if written else ""
