"""Did anything change while a soak ran? For each metric a finding, or a reason why none can be given.

Windows are taken ten at a time, by their median: neighbouring minutes resemble each other, and neighbouring tens of
minutes hardly do. The first half hour's worth is left out, as the start-up. A trend (Theil and Sen) or a change of
level (Pettitt, its size by Hodges and Lehmann) is a finding where the near end of its 99% interval is beyond the
metric's floor of practical size: tests for any trend at all cry wolf in a quarter of quiet series.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

from swarm import results
from swarm.analysis.stats import rank_tests
from swarm.catalogue import MIB, Drift, Number, numbers
from swarm.results import SoakWindow

BLOCK = 10
"""Windows in a block."""
START_UP = 3
"""Blocks that are left out at the start."""
ENOUGH = 12
"""Blocks that a finding needs, after the start-up: two and a half hours of minutes in all."""
CHANGE_P = 1e-3
SHORTEST = 6
"""Blocks between two changes."""
LEVEL = 0.99


MEMORY_SHARE_PER_H = 0.0005
"""The floor of a process of more than 2 GiB, which breathes more."""

Block = tuple[float, float]
"""Hours since the soak's start, and the median of its windows."""


def drift(rows: Sequence[SoakWindow], window_s: float) -> list[results.Drift]:
    """A finding, or why there is none, for each metric; `rows` are those of `swarm.analysis.soak.soak_windows`."""
    return [_judge(number, rows, window_s) for number in numbers(lambda metric: metric.drift)]


def _rule(number: Number) -> Drift:
    return number.metric.drift[number.stat]


def _judge(number: Number, rows: Sequence[SoakWindow], window_s: float) -> results.Drift:
    blocks = _blocks(number, rows, window_s)
    if not any(getattr(row, number.column) is not None for row in rows):
        return _no(number, "not measured")
    if _rule(number).follows_load and len({row.agents for row in rows}) > 1 and not _comparable(rows):
        return _no(number, "not tested: the load never came back to a number of agents that it had before")
    if len(blocks) < ENOUGH:
        needed = (ENOUGH + START_UP) * BLOCK * window_s / 3600
        return _no(number, f"not tested: too few undisturbed windows (a soak of {needed:.3g} h has enough)")
    return _finding(number, blocks)


def _no(number: Number, why: str | None) -> results.Drift:
    return results.Drift(
        metric=number.column,
        finding=None,
        why_not=why,
        worse=False,
        since_h=None,
        change=None,
        change_ci99=None,
        unit=_UNITS[_rule(number).unit],
        text=f"{number.label}: {why or 'no change'}",
    )


_UNITS: dict[str, Literal["share", "points", "per_window", "bytes_per_h"]] = {
    "share": "share",
    "points": "points",
    "per_window": "per_window",
    "bytes": "bytes_per_h",
}


