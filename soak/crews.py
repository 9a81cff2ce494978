"""Crews at work on the site: readers as threads over HTTP, writers as processes of their own."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from . import processes
from .figures import percentile
from .site import LENSES, Answer, Site
from .stage import Database, Stage


def page(site: Site, dice: random.Random) -> str:
    """Return what a member of staff opens next: the list, a filter, a run, a lens."""
    ids, layers = site.known["ids"], site.known["layers"]
    path = dice.choices(
        ("", f"?page={dice.randint(2, 9)}", f"?layer_name={dice.choice(layers)}", "?status=failed", "?period=30d",
         "?q=overloaded", f"{dice.choice(ids)}/", dice.choice(LENSES)),
        weights=(3, 1, 1, 2, 1, 1, 4, 3),
    )[0]  # fmt: skip
    return f"/layer-runs/{path}"


class Readers:
    """Threads that open one page after the other, and what they were answered: (second, path, status, ms)."""

    def __init__(self, site: Site, number: int, seed: int, choose: Callable[..., str] = page) -> None:
        self.answers: list[tuple[float, str, int, float]] = []
        # Answers 503 without saying when to come back.
        self.without_retry = 0
        self._site, self._choose, self._stop = site, choose, threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(random.Random(seed * 1000 + n),), daemon=True)
            for n in range(number)
        ]

    def __enter__(self) -> Self:
        self.begun = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(70)

    def _read(self, dice: random.Random) -> None:
        while not self._stop.is_set():
            path, at = self._choose(self._site, dice), time.monotonic()
            answer = self._site.get(path)
            self.note(path, at, answer)
            if not answer.status:
                time.sleep(0.05)

    def note(self, path: str, at: float, answer: Answer) -> None:
        self.answers.append((at - self.begun, path, answer.status, answer.took))
        if answer.status == 503 and "Retry-After" not in answer.headers:
            self.without_retry += 1

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for _at, _path, status, _took in self.answers)

    def failed(self, *, but: tuple[int, ...] = ()) -> int:
        """Return how many answers were 5xx, except these."""
        return sum(number for status, number in self.statuses.items() if status >= 500 and status not in but)

    @property
    def broken(self) -> int:
        return self.statuses[0]

    def worst(self) -> list[tuple[str, int, float]]:
        """Return the slowest good answers, for whoever wants to know why."""
        return sorted(((p, s, t) for _at, p, s, t in self.answers), key=lambda each: -each[2])[:5]

    def took(self, share: float) -> float:
        """Return a percentile of the good answers in ms."""
        return percentile([took for *_where, status, took in self.answers if 0 < status < 400], share)


class Writers:
    """Processes that create and finish runs through the models, and what they were told is stored."""

    def __init__(self, stage: Stage, database: Database, number: int, seconds: float, pause: float = 0.02) -> None:
        self._stage, self._database, self._seconds, self._pause = stage, database, seconds, pause
        self._files = [stage.place(f"acks{n}") for n in range(number)]
        self._processes: list[subprocess.Popen[Any]] = []
        self._starts = 0

    def __enter__(self) -> Self:
        self._processes = [self._start(place) for place in range(len(self._files))]
        return self

    def at_work(self) -> None:
        """Wait until each has kept a run. Raises TimeoutError."""
        processes.wait_until(lambda: all(file.exists() and "finished" in file.read_text() for file in self._files), 60)

    def __exit__(self, *exception: Any) -> None:
        for process in self._processes:
            processes.end(process)

    def _start(self, place: int) -> subprocess.Popen[Any]:
        self._starts += 1
        arguments = ["--seconds", str(self._seconds), "--pause", str(self._pause)]
        command = processes.module("soak.writing", str(self._files[place]), *arguments, "--seed", str(self._starts))
        return processes.start(command, self._stage.env(self._database), self._stage.log)

    def kill_one(self, place: int) -> None:
        """Kill one in the middle of whatever it does, and let another take its place."""
        process = self._processes[place % len(self._processes)]
        process.kill()
        process.wait()
        self._processes[place % len(self._processes)] = self._start(place % len(self._processes))

    def wait(self, seconds: float) -> None:
        for process in self._processes:
            process.wait(seconds)

    def said(self) -> Iterator[dict[str, Any]]:
        for file in self._files:
            for line in file.read_text().splitlines() if file.exists() else ():
                yield json.loads(line)

    def acked(self, step: str) -> list[str]:
        return [line[step] for line in self.said() if step in line]

    def took(self, share: float) -> float:
        """Return a percentile of the writes that were kept, in ms."""
        return percentile([line["ms"] for line in self.said() if "ms" in line and "error" not in line], share)

    @property
    def errors(self) -> list[str]:
        return [line["error"] for line in self.said() if "error" in line]

    @property
    def longest(self) -> float:
        return max((line["longest"] for line in self.said() if "longest" in line), default=0.0)

    def lost(self, database: Database | None = None) -> int:
        """Return how many runs are not there as they were acknowledged: created, called, finished."""
        return lost(database or self._database, *(self.acked(step) for step in ("created", "called", "finished")))


def lost(database: Database, created: list[str], called: list[str], finished: list[str]) -> int:
    stored = dict(database.rows("SELECT id, status FROM layer_runs_layerrun WHERE layer_name LIKE 'soak-%'"))
    asked = "SELECT run_id, count(*) FROM layer_runs_llmcall WHERE topic IN ('t0', 't1', 't2') GROUP BY run_id"
    calls = dict(database.rows(asked))
    return (
        sum(run not in stored for run in created)
        + sum(calls.get(run) != 3 for run in called)
        + sum(stored.get(run) != "success" for run in finished)
    )


@contextmanager
def every(seconds: float, act: Callable[[int], None]) -> Iterator[None]:
    """Do something again and again beside what is inside."""
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.wait(seconds):
            act(number)
            number += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
