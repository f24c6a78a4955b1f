"""Least squares with what is expected beforehand, in plain Python: few parameters, each drawn to its expected value.

    found = solve(residuals, 3)        residuals([0, 0, 0]) are those of the expected values

Parameters are in units of their expected spread: the sum of squares of the residuals (in units of their noise) and of
the parameters is made least (maximum a posteriori, by Gauss-Newton steps that are halved until they help).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ROUNDS = 60
STEP = 1e-4
"""Change of a parameter, for its derivative."""
SMALL = 1e-6
"""A round that gains less than this share ends the search."""
MOST = 12.0
"""Spreads from what is expected: further nothing is looked for."""


@dataclass(frozen=True)
class Solution:
    """`spread`: of each parameter, with all that the residuals say: 1 where they say nothing, near 0 where all."""

    at: tuple[float, ...]
    spread: tuple[float, ...]


def solve(residuals: Callable[[Sequence[float]], Sequence[float]], count: int) -> Solution:
    """The `count` parameters that residuals and expectation make most likely."""
    at = [0.0] * count
    now = list(residuals(at))
    for _ in range(ROUNDS):
        columns = _derivatives(residuals, at, now)
        matrix, slope = _normal(columns, now, at)
        step = _solved(matrix, [-value for value in slope])
        before, share = _cost(now, at), 1.0
        while share > 1e-4:
            tried = [max(-MOST, min(MOST, x + share * dx)) for x, dx in zip(at, step, strict=True)]
            found = list(residuals(tried))
            if _cost(found, tried) < before:
                break
            share /= 2
        else:
            break
        at, now = tried, found
        if before - _cost(now, at) < SMALL * before:
            break
    matrix, _ = _normal(_derivatives(residuals, at, now), now, at)
    unit = [[float(i == j) for i in range(count)] for j in range(count)]
    inverse = [_solved(matrix, one) for one in unit]
    return Solution(tuple(at), tuple(math.sqrt(max(0.0, inverse[i][i])) for i in range(count)))


def _cost(residuals: Sequence[float], at: Sequence[float]) -> float:
    return sum(r * r for r in residuals) + sum(x * x for x in at)


def _derivatives(
    residuals: Callable[[Sequence[float]], Sequence[float]], at: Sequence[float], now: Sequence[float]
) -> list[list[float]]:
    """By parameter: how each residual changes with it."""
    columns = []
    for index in range(len(at)):
        moved = [x + STEP * (i == index) for i, x in enumerate(at)]
        columns.append([(new - old) / STEP for new, old in zip(residuals(moved), now, strict=True)])
    return columns


def _normal(
    columns: Sequence[Sequence[float]], now: Sequence[float], at: Sequence[float]
) -> tuple[list[list[float]], list[float]]:
    """Half of the second derivatives of the cost (Gauss-Newton), and half of its slope."""
    matrix = [
        [sum(x * y for x, y in zip(a, b, strict=True)) + float(i == j) for j, b in enumerate(columns)]
        for i, a in enumerate(columns)
    ]
    return matrix, [sum(x * r for x, r in zip(a, now, strict=True)) + at[i] for i, a in enumerate(columns)]


def _solved(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """x of `matrix` x = `right`; the matrix is symmetric and positive definite (Gauss, largest pivot first)."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for at in range(size):
        best = max(range(at, size), key=lambda row: abs(rows[row][at]))
        rows[at], rows[best] = rows[best], rows[at]
        for below in range(at + 1, size):
            factor = rows[below][at] / rows[at][at]
            rows[below] = [x - factor * y for x, y in zip(rows[below], rows[at], strict=True)]
    found = [0.0] * size
    for at in reversed(range(size)):
        known = sum(rows[at][i] * found[i] for i in range(at + 1, size))
        found[at] = (rows[at][size] - known) / rows[at][at]
    return found
