"""Which level of a search for capacity to try next.

Assumes that N agents which break an objective are never fewer than those that meet it: the search is monotone. What it
narrows down is always a pair of measured levels, the most agents that hold and the fewest that do not.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from swarm.results import Probe

MOST_STAGES = 16
"""Stages of a search up to `USUAL_MOST` agents: 13 levels and three second looks. Two more each time that doubles."""
USUAL_MOST = 64


@dataclass(frozen=True)
class Border:
    """`low`: the highest level that holds, 0 where none does; `high`: the lowest that does not, None: not tried."""

    low: int
    high: int | None


@dataclass(frozen=True)
class Bounds:
    """Where a search begins and ends, and how often a level at the border is measured. `based`: every trial of a
    level needs one of a single agent, which it is compared with."""

    start: int
    most: int
    trials: int
    based: bool = False
    coarse: float = 0.0
    """The border may be so wide, as a share of the level that holds; 0: neighbours."""

    @property
    def stages(self) -> int:
        """The most stages that it takes. Where each trial needs its base, those of one agent come on top."""
        doubled = math.ceil(math.log2(max(1.0, self.most / USUAL_MOST)))
        return MOST_STAGES + 2 * doubled


def border(probes: Mapping[int, Probe]) -> Border:
    high = min((level for level, probe in probes.items() if not probe.holds), default=None)
    low = max((level for level, probe in probes.items() if probe.holds and (not high or level < high)), default=0)
    return Border(low, high)


def next_level(probes: Mapping[int, Probe], bounds: Bounds) -> int | None:
    """The level to measure next, from `judge` of those tried, each over all its trials. None: enough is known.

    One agent first, as all slowdown is told against it. Then from the start in steps that double, up or down, until one
    level holds and one does not; then the middle between them; at last both again, until each is sure or has had all
    its trials. A level at the border that is not decided yet is measured on at once, as long as the stages that are
    left suffice for the levels that are still to come.
    """
    at, left = border(probes), bounds.stages - sum(int(probe.trials) for probe in probes.values())
    if left <= 0:
        return None
    first = _unseen(at, bounds, seen=bool(probes))
    again = [level for level in (at.low, at.high) if level and _worth(probes[level], bounds)]
    if first is None:
        return min(again, key=lambda level: int(probes[level].trials), default=None)
    undecided = [level for level in again if probes[level].verdict == "undecided"]
    spare = left - levels_left(at, bounds, seen=bool(probes))
    cost = 2 if bounds.based else 1
    if undecided and spare >= cost:
        return min(undecided, key=lambda level: int(probes[level].trials))
    return first


def _worth(probe: Probe, bounds: Bounds) -> bool:
    """Whether another trial of a level may tell more."""
    return int(probe.trials) < bounds.trials and not probe.sure


def stages_left(probes: Mapping[int, Probe], bounds: Bounds) -> int:
    """The most stages that are still to come."""
    if next_level(probes, bounds) is None:
        return 0
    left = bounds.stages - sum(int(probe.trials) for probe in probes.values())
    at = border(probes)
    again = 2 * (bounds.trials - 1)
    if _unseen(at, bounds, seen=bool(probes)) is None:
        again = sum(bounds.trials - int(probes[level].trials) for level in (at.low, at.high) if level)
    return min(left, levels_left(at, bounds, seen=bool(probes)) + again)


@lru_cache(maxsize=100_000)
def levels_left(at: Border, bounds: Bounds, *, seen: bool) -> int:
    """How many levels are still to be tried for the first time, at worst."""
    level = _unseen(at, bounds, seen=seen)
    if level is None:
        return 0
    return 1 + max(
        levels_left(Border(level, at.high), bounds, seen=True), levels_left(Border(at.low, level), bounds, seen=True)
    )


def _unseen(at: Border, bounds: Bounds, *, seen: bool) -> int | None:
    """The next level that was not tried yet; None: the border's are neighbours, or the most holds."""
    if not seen:
        return 1
    most, start = bounds.most, min(bounds.start, bounds.most)
    if at.high is None:
        if at.low >= most:
            return None
        return min(most, at.low + max(at.low - start + 1, int(bounds.coarse * at.low))) if at.low >= start else start
    if at.high - at.low <= max(1, int(bounds.coarse * at.low)):
        return None
    middle = (at.low + at.high) // 2
    step = max(start - at.high + 1, int(bounds.coarse * at.high))
    return max(middle, at.high - step) if at.high <= start else middle
