"""Tiny columns without axes, for a cell of a table; all rows of a table share one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .axis import Number
from .bars import THINNEST
from .parts import percent, pixels


@dataclass(frozen=True)
class SparkBar:
    x: str
    width: str
    y: str
    height: str


@dataclass(frozen=True)
class Spark:
    """Tiny columns, for `_chart_spark.html`. `label` says in words what is seen; without it they are decoration."""

    label: str
    tone: str
    height: str
    base: str
    bars: Sequence[SparkBar]


def spark(values: Sequence[Number], *, top: Number, label: str = "", tone: str = "failed", height: int = 24) -> Spark:
    """Return a column for each value that is not 0; `top` is the value as high as `height`, the same in all rows."""
    slot = 1 / len(values) if values else 1
    # A pixel stays free below: the baseline.
    room = height - 1
    bars = []
    for index, value in enumerate(values):
        if value > 0:
            high = min(max(float(value / top) * room, THINNEST), room)
            bars.append(SparkBar(percent((index + 0.1) * slot), percent(0.8 * slot), pixels(room - high), pixels(high)))
    return Spark(label, tone, pixels(height), pixels(height - 0.5), bars)