def _comparable(rows: Sequence[SoakWindow]) -> set[int]:
    """Numbers of agents that were at work both in the first and in the last third of the soak."""
    third = max(1, len(rows) // 3)
    first, last = ({row.agents for row in part} for part in (rows[:third], rows[-third:]))
    return first & last


def _blocks(number: Number, rows: Sequence[SoakWindow], window_s: float) -> list[Block]:
    """Medians of ten windows each, without the start-up; what follows the load is scaled to the same load."""
    usable = [
        row
        for row in rows
        if getattr(row, number.column) is not None and (_rule(number).disturbed_too or not row.disturbed)
    ]
    scale = {}
    if _rule(number).follows_load and len({row.agents for row in rows}) > 1:
        scale = _scales(number, usable, _comparable(rows))
        usable = [row for row in usable if row.agents in scale]
    groups: dict[int, list[float]] = defaultdict(list)
    for row in usable:
        groups[row.number // BLOCK].append(getattr(row, number.column) * scale.get(row.agents, 1.0))
    # A share of errors is seldom more than 0 in the median window, however many fail.
    middle = (lambda values: sum(values) / len(values)) if _rule(number).unit in ("points", "per_window") else median
    return [
        ((block + 0.5) * BLOCK * window_s / 3600, middle(values))
        for block, values in sorted(groups.items())
        if block >= START_UP and len(values) >= BLOCK // 2
    ]


def _scales(number: Number, rows: Sequence[SoakWindow], levels: set[int]) -> dict[int, float]:
    """Factors that bring each number of agents to the median of all of them; none for one whose median is 0."""
    values: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row.agents in levels:
            values[row.agents].append(getattr(row, number.column))
    medians = {agents: median(of_it) for agents, of_it in values.items()}
    whole = median(medians.values()) if medians else 0.0
    return {agents: whole / middle for agents, middle in medians.items() if middle}


def _finding(number: Number, blocks: Sequence[Block]) -> results.Drift:
    """A trend, or a step where one explains the values better or where only one is sure."""
    hours, values = [hour for hour, _ in blocks], [value for _, value in blocks]
    cuts = rank_tests.changes(values, CHANGE_P, SHORTEST)
    slope = rank_tests.theil_sen(hours, values, LEVEL)
    stepped = _is_step(hours, values, cuts, slope.value)
    if _rule(number).unit == "bytes":
        floor = max(_rule(number).floor, MEMORY_SHARE_PER_H * median(values))
        if stepped and _beyond(slope, floor):
            return _no(number, "it changed once, and did not go on to")
        return _found(number, slope, hours, None) if _beyond(slope, floor) else _no(number, None)
    base = abs(median(values[: max(SHORTEST, len(values) // 4)])) if _rule(number).unit == "share" else 1.0
    if not base:
        return _no(number, "not tested: it was 0 at the start")
    trend = _scaled(slope, (hours[-1] - hours[0]) / base)
    at = max(cuts, key=lambda cut: abs(median(values[cut:]) - median(values[:cut])), default=None)
    step = _scaled(rank_tests.shift(values[:at], values[at:], LEVEL), 1 / base) if at else None
    sure = step is not None and _beyond(step, _rule(number).floor)
    if step is not None and at and sure and (stepped or not _beyond(trend, _rule(number).floor)):
        return _found(number, step, hours, at)
    return _found(number, trend, hours, None) if _beyond(trend, _rule(number).floor) else _no(number, None)


def _beyond(found: rank_tests.Estimate, floor: float) -> bool:
    return found.low > floor or found.high < -floor


def _scaled(found: rank_tests.Estimate, factor: float) -> rank_tests.Estimate:
    return rank_tests.Estimate(*(part * factor for part in found))


def _found(number: Number, change: rank_tests.Estimate, hours: Sequence[float], at: int | None) -> results.Drift:
    """`at`: of a step, the first block behind it; None: a trend."""
    since = hours[0] if at is None else (hours[at - 1] + hours[at]) / 2
    return results.Drift(
        metric=number.column,
        finding="trend" if at is None else "step",
        why_not=None,
        worse=(change.value > 0) == (number.metric.better == "lower"),
        since_h=since,
        change=change.value,
        change_ci99=[change.low, change.high],
        unit=_UNITS[_rule(number).unit],
        text=_text(number, change, since, hours[-1], at is not None),
    )


def _is_step(hours: Sequence[float], values: Sequence[float], cuts: Sequence[int], slope: float) -> bool:
    """Whether levels with changes between them follow the values more closely than a straight line does."""
    if not cuts:
        return False
    borders = [0, *cuts, len(values)]
    parts = [values[begin:end] for begin, end in pairwise(borders)]
    by_levels = sum(abs(value - median(part)) for part in parts for value in part)
    middle = median(value - slope * hour for hour, value in zip(hours, values, strict=True))
    by_line = sum(abs(value - slope * hour - middle) for hour, value in zip(hours, values, strict=True))
    # Every further level follows more closely whatever it follows, so that it must do so by far.
    return by_levels * (1 + len(cuts)) < by_line * 2


def _text(number: Number, found: rank_tests.Estimate, since_h: float, until_h: float, stepped: bool) -> str:
    verb = "rose" if found.value > 0 else "fell"
    low, high = sorted((abs(found.low), abs(found.high)))
    size, between = {
        "share": (f"{abs(found.value):.1%}", f"{low:.1%} to {high:.1%}"),
        "points": (f"{abs(found.value) * 100:.2g} points", f"{low * 100:.2g} to {high * 100:.2g}"),
        "per_window": (f"{abs(found.value):.3g}", f"{low:.3g} to {high:.3g}"),
        "bytes": (f"{abs(found.value) / MIB:.2g} MiB/h", f"{low / MIB:.2g} to {high / MIB:.2g}"),
    }[_rule(number).unit]
    when = f"at {since_h:.1f} h" if stepped else f"steadily, from {since_h:.1f} h to {until_h:.1f} h"
    return f"{number.label} {verb} by {size} {when} (99%: {between})"
