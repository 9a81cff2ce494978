"""The axis of values: round numbers from 0 to just above the largest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import count as integers
from typing import Any

from .. import formatting

# At most so many lines above 0: enough to read a height by, and no grid.
LINES = 3
# A unit in milliseconds, and the one its rest is counted in; the rest of a day is a part of it.
_PARTS = ((86_400_000, " d", 0, ""), (3_600_000, "h", 60_000, "m"), (60_000, "m", 1_000, "s"))

Number = int | Decimal


@dataclass(frozen=True)
class Unit:
    """What values are: how a table writes one, how an axis does, and the distances its lines may have."""

    text: Callable[[Any], str]
    axis_text: Callable[[Any], str]
    steps: Callable[[], Iterator[Number]]


@dataclass(frozen=True)
class Tick:
    """A line of the grid."""

    value: Number
    text: str


@dataclass(frozen=True)
class Axis:
    """From 0 to `top`, which is never less than the largest value, and never 0."""

    top: Number
    ticks: list[Tick]

    def share(self, value: Number) -> float:
        """Return how far up a value lies, from 0 to 1; one below 0 or above the top lies at that end."""
        return min(max(float(value / self.top), 0.0), 1.0)


def axis(largest: Number, unit: Unit) -> Axis:
    """Return the axis with the closest lines that needs at most three of them above 0."""
    if largest <= 0:
        top = next(unit.steps())
        return Axis(top, [Tick(top * 0, unit.axis_text(top * 0))])
    for step in unit.steps():
        # Without floats: a sum of money is as exact here as everywhere.
        lines = int(largest // step) + (largest % step > 0)
        if lines <= LINES:
            return Axis(step * lines, [Tick(step * n, unit.axis_text(step * n)) for n in range(lines + 1)])
    raise ValueError("The steps of a unit never end.")


def _whole() -> Iterator[int]:
    yield from (1, 2, 5)
    yield from (digit * 10**power for power in integers() for digit in (10, 20, 25, 50))


def _nano_dollars() -> Iterator[Decimal]:
    return (Decimal(digit).scaleb(power) for power in integers(-9) for digit in ("1", "2", "2.5", "5"))


def _milliseconds() -> Iterator[int]:
    """Yield the lengths a clock is divided into, in milliseconds; from a day on, round numbers of days."""
    yield from (1, 2, 5, 10, 20, 50, 100, 200, 500)
    for unit in (1_000, 60_000):
        yield from (unit * number for number in (1, 2, 5, 10, 15, 30))
    yield from (3_600_000 * number for number in (1, 2, 3, 6, 12))
    yield from (86_400_000 * number for number in _whole())


def dollars(value: Decimal) -> str:
    """Return a round sum of US dollars, for an axis: `$0`, `$0.05`, `$2`, `$12K`."""
    if value == value.to_integral_value():
        return f"${formatting.compact(int(value))}"
    places = -value.normalize().as_tuple().exponent
    return f"${value:,.{max(places, 2)}f}"


def clock(milliseconds: int) -> str:
    """Return a round length of time, for an axis: `0`, `500 ms`, `1.5 s`, `1m 30s`, `2h`, `1.5 d`."""
    if milliseconds == 0:
        return "0"
    for size, unit, part, smaller in _PARTS:
        if milliseconds >= size:
            whole, rest = divmod(milliseconds, size)
            if rest and part:
                return f"{whole}{unit} {rest // part:02}{smaller}"
            return f"{Decimal(milliseconds) / size:,.10g}{unit}"
    return f"{milliseconds} ms" if milliseconds < 1_000 else f"{Decimal(milliseconds) / 1_000:.10g} s"


COUNT = Unit(formatting.count, formatting.compact, _whole)
USD = Unit(formatting.usd, dollars, _nano_dollars)
MILLISECONDS = Unit(formatting.duration, clock, _milliseconds)
