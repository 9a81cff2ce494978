"""`python -m soak.writing ACKS --seconds N`: create runs and finish them, as a pipeline does; say what was stored.

Each line of ACKS is JSON: `created` or `finished` with an id and the milliseconds it took, or an `error`. A line is
written after the database has said that it keeps the run: whoever reads the file may hold it to its word.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from typing import Any

import django

CALLS = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("acks")
    parser.add_argument("--seconds", type=float, default=0, help="0 writes one run")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two runs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    django.setup()
    from django.db import DatabaseError, connection

    from .transactions import longest_write

    dice = random.Random(options.seed)
    acks = os.open(options.acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def say(**said: Any) -> None:
        os.write(acks, f"{json.dumps(said)}\n".encode())

    end = time.monotonic() + options.seconds
    with longest_write() as longest:
        while True:
            begun = time.perf_counter()
            try:
                write_one(dice, say)
            except DatabaseError as error:
                said = f"{type(error).__name__}: {' '.join(str(error).split())}"
                say(error=said[:200], ms=(time.perf_counter() - begun) * 1000)
                connection.close()
                time.sleep(0.1)
            say(longest=longest[0])
            if time.monotonic() >= end:
                return
            time.sleep(options.pause * dice.uniform(0.5, 1.5))


def write_one(dice: random.Random, say: Any) -> None:
    from django.utils import timezone

    from layer_runs.models import LayerRun, LlmCall

    def timed(step: str, write: Any) -> Any:
        begun = time.perf_counter()
        written = write()
        say(**{step: run.pk}, ms=(time.perf_counter() - begun) * 1000)
        return written

    run = LayerRun(layer_name=f"soak-{dice.randrange(5)}", status="running", targets_matched=CALLS)
    timed("created", lambda: run.save(force_insert=True))
    calls = [
        LlmCall(run=run, topic=f"t{n}", call_type="reflection", model_name="m", tokens_input=10, tokens_output=1)
        for n in range(CALLS)
    ]
    timed("called", lambda: LlmCall.objects.bulk_create(calls))
    run.status, run.completed_at, run.targets_processed = "success", timezone.now(), CALLS
    run.errors = [{"topic": "t", "error": "one", "node": "n"}] if dice.random() < 0.3 else []
    timed("finished", run.save)


if __name__ == "__main__":
    main()
