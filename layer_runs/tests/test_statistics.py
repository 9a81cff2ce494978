"""A rank and a test, computed another way."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import product
from math import comb

import pytest

from layer_runs.statistics import fisher, nearest_rank


def by_counting(bad: int, good: int, other_bad: int, other_good: int) -> Fraction:
    """The two-sided p by its definition, in whole numbers: every table with these margins is one way to draw."""
    drawn, bads, total = bad + good, bad + other_bad, bad + good + other_bad + other_good
    ways = {
        k: comb(bads, k) * comb(total - bads, drawn - k)
        for k in range(max(0, drawn + bads - total), min(drawn, bads) + 1)
    }
    return Fraction(sum(way for way in ways.values() if way <= ways[bad]), sum(ways.values()))


def test_every_small_table_gets_the_p_of_its_definition():
    for table in product(range(7), repeat=4):
        assert fisher(*table) == pytest.approx(float(by_counting(*table)), rel=1e-12), table


def test_tables_of_thousands_of_runs_get_the_p_of_their_definition():
    for n in range(40):
        table = (n * 13 % 97, 100 + n * 47, n * 29 % 211, 10 + n * 31 % 977)
        assert fisher(*table) == pytest.approx(float(by_counting(*table)), rel=1e-9), table


@pytest.mark.parametrize(
    ("table", "p"),
    [
        ((3, 1, 1, 3), 0.4857142857),  # Fisher's lady tasting tea, two-sided
        ((2, 10, 15, 3), 0.0005367241),  # convictions of twins: Fisher 1935, as R's ?fisher.test has it
        ((1, 9, 11, 3), 0.0027594562),  # dieting, the example of Wikipedia
        ((8, 2, 1, 5), 0.0349650350),  # whales, the example of SciPy
        ((2, 7, 8, 2), 0.0230141376),  # the rest: the references of SciPy's own tests, from R
        ((100, 2, 1000, 5), 0.1300759363),
        ((5, 1, 10, 10), 0.1973244147),
        ((5, 15, 20, 20), 0.0958044001),
        ((5, 16, 20, 25), 0.1725864954),
        ((5, 0, 1, 4), 0.0476190476),
    ],
)
def test_published_tables_get_their_published_p(table, p):
    assert fisher(*table) == pytest.approx(p, abs=5e-11)


def test_the_order_of_the_sides_and_of_good_and_bad_does_not_matter():
    assert fisher(3, 14, 0, 19) == pytest.approx(fisher(0, 19, 3, 14), rel=1e-12)
    assert fisher(3, 14, 0, 19) == pytest.approx(fisher(14, 3, 19, 0), rel=1e-12)


@pytest.mark.parametrize("table", [(0, 0, 0, 0), (0, 0, 3, 4), (5, 5, 0, 0), (0, 9, 0, 30), (9, 0, 30, 0)])
def test_a_table_that_can_only_be_what_it_is_says_nothing(table):
    assert fisher(*table) == 1.0


def test_a_million_runs_are_tested_in_no_time_and_what_cannot_be_chance_is_none():
    begun = time.perf_counter()
    assert fisher(250_000, 250_000, 250_100, 249_900) == pytest.approx(0.84, abs=0.01)
    assert fisher(400_000, 100_000, 100_000, 400_000) == 0.0
    assert time.perf_counter() - begun < 1


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="negative"):
        fisher(-1, 2, 3, 4)


def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed():
    for size in range(1, 130):
        ordered = sorted(number * 7_919 % 50 for number in range(size))
        for percent in (1, 5, 50, 95, 99, 100):
            enough = [v for v in ordered if sum(other <= v for other in ordered) * 100 >= percent * size]
            assert nearest_rank(ordered, percent) == min(enough), (size, percent)


def test_the_percentile_of_nothing_is_nothing():
    assert nearest_rank([], 50) is None
