"""Counts of a stage, summed over its trials."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from swarm.analysis.trial.jobs import ENOUGH_PER_AGENT
from swarm.analysis.trial.trial import Trial

Kind = TypeVar("Kind", bound=str)


def total(counters: Iterable[Counter[Kind]]) -> dict[Kind, int]:
    """The sum of the counters, sorted by name."""
    return dict(sorted(sum(counters, Counter[Kind]()).items()))


def enough_jobs(trials: Sequence[Trial], agents: int) -> bool:
    """Whether enough jobs finished for their times to be reported."""
    return sum(trial.jobs.finished for trial in trials) >= ENOUGH_PER_AGENT * agents


def tool_errors(trials: Sequence[Trial]) -> dict[str, int]:
    lost = Counter(lost=sum(trial.requests.lost_calls for trial in trials))
    return total([*(trial.tool_errors for trial in trials), +lost])


def best_hit_rate(trials: Sequence[Trial]) -> float | None:
    """The best possible prefix-cache hit rate, as far as lengths tell (`Requests.reusable_tokens`); None: no counts."""
    prompt = sum(trial.requests.prompt_tokens or 0 for trial in trials)
    return sum(trial.requests.reusable_tokens for trial in trials) / prompt if prompt else None
