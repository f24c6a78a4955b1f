"""Trends, changes and differences by ranks: a few odd values move none of them, and no distribution is assumed.

Plain Python, so that a soak and its gate need no more than the core install: scipy, which has the first of these, would
be 215 MB for forty lines. Every interval is two-sided.
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist, median
from typing import NamedTuple

Interval = tuple[float, float]


class Estimate(NamedTuple):
    """A value and the interval that holds the true one with the asked-for confidence."""

    value: float
    low: float
    high: float


class Change(NamedTuple):
    """Between the values before position `at` and those from it on."""

    at: int
    p: float
    """Chance of as clear a change in values that do not change."""


def mad(values: Sequence[float]) -> float:
    """Median absolute deviation from the median."""
    middle = median(values)
    return median(abs(value - middle) for value in values)


def theil_sen(x: Sequence[float], y: Sequence[float], level: float = 0.99) -> Estimate:
    """The slope of y over x, the median of the slopes of all pairs: at least three points, `x` without repeats.

    Source: Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968).
    """
    count = len(y)
    slopes = sorted((y[j] - y[i]) / (x[j] - x[i]) for i in range(count) for j in range(i + 1, count))
    ties = sum(k * (k - 1) * (2 * k + 5) for k in Counter(y).values())
    spread = _z(level) * math.sqrt(max(0, count * (count - 1) * (2 * count + 5) - ties) / 18)
    return Estimate(median(slopes), *_ranks(slopes, spread / 2))


def shift(before: Sequence[float], after: Sequence[float], level: float = 0.99) -> Estimate:
    """How much higher `after` is: the median difference of all pairs, with Mann and Whitney's interval.

    With few values the interval is the whole range of the differences. Source: Hodges, Lehmann, "Estimates of location
    based on rank tests", Annals of Mathematical Statistics 34 (1963).
    """
    pairs = len(before) * len(after)
    differences = sorted(late - early for early in before for late in after)
    return Estimate(
        median(differences), *_ranks(differences, _z(level) * math.sqrt(pairs * (len(before) + len(after) + 1) / 12))
    )


def change(values: Sequence[float], least: int = 1) -> Change:
    """Whether the level changes once (Pettitt's test), and where: at least `least` values from either end.

    The test's own position is drawn towards the middle where the levels themselves drift a little; so the position is
    the one that leaves the smallest sum of absolute deviations from the medians of both sides.
    Source: Pettitt, "A non-parametric approach to the change-point problem", Applied Statistics 28 (1979).
    """
    count = len(values)
    best = sum_of_signs = 0
    for position in range(1, count):
        last = values[position - 1]
        sum_of_signs += sum((value < last) - (value > last) for value in values)
        best = max(best, abs(sum_of_signs))
    p = min(1.0, 2 * math.exp(-6 * best * best / (count**3 + count**2)))
    at = min(range(least, count - least + 1), key=lambda at: _deviations(values[:at]) + _deviations(values[at:]))
    return Change(at, p)


def _deviations(values: Sequence[float]) -> float:
    middle = median(values)
    return sum(abs(value - middle) for value in values)


def changes(values: Sequence[float], p: float, least: int) -> list[int]:
    """Positions of all changes by binary segmentation: each stretch of 2 `least` values or more is cut again."""
    if len(values) < 2 * least:
        return []
    found = change(values, least)
    if found.p > p:
        return []
    behind = changes(values[found.at :], p, least)
    return [*changes(values[: found.at], p, least), found.at, *(found.at + at for at in behind)]


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _ranks(ordered: Sequence[float], half: float) -> Interval:
    """The order statistics `half` ranks below and above the middle."""
    low = max(0, round(len(ordered) / 2 - half) - 1)
    high = min(len(ordered) - 1, round(len(ordered) / 2 + half))
    return ordered[low], ordered[high]
