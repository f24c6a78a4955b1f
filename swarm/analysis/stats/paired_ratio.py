"""Confidence over trials: t intervals, and whether two things that were measured trial by trial differ."""

import math
from collections.abc import Sequence
from functools import cache
from statistics import mean, stdev
from typing import NamedTuple

Interval = tuple[float, float]

ENOUGH_TO_CLAIM = 3
"""Trials below which no difference is called significant or not."""


class Ratio(NamedTuple):
    """candidate / baseline; `significant`: whether its 95% interval leaves out 1. None: it cannot be known."""

    value: float | None
    interval: Interval | None
    significant: bool | None


def paired_log_ratio(baseline: Sequence[float], candidate: Sequence[float]) -> Ratio:
    """Geometric mean over trials of candidate / baseline, and the t interval of the log ratios.

    The two are paired by position, so that what hits both in a trial cancels out. A pair in which either is not
    a positive finite number has no log ratio: then nothing is said.
    """
    pairs = list(zip(baseline, candidate, strict=True))
    if not pairs or not all(0 < value < math.inf for pair in pairs for value in pair):
        return Ratio(None, None, None)
    logs = [math.log(above / below) for below, above in pairs]
    found = t_interval(logs)
    interval = (math.exp(found[0]), math.exp(found[1])) if found else None
    known = interval is not None and len(pairs) >= ENOUGH_TO_CLAIM
    return Ratio(math.exp(mean(logs)), interval, not interval[0] <= 1 <= interval[1] if known and interval else None)


def t_interval(values: Sequence[float]) -> Interval | None:
    """The 95% interval of the mean of independent values, by Student's t; None of fewer than two."""
    if len(values) < 2:
        return None
    middle, half = mean(values), t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return middle - half, middle + half


@cache
def t_quantile(freedom: int, inside: float = 0.95) -> float:
    """The t below which, and above whose negative, `inside` of Student's distribution lies."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # bisection of the angle, atan(t / sqrt(freedom)), halves it to the last bit
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, freedom) < inside else (low, angle)
    return math.tan(high) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """P(|T| <= t): the finite series for whole degrees of freedom, Abramowitz and Stegun 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for number in range(1 + odd, 1 + odd + freedom // 2 * 2, 2):
        total += term
        term *= cosine * cosine * number / (number + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
