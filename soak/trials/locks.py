"""T14: a stranger holds SQLite's write lock."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing

from ..crews import Readers, Writers
from ..figures import Figure, at_most, exactly, noted
from ..site import Answer
from ..stage import Stage
from ..trial import trial


@trial("T14", "a stranger holds SQLite's write lock, 15 s and 40 s", on=("sqlite",))
def held_lock(stage: Stage) -> Iterator[Figure]:
    short, long, patience = (4, 12, 6) if stage.quick else (15, 40, 20)
    with stage.database(query=f"?timeout={patience}") as database, stage.site(database) as site:
        site.log_in()
        for seconds in (short, long):
            with closing(sqlite3.connect(database.path, isolation_level=None)) as stranger:
                stranger.execute("BEGIN IMMEDIATE")
                logins: list[Answer] = []
                visitor = threading.Thread(target=lambda found=logins: found.append(site.log_in()))
                begun = time.monotonic()
                visitor.start()
                with Readers(site, 4, stage.seed) as readers, Writers(stage, database, 1, 0) as writers:
                    time.sleep(max(seconds - (time.monotonic() - begun), 0))
                    stranger.execute("ROLLBACK")
                    writers.wait(60)
                visitor.join(60)
            said = f"held {seconds} s"
            yield noted(f"{said}: pages read", len(readers.answers))
            yield exactly(f"{said}: answers 5xx or none to readers", readers.failed() + readers.broken)
            yield at_most(f"{said}: p99 of them", readers.took(0.99), 1000, "ms")
            lines = list(writers.said())
            took = max(line.get("ms", 0) for line in lines) / 1000
            if seconds == short:
                yield exactly(f"{said}: runs written", len(writers.acked("finished")), 1)
                yield noted(f"{said}: a write waited", took, "s")
                yield exactly(f"{said}: a login", logins[0].status, 302)
            else:
                yield exactly(f"{said}: writes refused cleanly", len(writers.errors), 1)
                yield at_most(f"{said}: after", took, patience + 1, "s")
                yield exactly(f"{said}: a login", logins[0].status, 503)
                yield at_most(f"{said}: its answer after", logins[0].took / 1000, patience + 1, "s")
        yield exactly("a login after that", site.log_in().status, 302)
        yield exactly("faults of the file", database.faults())
