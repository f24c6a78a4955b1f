"""What each agent got: its output rate, its waiting, its work."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from swarm.analysis.distribution import Distribution, percentile
from swarm.recording.histograms import bucket
from swarm.recording.records import FINISHED, Attempt, Job, Turn


@dataclass(slots=True)
class Agent:
    """One agent in the window; time that its tools and its thinking took is not in `serving_ns`."""

    tokens: float = 0.0
    serving_ns: int = 0
    ttft_ns: Counter[int] = field(default_factory=Counter)
    turns: int = 0
    jobs: int = 0
    errors: int = 0
    uncounted: int = 0
    """Requests with tokens that the server did not count."""

    def serve(self, tokens: float, serving_ns: int) -> None:
        self.tokens += tokens
        self.serving_ns += serving_ns

    def add_attempt(self, attempt: Attempt, ended: bool, started: bool) -> None:
        """`ended`, `started`: whether its end and its first token lie in the window."""
        self.errors += ended and attempt.error is not None
        if started and attempt.first_token_ns is not None:
            self.ttft_ns[bucket(attempt.first_token_ns - attempt.t_ns)] += 1

    def add_turn(self, turn: Turn) -> None:
        self.turns += turn.ok is True

    def add_job(self, job: Job) -> None:
        self.jobs += job.outcome in FINISHED

    @property
    def rate(self) -> float | None:
        """The agent output rate: completion tokens / serving time, per second; None when it was never served, or when
        none of its tokens were counted."""
        if not self.serving_ns or (self.uncounted and not self.tokens):
            return None
        return self.tokens * 1e9 / self.serving_ns


def together(trials: Sequence[dict[int, Agent]]) -> dict[int, Agent]:
    """Each agent over all trials."""
    pooled: dict[int, Agent] = {}
    for trial in trials:
        for number, agent in trial.items():
            into = pooled.setdefault(number, Agent())
            into.serve(agent.tokens, agent.serving_ns)
            into.ttft_ns.update(agent.ttft_ns)
            into.turns += agent.turns
            into.jobs += agent.jobs
            into.errors += agent.errors
            into.uncounted += agent.uncounted
    return pooled


def per_agent(agents: dict[int, Agent]) -> list[dict[str, Any]]:
    rows = []
    for number, agent in sorted(agents.items()):
        ttft = Distribution(agent.ttft_ns)
        rows.append(
            {
                "agent": number,
                "output_tokens_per_s": agent.rate,
                "ttft_s_p50": ttft.seconds(50),
                "ttft_s_p95": ttft.seconds(95),
                "turns": agent.turns,
                "jobs": agent.jobs,
                "errors": agent.errors,
            }
        )
    return rows


def rates(agents: dict[int, Agent]) -> list[float]:
    """The agents' output rates, ascending."""
    return sorted(rate for agent in agents.values() if (rate := agent.rate) is not None)


def spread(ascending: Sequence[float]) -> dict[str, float | None]:
    """Of the agents' output rates."""
    percentiles = {f"p{percent}": percentile(ascending, percent) for percent in (10, 50, 90)}
    return {**percentiles, "min": percentile(ascending, 0), "max": percentile(ascending, 100)}


def jain(values: Sequence[float]) -> float | None:
    """Jain's fairness index, (sum x)^2 / (n * sum x^2): 1 when all get the same, 1/n when one gets everything.

    Source: Jain, Chiu, Hawe, "A Quantitative Measure of Fairness and Discrimination", DEC-TR-301 (1984).
    """
    squares = sum(value * value for value in values)
    return min(1.0, sum(values) ** 2 / (len(values) * squares)) if squares else None  # rounding may leave it above 1
