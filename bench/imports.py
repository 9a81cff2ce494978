"""How fast `import_zos` brings runs in, with their calls."""

from __future__ import annotations

import io
import statistics
from pathlib import Path

from django.core.management import call_command

from . import zos
from .databases import anew
from .report import Figure
from .timing import Sample, clocked, sample_of

AT_LEAST = 1_000


def figures(directory: Path, number: int, rounds: int) -> list[Figure]:
    """Import a new Zos database into an empty one and then once more, a few times over."""
    path = directory / "zos.db"
    calls = zos.write(path, number)
    taken: dict[str, list[tuple[float, float]]] = {"first import": [], "again, unchanged": []}
    for _ in range(rounds):
        anew("imported")
        for times in taken.values():
            with clocked(times):
                call_command("import_zos", str(path), stdout=io.StringIO())
    for leftover in directory.glob(f"{path.name}*"):
        leftover.unlink()
    return [
        _speed(f"{name}, {calls / number:.1f} calls a run", number, sample_of(times)) for name, times in taken.items()
    ]


def _speed(name: str, number: int, sample: Sample) -> Figure:
    """Turn times into runs a second; under p95 stands the slowest."""
    median, slowest, cpu = sample.median, max(sample.times), statistics.median(sample.cpu)
    speeds = [f"{number / milliseconds * 1000:,.0f}/s" for milliseconds in (median, slowest, cpu)]
    return Figure(name, *speeds, target=f">= {AT_LEAST:,}/s", met=number / median * 1000 >= AT_LEAST)
