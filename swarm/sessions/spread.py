"""Distributions of what an agent does: lengths, counts and times, each given by what people publish of it."""

import math
import random
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

BLOCK = 8
"""Draws come in blocks of so many, one from each eighth of the distribution, in random order: a short window then sees
the whole of it, and two windows see nearly the same."""
_P90 = NormalDist().inv_cdf(0.9)


@dataclass(frozen=True, slots=True)
class Spread:
    """A lognormal distribution by its median and 90th percentile; values beyond `min` and `max` are cut to them.

    Lengths and times of agents are skewed to the right, and medians and 90th percentiles are what is published of
    them. A median of 0 is always 0.
    """

    median: float
    p90: float
    max: float
    min: float = 0.0

    def at(self, quantile: float) -> float:
        """The value below which so much (0..1) of the distribution lies."""
        if not self.median:
            return 0.0
        sigma = math.log(max(1.0, self.p90 / self.median)) / _P90
        return max(self.min, min(self.max, self.median * math.exp(sigma * NormalDist().inv_cdf(quantile))))

    @property
    def mean(self) -> float:
        return _mean(self)


@cache
def _mean(spread: Spread) -> float:
    return sum(spread.at((at + 0.5) / 1000) for at in range(1000)) / 1000


class Draws:
    """Quantiles to draw values at, from a seed: for each distribution blocks of its own."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._blocks: dict[str, list[float]] = {}
        self._random: dict[str, random.Random] = {}

    def value(self, name: str, spread: Spread) -> float:
        return spread.at(self.quantile(name))

    def count(self, name: str, spread: Spread) -> int:
        return max(1, round(self.value(name, spread)))

    def quantile(self, name: str) -> float:
        """Between 0 and 1, neither of them."""
        rng = self._random.setdefault(name, random.Random(f"{self._seed}:{name}"))
        block = self._blocks.setdefault(name, [])
        if not block:
            block += [(at + min(0.999, max(0.001, rng.random()))) / BLOCK for at in range(BLOCK)]
            rng.shuffle(block)
        return block.pop()
