"""T08, T10: kill -9 where it hurts: web workers, writing processes, a pruning command."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from django.core.management import find_commands

from .. import processes
from ..crews import Readers, Writers, every
from ..figures import Figure, at_most, exactly, noted
from ..processes import ROOT
from ..site import THREADS
from ..stage import Stage
from ..trial import trial

PRUNE = "prune_layer_runs"


@trial("T08", "kill -9 a web worker and a writer every 1.5 s, readers and writers at work")
def kill_workers(stage: Stage) -> Iterator[Figure]:
    seconds, kills = 9 if stage.quick else 30, [0]
    with stage.database() as database, stage.site(database) as site:

        def kill(number: int) -> None:
            if workers := site.workers:
                site.kill(workers[number % len(workers)])
                kills[0] += 1
            writers.kill_one(number)

        with Readers(site, 4, stage.seed) as readers, Writers(stage, database, 4, 3_600) as writers:
            writers.at_work()
            with every(1.5, kill):
                time.sleep(seconds)
            time.sleep(1)
        lost, errors, faults = writers.lost(), len(writers.errors), database.faults()
        kept = sum(len(writers.acked(step)) for step in ("created", "called", "finished"))
        processes.wait_until(lambda: site.get("/layer-runs/").status == 200, 10)
    yield noted("workers killed", kills[0])
    yield noted("writes kept", kept)
    yield exactly("of them lost", lost)
    yield exactly("writes refused", errors)
    yield noted("pages read", len(readers.answers))
    yield exactly("answers 5xx", readers.failed())
    yield at_most("requests cut off, at most one a thread and kill", readers.broken, THREADS * kills[0])
    yield exactly("faults of the file", faults)


@trial("T10", "kill -9 pruning 10 times, then let one end")
def kill_pruning(stage: Stage) -> Iterator[Figure]:
    if PRUNE not in find_commands(str(ROOT / "layer_runs" / "management")):
        raise RuntimeError(f"There is no command {PRUNE} yet.")
    dice, cut_off, faults = stage.chance, 0, 0
    with stage.database() as database:
        # A fifth goes, but what is running stays, however old it is.
        ids = [row[0] for row in database.rows("SELECT id FROM layer_runs_layerrun ORDER BY started_at, id")]
        oldest = database.one("SELECT min(started_at) FROM layer_runs_layerrun")
        running = ids[:: max(len(ids) // 20, 1)]
        _execute(stage, database, f"LayerRun.objects.filter(pk__in={running!r}).update(status='running')")
        before = {row[0] for row in database.rows("SELECT id FROM layer_runs_layerrun")}
        days = max(_age_in_days(oldest) * 0.8, 0.1)
        command = processes.manage(PRUNE, "--keep", f"{max(round(days * 24), 1)}h")
        for _ in range(10):
            pruning = processes.start(command, stage.env(database), stage.log)
            try:
                pruning.wait(dice.uniform(0.5, 1.5))
            except subprocess.TimeoutExpired:
                cut_off += 1
            pruning.kill()
            pruning.wait()
            faults += database.faults()
        code = processes.finish(command, stage.env(database), stage.log)
        after = {row[0] for row in database.rows("SELECT id FROM layer_runs_layerrun")}
        orphans = sum(
            database.one(f"SELECT count(*) FROM {table} WHERE run_id NOT IN (SELECT id FROM layer_runs_layerrun)")
            for table in ("layer_runs_llmcall", "layer_runs_errorline", "layer_runs_runusage")
        )
        counted = database.rows("SELECT runs FROM layer_runs_auditevent WHERE action = 'prune'")
    yield noted("killed at work", cut_off)
    yield exactly("exit code of the one that ends", code)
    yield noted("runs pruned", len(before - after))
    yield exactly("running runs pruned", len(set(running) - after))
    yield exactly("rows left without their run", orphans)
    yield exactly("faults of the file after a kill", faults)
    yield exactly(
        "runs that the trail counts too many or too few",
        abs(sum(runs or 0 for (runs,) in counted) - len(before - after)),
    )
    yield noted("acts of pruning in the trail", len(counted))


def _age_in_days(moment: object) -> float:
    from datetime import UTC, datetime

    read = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    read = read if read.tzinfo else read.replace(tzinfo=UTC)
    return (datetime.now(UTC) - read).total_seconds() / 86_400


def _execute(stage: Stage, database: object, code: str) -> None:
    processes.run(
        processes.manage("shell", "-c", f"from layer_runs.models import LayerRun; {code}"),
        stage.env(database),
        stage.log,
    )
