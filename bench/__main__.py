"""`python -m bench`: make the databases, measure, print. It exits with 0 whatever the figures say."""

from __future__ import annotations

import argparse
import gc
import os
import platform

import django


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
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
    from . import measure, runs

    vendor = "PostgreSQL" if options.database_url else "SQLite"
    print(f"{vendor}, Python {platform.python_version()}, Django {django.__version__}, {os.cpu_count()} cores,")
    print(f"seed {runs.SEED}, {runs.A_DAY:,} runs a day, medians of {options.rounds} in turns, warm.", flush=True)
    gc.freeze()
    measure.everything(
        large=options.runs,
        rounds=options.rounds,
        slow_rounds=options.slow_rounds,
        imported=options.imported_runs,
    )


if __name__ == "__main__":
    main()
