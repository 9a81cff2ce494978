"""Why spending changed: parts that sum to the whole, each moved by its own factor alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal

import pytest

from layer_runs.decomposition import Parts, Spend, explain, split

NOTHING = Parts()


def usd(text: str) -> Decimal:
    return Decimal(text)


def layer(targets: int, *, runs: int = 3, **models: tuple[int, str]) -> Spend:
    """Return a layer's spending, its models named as keywords."""
    return Spend(runs, targets, {name: (tokens, usd(cost)) for name, (tokens, cost) in models.items()})


BEFORE = layer(10, sonnet=(1_000, "3.00"), haiku=(1_000, "1.00"))


@pytest.mark.parametrize(
    ("now", "parts"),
    [
        (BEFORE, NOTHING),
        # Twice the targets with twice the tokens: all else is as before.
        (layer(20, sonnet=(2_000, "6.00"), haiku=(2_000, "2.00")), Parts(volume=usd("4"))),
        # Half as many tokens for a target.
        (layer(10, sonnet=(500, "1.50"), haiku=(500, "0.50")), Parts(verbosity=usd("-2"))),
        # The same tokens, all of them from the dear model.
        (layer(10, sonnet=(2_000, "6.00")), Parts(mix=usd("2"))),
        # The same tokens of each model, one of them dearer.
        (layer(10, sonnet=(1_000, "3.50"), haiku=(1_000, "1.00")), Parts(price=usd("0.5"))),
        # A third model, that nobody used before, at the price it has now.
        (layer(10, sonnet=(1_000, "3.00"), opus=(1_000, "9.00")), Parts(mix=usd("8"))),
    ],
    ids=["nothing", "volume", "verbosity", "mix", "price", "a new model"],
)
def test_each_factor_alone_moves_its_own_part_alone(now: Spend, parts: Parts) -> None:
    assert split(BEFORE, now) == parts


def test_the_parts_are_taken_in_the_order_that_is_stated() -> None:
    # Worked out by hand from the formula of the module: C0 = 4, T 10 -> 15, K 2,000 -> 4,500.
    now = layer(15, sonnet=(3_000, "12.00"), haiku=(1_500, "1.50"))
    assert split(BEFORE, now) == Parts(
        volume=usd("2"),  # 4 * 15/10 = 6
        verbosity=usd("3"),  # 4,500 * 4/2,000 = 9
        mix=usd("1.5"),  # 3,000 * 0.003 + 1,500 * 0.001 = 10.5
        price=usd("3"),  # 13.5
    )


def test_a_model_that_is_new_in_a_layer_takes_its_price_from_the_layers_that_used_it() -> None:
    before = {"a": layer(10, sonnet=(1_000, "3.00")), "b": layer(10, opus=(1_000, "5.00"))}
    now = {"a": layer(10, opus=(1_000, "6.00")), "b": layer(10, opus=(1_000, "5.00"))}
    assert explain(before, now) == {"a": Parts(mix=usd("2"), price=usd("1")), "b": NOTHING}


def test_a_layer_that_is_new_or_gone_is_volume_altogether() -> None:
    gone, new = layer(4, sonnet=(100, "1.25")), layer(2, opus=(70, "0.75"))
    assert explain({"gone": gone}, {"new": new}) == {"gone": Parts(usd("-1.25")), "new": Parts(usd("0.75"))}


def test_a_layer_that_works_on_no_targets_is_measured_by_its_runs() -> None:
    before, now = layer(0, runs=2, sonnet=(100, "1.00")), layer(0, runs=4, sonnet=(300, "3.00"))
    assert split(before, now) == Parts(volume=usd("1"), verbosity=usd("1"))


def odd_cases() -> Iterator[tuple[Spend, Spend]]:
    """Yield pairs of spendings with every zero that can divide, and a cost that no tokens explain."""
    some = [
        Spend(),
        layer(0, runs=0, sonnet=(10, "1")),
        layer(0, runs=1, sonnet=(0, "1")),
        layer(5, runs=1),
        layer(5, runs=1, sonnet=(0, "0")),
        layer(5, runs=1, sonnet=(0, "2")),
        layer(5, runs=1, sonnet=(10, "0")),
        layer(5, runs=1, **{"": (-10, "-1")}),
        layer(5, runs=1, sonnet=(10, "1"), **{"": (-10, "-0.25")}),
        BEFORE,
    ]
    yield from ((before, now) for before in some for now in some)


@pytest.mark.parametrize(("before", "now"), list(odd_cases()))
def test_no_zero_breaks_the_sum(before: Spend, now: Spend) -> None:
    assert split(before, now).whole == now.cost - before.cost


def test_the_parts_sum_to_the_difference_to_the_nano_dollar() -> None:
    dice = random.Random(20261122)  # noqa: S311

    def some_layer() -> Spend:
        models = dice.sample(["opus", "sonnet", "haiku", "mini"], dice.randint(1, 4))
        return Spend(
            runs=dice.randint(1, 9),
            targets=dice.randint(1, 97),
            models={m: (dice.randint(1, 10**9), Decimal(dice.randint(0, 10**13)).scaleb(-9)) for m in models},
        )

    for _round in range(200):
        before, now = ({name: some_layer() for name in dice.sample("abcdef", 4)} for _window in "01")
        parts = explain(before, now)
        for name in {*before, *now}:
            difference = now.get(name, Spend()).cost - before.get(name, Spend()).cost
            assert parts[name].whole == difference
            assert all(part == part.quantize(usd("1e-9")) for part in vars(parts[name]).values())
        whole = sum(parts.values(), NOTHING).whole
        assert whole == sum(spend.cost for spend in now.values()) - sum(spend.cost for spend in before.values())
