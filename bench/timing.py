"""Measuring: one after the other in turns, so that a noisy minute hits every figure alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection

Action = Callable[[], object]


@dataclass(frozen=True)
class Sample:
    """Times of one action in milliseconds, in the order they were taken, and what of them this process computed."""

    times: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        return sorted(self.times)[max(round(len(self.times) * 0.95) - 1, 0)]

    def minus(self, other: Sample) -> Sample:
        """Return the differences, turn by turn."""
        return Sample(_differences(self.times, other.times), _differences(self.cpu, other.cpu))


def interleaved(actions: Mapping[str, Action], rounds: int, warm_up: int = 3) -> dict[str, Sample]:
    """Time every action once a round, after a few rounds that do not count."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for turn in range(-warm_up, rounds):
        for name, action in actions.items():
            with clocked() as times:
                action()
            if turn >= 0:
                taken[name] += times
    return {name: sample_of(pairs) for name, pairs in taken.items()}


@contextmanager
def clocked(times: list[tuple[float, float]] | None = None) -> Iterator[list[tuple[float, float]]]:
    """Add the milliseconds and CPU milliseconds of what is inside to `times`."""
    times = [] if times is None else times
    start, start_cpu = time.perf_counter(), time.process_time()
    yield times
    cpu, wall = time.process_time() - start_cpu, time.perf_counter() - start
    times.append((wall * 1000, cpu * 1000))


def sample_of(pairs: Sequence[tuple[float, float]]) -> Sample:
    return Sample(*zip(*pairs, strict=True))


def _differences(these: Sequence[float], others: Sequence[float]) -> tuple[float, ...]:
    return tuple(mine - theirs for mine, theirs in zip(these, others, strict=True))


@contextmanager
def queries() -> Iterator[list[tuple[str, Sequence[Any]]]]:
    """Collect the SQL of the default database with its parameters."""
    asked: list[tuple[str, Sequence[Any]]] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield asked


def ask(sql: str, params: Sequence[Any]) -> None:
    """Run a query and take all its rows, as a page does."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        cursor.fetchall()
