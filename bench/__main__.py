"""`python -m bench`: make the databases, measure, print. It exits with 0 whatever the figures say.

On SQLite it needs nothing but 7 GB of disk under var/bench, and some minutes when it makes them for the first time. On
PostgreSQL it wants a database of its own, `createdb bench`, in which it owns the schemas bench_large, bench_small and
bench_imported, and a role that may create schemas, a superuser for speed:

    .venv/bin/python -m bench --database-url postgres://postgres@localhost/bench

The column of CPU is the part that this process computed: on SQLite that includes the queries, and says what the times
were if nobody else wanted the machine.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform

import django


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50, help="rounds a median is taken of (50)")
    parser.add_argument("--slow-rounds", type=int, default=5, help="rounds for what takes seconds a request (5)")
    parser.add_argument("--runs", type=int, default=1_000_000, help="runs in the large database (1,000,000)")
    parser.add_argument("--imported-runs", type=int, default=10_000, help="runs to import; 0 leaves it out (10,000)")
    parser.add_argument("--database-url", default="", help="a PostgreSQL database to measure on; SQLite without")
    options = parser.parse_args()
    os.environ["BENCH_DATABASE_URL"] = options.database_url
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench.settings"
    django.setup()
    # Only now can what is built on the models be imported.
    from . import databases, measure, runs

    print(f"{databases.server()}, Python {platform.python_version()}, Django {django.__version__},")
    print(f"{os.cpu_count()} cores, seed {runs.SEED}, {runs.A_DAY:,} runs a day,")
    print(f"medians of {options.rounds} in turns, warm.")
    _say_load("before")
    gc.freeze()
    measure.everything(
        large=options.runs,
        rounds=options.rounds,
        slow_rounds=options.slow_rounds,
        imported=options.imported_runs,
    )
    _say_load("after")


def _say_load(when: str) -> None:
    """Say how busy the machine is: beyond its cores, others share the times with us."""
    print(f"Load {when}: {', '.join(f'{load:.1f}' for load in os.getloadavg())} (1, 5, 15 minutes).", flush=True)


if __name__ == "__main__":
    main()
