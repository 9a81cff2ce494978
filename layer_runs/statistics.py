"""The statistics of the pages: a ratio, a rank and a test. Pure Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

# Two tables are as likely as each other when their floats differ by no more than rounding could.
_SAME = 1 + 1e-9


def per_target(figure: Decimal | int | None, processed: int) -> Decimal | None:
    """Return a figure for each target that was processed: those that failed count as a cost of the others.

    None where no target was processed, or there is no figure.
    """
    return Decimal(figure) / processed if processed and figure is not None else None


def nearest_rank(ordered: Sequence[int], percent: int) -> int | None:
    """Return the smallest value that at least `percent` of the sorted values do not exceed; None of none.

    The nearest-rank percentile: always a value that was seen, and what percentile_disc() of PostgreSQL returns.
    """
    if not ordered:
        return None
    return ordered[max(-(-percent * len(ordered) // 100), 1) - 1]


def fisher(bad: int, good: int, other_bad: int, other_good: int) -> float:
    """Return the two-sided p of Fisher's exact test: how often chance alone splits the bad ones so unevenly.

    The sum over all tables with these margins that are no more likely than this one, as R and SciPy define it.
    Raises ValueError for a negative count.
    """
    if min(bad, good, other_bad, other_good) < 0:
        raise ValueError("A count cannot be negative.")
    drawn, bads, total = bad + good, bad + other_bad, bad + good + other_bad + other_good
    if not 0 < drawn < total or not 0 < bads < total:
        return 1.0
    weights = dict(_hypergeometric(drawn, bads, total))
    # What is not among them is too unlikely for a float.
    observed = weights.get(bad, 0.0)
    as_unlikely = sum(sorted(weight for weight in weights.values() if weight <= observed * _SAME))
    return min(as_unlikely / sum(sorted(weights.values())), 1.0)


def _hypergeometric(drawn: int, bads: int, total: int) -> Iterator[tuple[int, float]]:
    """Yield each count of bad ones among `drawn` of `total`, with its probability over that of the likeliest.

    By ratios of neighbours, outwards from the likeliest until a float cannot tell the rest from nothing: no
    factorial overflows, and thousands of runs take as many steps as there are counts that can happen at all.
    """
    least, most = max(0, drawn + bads - total), min(drawn, bads)
    mode = min(max((drawn + 1) * (bads + 1) // (total + 2), least), most)
    yield mode, 1.0
    weight, count = 1.0, mode
    while weight and count < most:
        weight *= (drawn - count) * (bads - count) / ((count + 1) * (total - drawn - bads + count + 1))
        count += 1
        yield count, weight
    weight, count = 1.0, mode
    while weight and count > least:
        weight *= count * (total - drawn - bads + count) / ((drawn - count + 1) * (bads - count + 1))
        count -= 1
        yield count, weight
