"""`python -m soak [T03 T07 ...]`: play the trials, print the figures against their marks. 1 where one was missed.

Everything is made for the occasion under a temporary directory: a filled SQLite database, a PostgreSQL server with
another, copies of both to break, and the site served from those. The figures are kept in var/soak.json, those of some
trials, of one kind of database or of --quick in var/soak-part.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import trials
from .stage import Stage
from .trial import BOTH, ELSEWHERE, ROUNDS, Verdict, judge

RUNS, QUICK_RUNS = 100_000, 5_000
STATE_DIR = Path(__file__).resolve().parent.parent / "var"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trials", nargs="*", metavar="T03", help="the trials to play (all)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS:,} runs, and shorter")
    parser.add_argument("--on", choices=BOTH, action="append", help="one kind of database only")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of everything that is left to chance")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at most, where a time was missed ({ROUNDS})")
    options = parser.parse_args()
    chosen = [trial for trial in trials.TRIALS if not options.trials or trial.id in options.trials]
    if unknown := set(options.trials) - {trial.id for trial in chosen} - set(ELSEWHERE):
        parser.error(f"no such trial: {', '.join(sorted(unknown))}")
    kinds = [kind for kind in options.on or BOTH if any(kind in trial.on for trial in chosen)]
    # Ctrl-C and a `kill` both end everything that was started.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    runs = QUICK_RUNS if options.quick else RUNS
    print(f"{runs:,} runs, seed {options.seed}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.", flush=True)
    begun = time.monotonic()
    stage = Stage(runs=runs, seed=options.seed, quick=options.quick)
    verdicts: list[Verdict] = []
    try:
        stage.prepare(kinds)
        print(f"The databases are made: {time.monotonic() - begun:.0f} s.", flush=True)
        for trial in chosen:
            for kind in (kind for kind in kinds if kind in trial.on):
                at = time.monotonic()
                verdicts.append(judge(trial, stage, kind, options.rounds))
                _show(verdicts[-1], time.monotonic() - at)
    except KeyboardInterrupt:
        print("Interrupted: everything that was started is ended.", flush=True)
        _show_table(verdicts)
        sys.exit(130)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        stage.close()
    seconds = round(time.monotonic() - begun)
    said = {"seed": options.seed, "runs": runs, "seconds": seconds, "trials": [each.as_json() for each in verdicts]}
    STATE_DIR.mkdir(exist_ok=True)
    name = "soak-part.json" if options.trials or options.on or options.quick else "soak.json"
    (STATE_DIR / name).write_text(json.dumps(said, indent=1))
    passed = sum(verdict.passed for verdict in verdicts)
    _show_table(verdicts)
    print(f"{passed} of {len(verdicts)} passed in {seconds} s, seed {options.seed}, load {os.getloadavg()[0]:.1f}.")
    sys.exit(passed < len(verdicts))


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _show(verdict: Verdict, seconds: float) -> None:
    """Say how a trial went as soon as it is over."""
    rounds = f", {verdict.rounds} times" if verdict.rounds > 1 else ""
    word = "pass" if verdict.passed else "FAIL"
    print(f"{verdict.trial.id} {verdict.kind}: {word}, {seconds:.0f} s{rounds} {verdict.trouble}".rstrip(), flush=True)
    for figure in verdict.figures:
        if figure.met is False:
            print(f"    {figure.name}: {figure.text} and not {figure.mark}", flush=True)


def _show_table(verdicts: list[Verdict]) -> None:
    print(f"\n{'':5}{'':11}{'':60}{'figure':>14}{'mark':>14}")
    for verdict in verdicts:
        print(f"{verdict.trial.id:5}{verdict.kind:11}{verdict.trial.what}")
        for figure in verdict.figures:
            word = {True: "pass", False: "FAIL", None: ""}[figure.met]
            print(f"{'':16}{figure.name:60}{figure.text:>14}{figure.mark:>14}  {word}".rstrip())
        if verdict.trouble:
            print(f"{'':16}{verdict.trouble}  FAIL")
    for id, where in sorted(ELSEWHERE.items()):
        print(f"{id:5}{where}")


if __name__ == "__main__":
    main()
