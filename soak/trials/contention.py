"""T04: writers, readers and an import on one SQLite file."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from .. import processes, zos_source
from ..crews import Readers, Writers
from ..figures import Figure, at_most, exactly, noted
from ..stage import Stage
from ..trial import trial


@trial("T04", "4 writing processes, 4 readers and an import at once", on=("sqlite",))
def contention(stage: Stage) -> Iterator[Figure]:
    source, said = stage.place("zos.db"), stage.place("import.log")
    number = 10_000 if stage.quick else 100_000
    zos_source.make(source, number, stage.seed, calls=1)
    with stage.database() as database, stage.site(database) as site:
        begun = time.monotonic()
        importer = processes.start(
            processes.module("soak.transactions", "import_zos", str(source)), stage.env(database), said
        )
        with Readers(site, 4, stage.seed) as readers, Writers(stage, database, 4, 3_600) as writers:
            writers.at_work()
            code = importer.wait(900)
            took = time.monotonic() - begun
        lost = writers.lost()
        wrong = zos_source.differences(source, database)
        faults = database.faults()
    longest = max(writers.longest, float(re.findall(r"longest write ([\d.]+) ms", said.read_text())[-1]))
    source.unlink()
    yield noted(f"an import of {number:,} runs beside the others", took, "s")
    yield exactly("its exit code", code)
    yield exactly("imported runs that differ from their source", wrong)
    yield noted("pages read", len(readers.answers))
    yield noted("writes kept", sum(len(writers.acked(step)) for step in ("created", "called", "finished")))
    yield exactly("writes refused (database is locked)", len(writers.errors))
    yield exactly("writes kept and lost", lost)
    yield exactly("answers 5xx or none", readers.failed() + readers.broken)
    yield at_most("p99 of writes", writers.took(0.99), 1000, "ms")
    yield at_most("slowest write", writers.took(1), 5000, "ms")
    yield at_most("longest write transaction", longest, 500, "ms")
    yield at_most("p99 of reads", readers.took(0.99), 1000, "ms")
    yield exactly("faults of the file", faults)
