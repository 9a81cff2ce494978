"""T03, T16: people who look, and connections that only pretend to."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

from ..crews import Readers
from ..figures import Figure, at_most, exactly, noted
from ..proxy import buffering
from ..site import HOST
from ..stage import Stage
from ..trial import trial

HALF = b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nusername="


@trial("T03", "8 readers look at the list, filters, runs and lenses")
def browse(stage: Stage) -> Iterator[Figure]:
    seconds = 10 if stage.quick else 60
    with stage.database() as database, stage.site(database) as site, Readers(site, 8, stage.seed) as readers:
        time.sleep(seconds / 4)
        early = site.resident_mb
        time.sleep(seconds * 3 / 4)
        late = site.resident_mb
    yield noted("pages", len(readers.answers))
    yield exactly("answers 5xx", readers.failed())
    yield exactly("other answers than 200", sum(number for status, number in readers.statuses.items() if status != 200))
    yield noted("median", readers.took(0.5), "ms")
    yield at_most("p95", readers.took(0.95), 500, "ms")
    yield at_most("p99", readers.took(0.99), 1000, "ms")
    yield at_most("memory of a worker", late, 250, "MB")
    yield at_most("its growth after the first quarter", (late / early - 1) * 100, 10, "%")


@trial("T16", "50 requests that are never sent to their end", on=("sqlite",))
def slow_clients(stage: Stage) -> Iterator[Figure]:
    with stage.database() as database, stage.site(database) as site:
        with ExitStack() as held:
            _half(site.port, held)
            time.sleep(3)
        begun = time.monotonic()
        answer = site.login_page()
        # Without a proxy they hold every thread: nothing is promised until they are gone.
        yield at_most("without a proxy: until a page comes once they are gone", time.monotonic() - begun, 30, "s")
        yield exactly("without a proxy: its status", answer.status, 200)
        with buffering(site.port) as port, ExitStack() as held:
            site.port = port
            _half(port, held)
            with Readers(site, 4, stage.seed) as readers:
                time.sleep(5 if stage.quick else 15)
    yield noted("behind a proxy that buffers requests: pages of 4 readers", len(readers.answers))
    yield exactly("behind it: answers 5xx or none", readers.failed() + readers.broken)
    yield at_most("behind it: p99", readers.took(0.99), 2000, "ms")


def _half(port: int, held: ExitStack) -> None:
    for _ in range(50):
        half = held.enter_context(socket.create_connection((HOST, port), timeout=5))
        half.sendall(HALF)
    time.sleep(0.5)
