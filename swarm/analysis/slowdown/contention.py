"""How much slower an agent is among N than alone: over the same job templates, trial by trial."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from swarm.recording.observations import tpot_ns
from swarm.recording.records import FINISHED, Attempt, Job


@dataclass(slots=True)
class Template:
    """One job template (task, variant) in the window: amounts of work, and the time that they took."""

    tokens: float = 0.0
    serving_ns: int = 0
    replies: int = 0
    tpot_ns: float = 0.0
    jobs: int = 0
    job_ns: int = 0

    def serve(self, tokens: float, serving_ns: int) -> None:
        self.tokens += tokens
        self.serving_ns += serving_ns

    def add_complete(self, attempt: Attempt) -> None:
        tpot = tpot_ns(attempt)
        if tpot is not None:
            self.replies += 1
            self.tpot_ns += tpot

    def add_job(self, job: Job) -> None:
        if job.outcome in FINISHED:
            self.jobs += 1
            self.job_ns += job.end_ns - job.t_ns


Templates = Mapping[str, Template]
Paired = Sequence[tuple[Templates, Templates]]
"""The templates at N agents and alone, of each trial that has both."""


def retention(trials: Paired) -> float | None:
    """The agents' output rate at N / alone; contention is 1 - retention."""
    return _ratio(trials, lambda template: (template.tokens, template.serving_ns))


def decode_retention(trials: Paired) -> float | None:
    """1 / mean TPOT at N / the same alone."""
    return _ratio(trials, lambda template: (template.replies, template.tpot_ns))


def slowdown(trials: Paired) -> float | None:
    """Geometric mean, over the templates finished at both levels, of the mean job time at N / alone."""
    return geometric_mean(
        [
            (loaded[name].job_ns / loaded[name].jobs) / (alone[name].job_ns / alone[name].jobs)
            for loaded, alone in trials
            for name in _shared(loaded, alone)
            if loaded[name].jobs and alone[name].jobs and alone[name].job_ns
        ]
    )


def _ratio(trials: Paired, work: Callable[[Template], tuple[float, float]]) -> float | None:
    """Geometric mean over trials of the pace (amount / time) at N / alone, each over the templates that both have."""
    ratios = []
    for loaded, alone in trials:
        shared = [name for name in _shared(loaded, alone) if work(loaded[name])[1] and work(alone[name])[1]]
        pace_loaded, pace_alone = (_pace([work(side[name]) for name in shared]) for side in (loaded, alone))
        if pace_loaded is not None and pace_alone:
            ratios.append(pace_loaded / pace_alone)
    return geometric_mean(ratios)


def _shared(loaded: Templates, alone: Templates) -> list[str]:
    """In a fixed order, so that sums are the same in every run."""
    return sorted(loaded.keys() & alone.keys())


def _pace(work: Sequence[tuple[float, float]]) -> float | None:
    time = sum(ns for _, ns in work)
    return sum(amount for amount, _ in work) / time if time else None


def geometric_mean(ratios: Sequence[float]) -> float | None:
    """None of none."""
    if not ratios:
        return None
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if all(ratios) else 0.0
