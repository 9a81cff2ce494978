"""T21: a backup made under load, restored elsewhere."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

from ..crews import Readers, Writers, lost
from ..figures import Figure, exactly, noted
from ..stage import Database, Stage
from ..trial import trial


@trial("T21", "VACUUM INTO under load, restored elsewhere", on=("sqlite",))
def backup(stage: Stage) -> Iterator[Figure]:
    copy = stage.place("backup.sqlite3")
    steps = ("created", "called", "finished")
    with stage.database() as database, stage.site(database) as site:
        with Readers(site, 4, stage.seed) as readers, Writers(stage, database, 4, 3_600) as writers:
            writers.at_work()
            time.sleep(3 if stage.quick else 10)
            acked = [writers.acked(step) for step in steps]
            begun = time.monotonic()
            with closing(sqlite3.connect(database.path, timeout=20)) as connection:
                connection.execute("VACUUM INTO ?", [str(copy)])
            took = time.monotonic() - begun
            time.sleep(1)
        runs = database.one("SELECT count(*) FROM layer_runs_layerrun")
    restored = Database(f"sqlite:///{copy}", path=copy)
    with stage.site(restored) as elsewhere:
        page = elsewhere.get("/layer-runs/?period=all")
        login = elsewhere.log_in()
    yield noted("the backup took", took, "s")
    yield noted("writes kept before it began", sum(map(len, acked)))
    yield exactly("of them not in it", lost(restored, *acked))
    yield exactly("faults of the backup", restored.faults())
    yield noted("runs written after it began", runs - restored.one("SELECT count(*) FROM layer_runs_layerrun"))
    yield exactly("the list served from it", page.status, 200)
    yield exactly("a login there", login.status, 302)
    yield exactly("writes refused meanwhile", len(writers.errors))
    yield exactly("answers 5xx or none meanwhile", readers.failed() + readers.broken)
    copy.unlink()
