"""What a trial measured and the mark it had to meet; the median of three where a time was missed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

TIMES = ("ms", "s", "MB", "%")


@dataclass(frozen=True)
class Figure:
    """One line of the report. Without an `operator` nothing was promised."""

    name: str
    value: float
    unit: str = ""
    operator: str = ""
    bound: float = 0

    @property
    def met(self) -> bool | None:
        if not self.operator:
            return None
        return self.value <= self.bound if self.operator == "<=" else self.value == self.bound

    @property
    def is_measured(self) -> bool:
        """Whether a busy machine can be to blame: then it is judged by its median. A count is not."""
        return self.unit in TIMES

    @property
    def text(self) -> str:
        return _text(self.value, self.unit)

    @property
    def mark(self) -> str:
        return f"{self.operator} {_text(self.bound, self.unit)}" if self.operator else ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"met": self.met}


def _text(value: float, unit: str) -> str:
    number = f"{value:,.1f}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"
    return f"{number} {unit}".rstrip()


def at_most(name: str, value: float, bound: float, unit: str = "") -> Figure:
    return Figure(name, value, unit, "<=", bound)


def exactly(name: str, value: float, bound: float = 0, unit: str = "") -> Figure:
    return Figure(name, value, unit, "=", bound)


def noted(name: str, value: float, unit: str = "") -> Figure:
    return Figure(name, value, unit)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all are not above; of nothing, 0."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def judged(rounds: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Return one verdict of several rounds: what is measured by its median, what is counted by its worst."""
    by_name: dict[str, list[Figure]] = {}
    for figure in (figure for figures in rounds for figure in figures):
        by_name.setdefault(figure.name, []).append(figure)
    return [_verdict(figures) for figures in by_name.values()]


def _verdict(figures: list[Figure]) -> Figure:
    first = figures[0]
    if first.is_measured:
        return Figure(
            first.name, statistics.median(each.value for each in figures), first.unit, first.operator, first.bound
        )
    return next((figure for figure in figures if figure.met is False), figures[-1])


def is_worth_repeating(figures: Sequence[Figure]) -> bool:
    """Whether only times were missed: what was lost or refused stays so."""
    missed = [figure for figure in figures if figure.met is False]
    return bool(missed) and all(figure.is_measured for figure in missed)
