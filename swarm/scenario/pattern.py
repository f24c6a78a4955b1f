"""How many agents are at work when, through a soak: a whole number for each of its windows, and so a list of shifts."""

import math
from collections.abc import Sequence
from typing import Literal

Pattern = Literal["steady", "ramp", "day", "spikes"]

PERIOD_S = {"day": 86_400.0, "spikes": 900.0}
"""Period of the patterns that repeat, in seconds, where the scenario names none."""
MOST_WINDOWS = 100_000
"""Ten weeks of minutes."""
SPIKE_SHARE = 0.2
"""Part of a period: a spike is its last fifth."""


def levels(
    pattern: Pattern, peak: int, base: int | None, period_s: float | None, window_s: float, duration_s: float
) -> tuple[int, ...]:
    """Agents at work in each window of `window_s`, from `base` to `peak`; the last window may be cut short.

    steady: always `peak`. ramp: from `base` (1) up to `peak`, evenly. day: a cosine from `base` (a quarter of the
    peak) up to `peak` and back, once a `period_s`. spikes: `base`, and `peak` in the last fifth of each `period_s`.
    """
    count = max(1, math.ceil(duration_s / window_s - 1e-9))
    if count > MOST_WINDOWS:
        raise ValueError(f"{count} windows are too many; expected at most {MOST_WINDOWS}")
    if pattern == "steady":
        return (peak,) * count
    low = min(peak, base or (1 if pattern == "ramp" else math.ceil(peak / 4)))
    if pattern == "ramp":
        return tuple(low + round((peak - low) * number / max(1, count - 1)) for number in range(count))
    period = period_s or PERIOD_S[pattern]
    phases = [number * window_s % period / period for number in range(count)]
    if pattern == "spikes":
        return tuple(peak if phase >= 1 - SPIKE_SHARE - 1e-9 else low for phase in phases)
    return tuple(low + round((peak - low) * (1 - math.cos(2 * math.pi * phase)) / 2) for phase in phases)


def shifts(plan: Sequence[int], agent: int) -> list[tuple[int, int]]:
    """The runs of windows `[first, behind)` in which `agent` (from 0) is one of those at work."""
    found: list[tuple[int, int]] = []
    for number, level in enumerate(plan):
        if agent >= level:
            continue
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found
