"""Why spending changed: one factor replaced after the other, so that the parts sum to the whole. Pure Python.

With C the cost, T the targets worked on, K the tokens and p the price a token, 0 before and 1 now:

    volume     C0 * T1/T0                    - C0
    verbosity  K1 * C0/K0                    - C0 * T1/T0
    mix        sum over models of K1[m]*p0[m] - K1 * C0/K0
    price      C1                            - sum over models of K1[m]*p0[m]

Each line begins where the one before it ends (Dietzenbacher and Los, 1998: a decomposition of one chosen order).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

NANOS = 10**9


@dataclass(frozen=True)
class Spend:
    """What one layer did in one window; `models` holds its tokens and its cost in US dollars a model."""

    runs: int = 0
    targets: int = 0
    models: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(tokens for tokens, _cost in self.models.values())

    @property
    def cost(self) -> Decimal:
        return sum((cost for _tokens, cost in self.models.values()), Decimal(0))


@dataclass(frozen=True)
class Parts:
    """A difference in US dollars, by its causes in the order they are taken."""

    volume: Decimal = Decimal(0)
    verbosity: Decimal = Decimal(0)
    mix: Decimal = Decimal(0)
    price: Decimal = Decimal(0)

    @property
    def whole(self) -> Decimal:
        return self.volume + self.verbosity + self.mix + self.price

    def __add__(self, other: Parts) -> Parts:
        return Parts(
            self.volume + other.volume,
            self.verbosity + other.verbosity,
            self.mix + other.mix,
            self.price + other.price,
        )


def explain(before: Mapping[str, Spend], now: Mapping[str, Spend]) -> dict[str, Parts]:
    """Return for each layer of either window why its cost is another."""
    elsewhere = prices(before.values())
    nothing = Spend()
    return {layer: split(before.get(layer, nothing), now.get(layer, nothing), elsewhere) for layer in {**before, **now}}


def prices(spends: Iterable[Spend]) -> dict[str, Fraction]:
    """Return what a token of each model cost on average, where there were any."""
    sums: dict[str, tuple[int, Decimal]] = {}
    for spend in spends:
        for model, (tokens, cost) in spend.models.items():
            some = sums.get(model, (0, Decimal(0)))
            sums[model] = some[0] + tokens, some[1] + cost
    return {model: Fraction(cost) / tokens for model, (tokens, cost) in sums.items() if tokens > 0}


def split(before: Spend, now: Spend, elsewhere: Mapping[str, Fraction] | None = None) -> Parts:
    """Return why one layer costs more or less, to the nano-dollar.

    A model that is new in the layer takes its price `elsewhere` before, or its price now where there is none:
    either way its coming is a matter of the mix.
    """
    whole = now.cost - before.cost
    units = (before.targets, now.targets) if before.targets or now.targets else (before.runs, now.runs)
    if not all(units):
        # A layer that is new or gone: there is no target before, or none now, to compare with.
        return Parts(volume=whole)
    old_prices = prices([now]) | dict(elsewhere or {}) | prices([before])
    at_old_prices = sum(tokens * old_prices.get(model, Fraction(0)) for model, (tokens, _cost) in now.models.items())
    at_old_mix = now.tokens * Fraction(before.cost) / before.tokens if before.tokens > 0 else at_old_prices
    at_old_length = Fraction(before.cost) * units[1] / units[0]
    volume = _usd(at_old_length - Fraction(before.cost))
    verbosity = _usd(at_old_mix - at_old_length)
    mix = _usd(at_old_prices - at_old_mix)
    # The rest, whatever was rounded away: the parts sum to the whole.
    return Parts(volume, verbosity, mix, whole - volume - verbosity - mix)


def _usd(amount: Fraction) -> Decimal:
    return Decimal(round(amount * NANOS)).scaleb(-9)
