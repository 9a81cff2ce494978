"""T11: the disk is full, then there is room again."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from .. import processes
from ..crews import Readers, Writers
from ..figures import Figure, at_most, exactly, noted
from ..stage import Database, Stage
from ..trial import trial

ROOM = 4 * 1024 * 1024


@trial("T11", "the disk is full, then there is room again", on=("sqlite",))
def full_disk(stage: Stage) -> Iterator[Figure]:
    with stage.database() as filled, disk(stage, filled.path.stat().st_size + 40 * 1024 * 1024) as mounted:
        if mounted is None:
            raise RuntimeError("A disk of its own needs root and tmpfs. `make test` fills a file by max_page_count.")
        path = mounted / "site.sqlite3"
        shutil.copyfile(filled.path, path)
        database = Database(f"sqlite:///{path}", path=path)
        with stage.site(database) as site:
            site.log_in()
            with Readers(site, 2, stage.seed) as readers:
                time.sleep(1)
                ballast = mounted / "ballast"
                with Writers(stage, database, 2, 3_600, pause=0) as writers:
                    writers.at_work()
                    fill(mounted, ballast)
                    processes.wait_until(lambda: len(writers.errors) >= 5, 60)
                    leave_nothing(mounted, ballast, path)
                    refused = site.log_in()
                    looked = [site.get(page).status for page in ("/admin/", "/layer-runs/", "/layer-runs/stats/",
                              f"/layer-runs/{site.known['ids'][0]}/")]  # fmt: skip
                    errors = writers.errors
                    kept = len(writers.acked("created"))
                    ballast.unlink()
                    begun = time.monotonic()
                    processes.wait_until(lambda: len(writers.acked("created")) > kept, 30)
                    again = time.monotonic() - begun
                    welcome = site.log_in()
                    within = time.monotonic() - begun
            lost, faults = writers.lost(), database.faults()
    yield noted("writes kept before and after", len(writers.acked("created")) + len(writers.acked("finished")))
    yield noted("writes refused", len(errors))
    full = [error for error in errors if "full" in error or "disk I/O" in error]
    yield exactly("of them for another reason than the disk", len(errors) - len(full))
    yield exactly("a login while it is full", refused.status, 503)
    yield exactly("it says when to come back", int("Retry-After" in refused.headers), 1)
    yield exactly("pages that do not come while it is full", sum(status != 200 for status in looked))
    yield exactly("answers 5xx or none to readers", readers.failed() + readers.broken)
    yield at_most("until a writer writes again", again, 5, "s")
    yield exactly("a login then", welcome.status, 302)
    yield at_most("until somebody is logged in again", within, 5, "s")
    yield exactly("writes kept and lost", lost)
    yield exactly("faults of the file", faults)


def leave_nothing(mounted: Path, ballast: Path, database: Path) -> None:
    """Take the last byte, and the room inside the log that small writes would still find."""
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        for _ in range(20):
            os.truncate(ballast, max(ballast.stat().st_size - ROOM, 0))
            emptied = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            fill(mounted, ballast, keep=0)
            if emptied:
                return


@contextmanager
def disk(stage: Stage, size: int) -> Iterator[Path | None]:
    """Lend a disk of its own, as small as it is asked for."""
    place = stage.place("disk")
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def fill(place: Path, ballast: Path, keep: int = ROOM) -> None:
    """Fill a disk but for some bytes."""
    with ballast.open("ab") as file:
        size = max(shutil.disk_usage(place).free - keep, 0)
        with suppress(OSError):
            os.posix_fallocate(file.fileno(), file.tell(), max(size, 1))
