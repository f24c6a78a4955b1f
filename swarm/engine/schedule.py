"""Which stage runs when: a pure list, made before anything starts."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from swarm.recording.recorder import Sink
from swarm.scenario.schema import Scenario, Until


@dataclass(frozen=True)
class StagePlan:
    """One stage: `agents` agents against `target`, for the `trial`-th time (from 1); `order` seeds its jobs' order.

    `until`: when its window may end, where that is not as the scenario says.
    """

    target: str
    agents: int
    trial: int
    salt: str
    order: str
    until: Until | None = None


class StageSource(Sink, Protocol):
    """Stages that are chosen one by one: it sees the records of each before it names the next."""

    def stages(self, run: str, say: Callable[[str], None]) -> Iterator[StagePlan]:
        """`run` as of `stage_plan`; `say` shows a line to the user."""

    def stages_left(self) -> int:
        """The most stages that come after the one it has named last."""


def schedule(scenario: Scenario, run: str) -> list[StagePlan]:
    """All stages in their order: trial by trial, level by level, and at each level target by target (A B A B).

    Targets are thus measured within minutes of each other at every level, so that drift of the machine hits both.
    The levels come in an order of their own in each trial, from the scenario's seed and whatever the targets are; and
    from level to level and trial to trial another target begins. So no level and no target is always the first.
    """
    levels, targets = scenario.agents.levels, scenario.targets
    stages = []
    for trial in range(1, scenario.stage.trials + 1):
        shuffled = random.Random(f"{scenario.agents.seed}:{trial}:levels").sample(levels, len(levels))
        for level in shuffled:
            first = (levels.index(level) + trial - 1) % len(targets)
            stages += [
                stage_plan(scenario, run, target.name, level, trial) for target in targets[first:] + targets[:first]
            ]
    return stages


def stage_plan(scenario: Scenario, run: str, target: str, level: int, trial: int) -> StagePlan:
    """`run` is what tells this run's salts from all others'."""
    return StagePlan(target, level, trial, salt(run, target, level, trial), job_seed(scenario.agents.seed, trial))


def salt(run: str, target: str, level: int, trial: int) -> str:
    """16 hexadecimal digits, new for every run, target, level and trial: no stage finds its prompts in a warm cache."""
    return hashlib.sha256(f"{run}:{target}:{level}:{trial}".encode()).hexdigest()[:16]


def job_seed(seed: int, trial: int) -> str:
    """Seed of the jobs' order: the same for every target and level of a trial, which are compared on equal work, and
    another in each trial, so that what holds over the trials is not owed to one order."""
    return str(seed) if trial == 1 else f"{seed}:{trial}"


def load_summary(scenario: Scenario) -> str:
    """One line on the stages that will run, and for how long, start-up excluded."""
    stages = len(schedule(scenario, ""))
    minutes = stages * (scenario.stage.warmup + scenario.stage.longest) / 60
    at_most = "at most " if scenario.stage.until else ""
    return f"{scenario.name}: {stages} stage{'s' * (stages > 1)}, {at_most}{minutes:.1f} min of load in total"
