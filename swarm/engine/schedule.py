"""Which stage runs when: a pure list, made before anything starts."""

import hashlib
from dataclasses import dataclass

from swarm.scenario.schema import Scenario


@dataclass(frozen=True)
class StagePlan:
    """One stage: `agents` agents against `target`, for the `trial`-th time (from 1)."""

    target: str
    agents: int
    trial: int
    salt: str


def schedule(scenario: Scenario, run: str) -> list[StagePlan]:
    """All stages in their order: trial by trial, level by level, and at each level target by target (A B A B).

    Two models are thus measured within minutes of each other at every level, so that drift of the machine hits both.
    """
    return [
        StagePlan(target.name, level, trial, salt(run, target.name, level, trial))
        for trial in range(1, scenario.stage.trials + 1)
        for level in scenario.agents.levels
        for target in scenario.targets
    ]


def salt(run: str, target: str, level: int, trial: int) -> str:
    """16 hexadecimal digits, new for every run, target, level and trial: no stage finds its prompts in a warm cache."""
    return hashlib.sha256(f"{run}:{target}:{level}:{trial}".encode()).hexdigest()[:16]


def load_summary(scenario: Scenario) -> str:
    """What will run, and for how long, start-up aside."""
    stages = len(schedule(scenario, ""))
    minutes = stages * (scenario.stage.warmup + scenario.stage.duration) / 60
    return f"{scenario.name}: {stages} stage{'s' * (stages > 1)}, {minutes:.1f} min of load in all"
