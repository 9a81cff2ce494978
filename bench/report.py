"""One table of what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from .timing import Sample


@dataclass(frozen=True)
class Figure:
    """A line of the table. `met` is None where nothing was promised."""

    name: str
    median: str
    p95: str = ""
    cpu: str = ""
    target: str = ""
    met: bool | None = None


def milliseconds(name: str, sample: Sample, *, at_most: float | None = None) -> Figure:
    target, met = ("", None) if at_most is None else (f"<= {at_most:g} ms", sample.median <= at_most)
    cpu = f"{statistics.median(sample.cpu):.2f} ms"
    return Figure(name, f"{sample.median:.2f} ms", f"{sample.p95:.2f} ms", cpu, target, met)


def ratio(name: str, sample: Sample, base: Sample, *, at_most: float = 0, at_least: float = 0) -> Figure:
    """Compare two medians: how many times `base` is `sample`."""
    times = sample.median / base.median
    if at_most:
        return Figure(name, f"{times:.2f}x", target=f"<= {at_most:g}x", met=times <= at_most)
    if at_least:
        return Figure(name, f"{times:.0f}x", target=f">= {at_least:g}x", met=times >= at_least)
    return Figure(name, f"{times:.1f}x")


def show(title: str, figures: Iterable[Figure]) -> None:
    """Print figures under a title as they come in, so that a long benchmark can be followed."""
    print(f"\n{title}\n{'':56}{'median':>12}{'p95':>12}{'(of it CPU)':>13}{'target':>12}")
    for figure in figures:
        verdict = "" if figure.met is None else "met" if figure.met else "NOT MET"
        line = f"  {figure.name:54}{figure.median:>12}{figure.p95:>12}{figure.cpu:>13}{figure.target:>12}  {verdict}"
        print(line.rstrip(), flush=True)
