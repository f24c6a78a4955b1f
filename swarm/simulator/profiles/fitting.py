"""Least squares with bounds and intervals: from measured durations to parameters of the contention model.

    fitted = fit({"eta_kv": Bounds(0.6, 0.05, 1.0)}, residuals)

Needs scipy (the extra `swarm-load[fit]`), which is imported only here and only when something is fitted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
BOUND_SHARE = 0.01
"""Relative distance from a bound: a value this close to it means that the data want the parameter beyond."""


class NoScipyError(RuntimeError):
    """scipy is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Bounds:
    """Where a parameter's search starts, and between what it stays."""

    start: float
    low: float
    high: float


@dataclass(frozen=True)
class Fitted:
    """A parameter with its 95% interval."""

    value: float
    low: float
    high: float
    at_bound: bool

    @property
    def half_width(self) -> float:
        """Half of the interval's width, relative to the value."""
        return (self.high - self.low) / 2 / abs(self.value)


def fit(
    parameters: Mapping[str, Bounds], residuals: Callable[[dict[str, float]], Sequence[float]]
) -> dict[str, Fitted]:
    """The parameters that make the sum of squares of `residuals(values)` least.

    The intervals come from the Jacobian at the solution (t distribution): a parameter that the residuals do not depend
    on has an infinite one. NoScipyError without scipy; ValueError with fewer residuals than parameters.
    """
    try:
        import numpy as np
        from scipy.optimize import least_squares
        from scipy.stats import t as student
    except ImportError as error:
        raise NoScipyError("fitting needs scipy: pip install 'swarm-load[fit]'") from error
    names = list(parameters)
    scale = np.array([parameters[name].start for name in names])
    low = np.array([parameters[name].low for name in names]) / scale
    high = np.array([parameters[name].high for name in names]) / scale

    def scaled(x: "np.ndarray") -> "np.ndarray":
        return np.asarray(residuals(dict(zip(names, (x * scale).tolist(), strict=True))))

    count = len(scaled(np.ones(len(names))))
    if count <= len(names):
        raise ValueError(f"{count} observations cannot tell {len(names)} parameters")
    found = least_squares(scaled, np.ones(len(names)), bounds=(low, high), x_scale="jac", diff_step=1e-4)
    freedom = count - len(names)
    variance = 2 * found.cost / freedom
    # Eigenvalues at rounding error stand for directions in which nothing is known.
    values, vectors = np.linalg.eigh(found.jac.T @ found.jac)
    known = values > 1e-12 * max(values.max(), 1e-300)
    spread = np.full(len(names), 0.0)
    for value, vector, is_known in zip(values, vectors.T, known, strict=True):
        spread += vector**2 / value if is_known else np.where(np.abs(vector) > 1e-3, np.inf, 0.0)
    half = student.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(spread * variance)
    half[~np.isfinite(spread)] = np.inf
    return {
        name: Fitted(
            value=float(found.x[at] * scale[at]),
            low=float((found.x[at] - half[at]) * scale[at]),
            high=float((found.x[at] + half[at]) * scale[at]),
            at_bound=bool(found.x[at] < low[at] * (1 + BOUND_SHARE) or found.x[at] > high[at] * (1 - BOUND_SHARE)),
        )
        for at, name in enumerate(names)
    }
