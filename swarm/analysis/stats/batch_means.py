"""How sure a number is within one trial: means of batches, and where a start-up transient ends.

Pure functions of plain numbers; what they promise (coverage, false alarms) is tested on series whose truth is known.
Between trials it is `swarm.analysis.stats.paired_ratio` that tells.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from swarm.analysis.stats.paired_ratio import t_quantile

BATCHES = 20
"""Enough for 93-95% coverage, few enough that neighbouring batches hardly know of each other."""
MSER_BATCH = 5
MSER_LEAST = 20
"""Batches of five: with fewer, a quarter of the cuts in plain noise lie anywhere."""


def half_width(values: Sequence[float]) -> float:
    """Half width of the 95% t interval of the mean of two or more independent values."""
    return t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))


def batch_means(values: Sequence[float], batches: int = BATCHES) -> list[float]:
    """The means of `batches` batches of equal size, what is left over at the end left out; fewer values: none.

    Neighbours in time resemble each other, so that the values themselves would give an interval far too narrow;
    the means of long batches hardly do. Source: Law, Simulation Modeling and Analysis, 5th ed., 9.5.3.
    """
    size = len(values) // batches if batches else 0
    if not size:
        return []
    return [fmean(values[size * number : size * (number + 1)]) for number in range(batches)]


def mser5(values: Sequence[float]) -> int | None:
    """How many of the first values belong to the start-up transient, a multiple of 5.

    The cut that makes the standard error of the rest's mean smallest, among the means of batches of five. None where
    it lies beyond half of the data (it then tells of noise or drift, not of a start), or below 20 batches.
    Source: White, Cobb, Spratt, "A comparison of five steady-state truncation heuristics for simulation", Winter
    Simulation Conference 2000.
    """
    means = batch_means(values, len(values) // MSER_BATCH)
    if len(means) < MSER_LEAST:
        return None
    centre = fmean(means)
    rounding = (1e-9 * max(map(abs, means))) ** 2
    best, cut = math.inf, 0
    total = squares = 0.0
    for number in range(len(means) - 1, -1, -1):
        behind = len(means) - number
        total += means[number] - centre
        squares += (means[number] - centre) ** 2
        error = max(rounding, squares / behind - (total / behind) ** 2) / behind
        if behind > MSER_BATCH and error <= best:  # the last few look alike by chance
            best, cut = error, number
    return cut * MSER_BATCH if cut <= len(means) / 2 else None
