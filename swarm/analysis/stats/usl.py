"""The Universal Scalability Law: how a target's output grows with its agents, and where it stops to grow.

X(N) = X(1) N / (1 + contention (N - 1) + coherency N (N - 1)), N agents. Source: Gunther, Guerrilla Capacity Planning
(2007), ch. 4. Its reciprocal N / X(N) is linear in three unknowns, so least squares of its relative error have a closed
form; the error of a rate measured over a window is relative, too.
"""

import math
from collections.abc import Mapping, Sequence

from swarm.analysis.stats.paired_ratio import t_quantile
from swarm.results import Estimate, ScalingLaw

LEAST_LEVELS = 6
"""Three unknowns need more than three points to be doubted: with 1, 4 and 8 agents any curve would fit."""
MOST_MISFIT = 0.15

Matrix = list[list[float]]


def fit(rates: Mapping[int, float | None]) -> ScalingLaw:
    """The law fitted to output tokens per second by level. `reason` says why where it is not, and the rest is None.

    `alone` (tokens per second of one agent), `contention`, `coherency`, `peak_agents`: each {value, ci95}, intervals by
    the delta method, with the law's own misfit in them. The peak is None where nothing is sure to bend the curve down.
    `misfit`: root mean square of the relative errors.
    """
    measured = {level: rate for level, rate in sorted(rates.items()) if rate}
    if len(measured) < LEAST_LEVELS:
        return ScalingLaw(
            reason=f"the Universal Scalability Law needs {LEAST_LEVELS} valid levels, and there are "
            f"{len(measured)}: three parameters fit almost any three points; see scaling_efficiency instead"
        )
    rows = [[x * rate / level for x in (1.0, level - 1.0, level * (level - 1.0))] for level, rate in measured.items()]
    found = _least_squares(rows, [True] * 3)
    assert found is not None  # levels differ, so the three columns do too
    free, inverse = found
    best = _within_bounds(rows, free)
    if best[0] <= 0:
        return ScalingLaw(
            reason="the output does not follow the Universal Scalability Law: it grows faster than the agents do"
        )
    squares = [(1 - sum(a * x for a, x in zip(row, best, strict=True))) ** 2 for row in rows]
    misfit = math.sqrt(sum(squares) / len(squares))
    if misfit > MOST_MISFIT:
        return ScalingLaw(
            reason="the output does not follow the Universal Scalability Law: its best fit is off by "
            f"{misfit:.0%}; a prefix cache that overflows bends the curve like this"
        )
    spread = sum(squares) / (len(rows) - 3)
    covariance = [[spread * cell for cell in row] for row in inverse]
    half = t_quantile(len(rows) - 3)
    coherency = _share(best, covariance, 2, half)
    return ScalingLaw(
        alone=_around(1 / best[0], half * math.sqrt(covariance[0][0]) / best[0] ** 2),
        contention=_share(best, covariance, 1, half),
        coherency=coherency,
        peak_agents=_peak(best, covariance, half) if coherency.ci95 and coherency.ci95[0] > 0 else None,
        misfit=misfit,
    )


def _within_bounds(rows: Matrix, free: Sequence[float]) -> list[float]:
    """The least squares with neither coefficient negative: the best of all ways to hold some of them at 0."""
    if min(free[1:]) >= 0:
        return list(free)
    tried = []
    for kept in ([True, True, False], [True, False, True], [True, False, False]):
        found = _least_squares(rows, kept)
        if found and min(found[0][1:]) >= 0:
            error = sum((1 - sum(a * x for a, x in zip(row, found[0], strict=True))) ** 2 for row in rows)
            tried.append((error, found[0]))
    return min(tried)[1]


def _least_squares(rows: Matrix, kept: Sequence[bool]) -> tuple[list[float], Matrix] | None:
    """The x with rows @ x nearest to 1, entries that are not `kept` 0; and the inverse of the normal matrix."""
    places = [place for place in range(3) if kept[place]]
    normal = [[sum(row[i] * row[j] for row in rows) for j in places] for i in places]
    inverse = _inverse(normal)
    if inverse is None:
        return None
    sums = [sum(row[i] for row in rows) for i in places]
    solved = [sum(a * b for a, b in zip(line, sums, strict=True)) for line in inverse]
    by_place = dict(zip(places, solved, strict=True))
    return [by_place.get(place, 0.0) for place in range(3)], inverse


def _inverse(matrix: Matrix) -> Matrix | None:
    """By Gauss and Jordan, with pivots; None of a singular one."""
    size = len(matrix)
    rows = [[*row, *(float(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for place in range(size):
        pivot = max(range(place, size), key=lambda number: abs(rows[number][place]))
        if not rows[pivot][place]:
            return None
        rows[place], rows[pivot] = rows[pivot], rows[place]
        rows[place] = [cell / rows[place][place] for cell in rows[place]]
        for number in range(size):
            if number != place:
                factor = rows[number][place]
                rows[number] = [cell - factor * own for cell, own in zip(rows[number], rows[place], strict=True)]
    return [row[size:] for row in rows]


def _share(best: Sequence[float], covariance: Matrix, place: int, half: float) -> Estimate:
    """A coefficient over the first one, by the delta method; never below 0."""
    value = best[place] / best[0]
    variance = covariance[place][place] - 2 * value * covariance[0][place] + value**2 * covariance[0][0]
    return _around(value, half * math.sqrt(max(0.0, variance)) / best[0])


def _around(value: float, half: float) -> Estimate:
    return Estimate(value=value, ci95=[max(0.0, value - half), value + half])


def _peak(best: Sequence[float], covariance: Matrix, half: float) -> Estimate | None:
    """Where X(N) is largest: sqrt((1 - contention) / coherency); its interval on a logarithmic scale."""
    base, contention, coherency = best
    if base <= contention:
        return None
    value = math.sqrt((base - contention) / coherency)
    slope = (0.5 / (base - contention), -0.5 / (base - contention), -0.5 / coherency)
    variance = sum(slope[i] * slope[j] * covariance[i][j] for i in range(3) for j in range(3))
    times = math.exp(half * math.sqrt(max(0.0, variance)))
    return Estimate(value=value, ci95=[value / times, value * times])
