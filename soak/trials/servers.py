"""T12, T13: PostgreSQL goes away and comes back, or has no time for us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg

from .. import processes
from ..crews import Readers, Writers
from ..figures import Figure, at_most, exactly, noted
from ..site import Answer, Site
from ..stage import Database, Stage
from ..trial import trial

LIST = "/layer-runs/"
RUNS = "layer_runs_layerrun"


@trial("T12", "PostgreSQL restarts, fast and at once, under load; then while nobody looks", on=("postgresql",))
def restarts(stage: Stage) -> Iterator[Figure]:
    down: list[tuple[float, float]] = []
    with stage.database() as database, stage.site(database) as site:
        with Readers(site, 4, stage.seed) as readers, Writers(stage, database, 4, 3_600) as writers:
            writers.at_work()
            for mode in ("fast", "immediate"):
                time.sleep(2 if stage.quick else 6)
                begun = time.monotonic() - readers.begun
                stage.cluster.stop(mode)
                time.sleep(2)
                stage.cluster.start()
                down.append((begun, time.monotonic() - readers.begun))
                after = site.get(LIST)
                yield exactly(f"the first page after a restart ({mode})", after.status, 200)
            time.sleep(2 if stage.quick else 6)
        lost = writers.lost()
        good = 0
        for _ in range(12):
            stage.cluster.stop("fast")
            stage.cluster.start()
            good += site.get(LIST).status == 200
    refused = [(at, at + took / 1000) for at, _path, status, took in readers.answers if status == 503]
    # One that was under way when the server went is answered then, however long ago it began.
    stray = [each for each in refused if not any(each[0] <= end and begun <= each[1] for begun, end in down)]
    yield noted("pages read", len(readers.answers))
    yield noted("answers 503", len(refused))
    yield exactly("of them without Retry-After", readers.without_retry)
    yield exactly("of them while it was up", len(stray))
    yield exactly("other answers 5xx or none", readers.failed(but=(503,)) + readers.broken)
    yield noted("writes kept", len(writers.acked("created")) + len(writers.acked("finished")))
    yield exactly("of them lost", lost)
    yield exactly("first pages after 12 idle restarts", good, 12)


@trial("T13", "PostgreSQL has no connection, no lock and no time left", on=("postgresql",))
def strain(stage: Stage) -> Iterator[Figure]:
    with stage.database() as database:
        for what, take in (
            ("every connection taken", _take_connections),
            ("the table locked", _lock_table),
            ("queries that take too long", _slow_table),
        ):
            # Shorter than a site has it, so that what is measured is the end of it.
            with stage.site(database, DJANGO_STATEMENT_TIMEOUT="5") as site:
                yield from _strained(stage, site, database, what, take)


def _strained(stage: Stage, site: Site, database: Database, what: str, take: Callable[..., None]) -> Iterator[Figure]:
    seconds = 8 if stage.quick else 30
    if take is _take_connections:
        # Connections that the site already has are its own: they go first.
        with stage.cluster.connect() as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name])
    with ExitStack() as strain:
        take(stage, database, strain)
        answers = _asked(site, seconds)
    begun = time.monotonic()
    processes.wait_until(lambda: site.get(LIST).status == 200, 30)
    recovered = time.monotonic() - begun
    yield noted(f"{what}: answers in {seconds} s", len(answers))
    yield exactly(f"{what}: other answers than 503", sum(answer.status != 503 for answer in answers))
    yield exactly(f"{what}: without Retry-After", sum("Retry-After" not in answer.headers for answer in answers))
    yield at_most(f"{what}: slowest of them", max(answer.took for answer in answers) / 1000, 6.0, "s")
    yield at_most(f"{what}: until a page comes again", recovered, 2.0, "s")


def _asked(site: Site, seconds: float) -> list[Answer]:
    answers, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        answers.append(site.get(LIST))
        time.sleep(0.2)
    return answers


def _take_connections(stage: Stage, database: Database, strain: ExitStack) -> None:
    try:
        while True:
            strain.enter_context(stage.cluster.connect())
    except psycopg.OperationalError:
        return


def _lock_table(stage: Stage, database: Database, strain: ExitStack) -> None:
    holder = strain.enter_context(psycopg.connect(database.url))
    holder.execute(f"LOCK TABLE {RUNS} IN ACCESS EXCLUSIVE MODE")


def _slow_table(stage: Stage, database: Database, strain: ExitStack) -> None:
    """Put a view in the place of the table that sleeps longer than a query may take."""
    with stage.cluster.connect(database.name) as admin:
        admin.execute(f"ALTER TABLE {RUNS} RENAME TO {RUNS}_kept")
        admin.execute(f"CREATE VIEW {RUNS} AS SELECT * FROM {RUNS}_kept WHERE pg_sleep(20) IS NOT NULL")

    def restore() -> None:
        with stage.cluster.connect(database.name) as admin:
            admin.execute(f"DROP VIEW {RUNS}")
            admin.execute(f"ALTER TABLE {RUNS}_kept RENAME TO {RUNS}")

    strain.callback(restore)
