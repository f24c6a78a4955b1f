"""The losses of N agents against one, in one place: each number over the same trials of the same target."""

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.analysis.slowdown import contention
from swarm.analysis.stats.distribution import Distribution
from swarm.analysis.trial.trial import Trial
from swarm.results import Inflation

Pairs = Sequence[tuple[Trial, Trial]]
"""Each trial at N agents with the same trial of one agent."""


@dataclass(frozen=True)
class Degradation:
    """Ratios to one agent; the names are those of the results."""

    retention: float | None
    decode_retention: float | None
    slowdown: float | None
    scaling_efficiency: float | None
    ttft_inflation: Inflation
    itl_inflation: Inflation


def degradation(agents: int, pairs: Pairs, comparable_jobs: bool) -> Degradation:
    """Geometric means over the trials; None without a pair, and the slowdown where too few jobs finished."""
    templates = [(trial.templates, base.templates) for trial, base in pairs]
    return Degradation(
        retention=contention.retention(templates),
        decode_retention=contention.decode_retention(templates),
        slowdown=contention.slowdown(templates) if comparable_jobs else None,
        scaling_efficiency=_efficiency(agents, pairs),
        ttft_inflation=_inflation("ttft", pairs),
        itl_inflation=_inflation("itl", pairs),
    )


def _efficiency(agents: int, pairs: Pairs) -> float | None:
    """Output tokens per second of all N agents / N times those of one: 1 where they do not get in each other's way."""
    ratios = [_over(trial.output_rate, base.output_rate) for trial, base in pairs]
    found = contention.geometric_mean([ratio for ratio in ratios if ratio is not None])
    return None if found is None else found / agents


def _inflation(metric: str, pairs: Pairs) -> Inflation:
    """A latency's percentiles at N / alone."""
    both = [tuple(Distribution(trial.distributions.get(metric, {})) for trial in pair) for pair in pairs]

    def at(percent: float) -> float | None:
        ratios = [_over(loaded.seconds(percent), alone.seconds(percent)) for loaded, alone in both]
        return contention.geometric_mean([ratio for ratio in ratios if ratio is not None])

    return Inflation(p50=at(50), p95=at(95))


def _over(loaded: float | None, alone: float | None) -> float | None:
    return None if loaded is None or not alone else loaded / alone
