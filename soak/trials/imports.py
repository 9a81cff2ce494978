"""T07, T18: an import that is killed, and one whose source is being written."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

from .. import processes, zos_source
from ..figures import Figure, at_most, exactly, noted
from ..stage import Stage
from ..trial import trial

KILLS = 20


@trial("T07", "kill -9 an import at 20 random moments, then let one end")
def killed_imports(stage: Stage) -> Iterator[Figure]:
    source, dice = stage.place("zos.db"), stage.chance
    zos_source.make(source, 1_000 if stage.quick else 10_000, stage.seed)
    unchanged = zos_source.digest(source)
    with stage.database(is_empty=True) as database:
        env, command = stage.env(database), processes.manage("import_zos", str(source))
        # How long the whole takes says where the moments lie.
        with stage.database(is_empty=True) as other:
            begun = time.monotonic()
            processes.run(command, stage.env(other), stage.log)
            whole = time.monotonic() - begun
        faults, in_hand, cut_off = 0, 0, 0
        for _ in range(KILLS):
            importer = processes.start(command, env, stage.log)
            try:
                importer.wait(dice.uniform(0.3, max(whole * 0.6, 1)))
            except subprocess.TimeoutExpired:
                cut_off += 1
            importer.kill()
            importer.wait()
            faults += database.faults()
            in_hand += database.one("SELECT count(*) FROM layer_runs_layerrun") % 500 != 0
        code = processes.finish(command, env, stage.log)
        said = stage.place("again.log")
        again = processes.finish(command, env, said)
        wrong = zos_source.differences(source, database)
    yield noted("killed at work", cut_off)
    yield exactly("faults of the file after a kill", faults)
    yield exactly("kills that left half a batch", in_hand)
    yield exactly("exit codes of the import that ends, and of one more", code + again)
    yield exactly("runs and calls that differ from their source", wrong)
    yield exactly("runs the one more had to write", int(", 0 updated" not in said.read_text()))
    yield exactly("changes in the source", int(zos_source.digest(source) != unchanged))
    source.unlink()


@trial("T18", "an import every 2 s while the source gets 200 rows a second", on=("sqlite",))
def live_source(stage: Stage) -> Iterator[Figure]:
    seconds = 10 if stage.quick else 60
    alone = _written(stage, 5 if stage.quick else 15)
    with stage.database(is_empty=True) as database:
        source, said = stage.place("zos.db"), stage.place("said")
        zos_source.make(source, 5_000, stage.seed)
        writer = processes.start(_writer(source, said, seconds, stage.seed), stage.env(database), stage.log)
        command, codes = processes.manage("import_zos", str(source)), []
        while writer.poll() is None:
            at = time.monotonic()
            codes.append(processes.finish(command, stage.env(database), stage.log))
            time.sleep(max(2 - (time.monotonic() - at), 0))
        codes.append(processes.finish(command, stage.env(database), stage.log))
        wrong = zos_source.differences(source, database)
        lines = [json.loads(line) for line in said.read_text().splitlines()]
        source.unlink()
    largest = max(line.get("wal", 0) for line in lines)
    yield noted("imports meanwhile", len(codes) - 1)
    yield exactly("exit codes of the imports", sum(codes))
    yield noted("rows written a second", sum(line.get("rows", 0) for line in lines) / seconds)
    yield exactly("writes of the source refused", sum("error" in line for line in lines))
    yield noted("its log without an import", alone / 1024, "KiB")
    yield at_most("its log, times its size without an import", largest / alone, 2)
    yield exactly("runs and calls that differ in the end", wrong)


def _writer(source: object, said: object, seconds: float, seed: int) -> list[str]:
    return processes.module("soak.zos_source", str(source), str(said), "--seconds", str(seconds), "--seed", str(seed))


def _written(stage: Stage, seconds: float) -> int:
    """Return how large the log of the source becomes with nobody reading."""
    source, said = stage.place("zos.db"), stage.place("said")
    zos_source.make(source, 5_000, stage.seed)
    with stage.database(is_empty=True) as database:
        processes.run(_writer(source, said, seconds, stage.seed), stage.env(database), stage.log)
    source.unlink()
    return max(json.loads(line).get("wal", 0) for line in said.read_text().splitlines())
