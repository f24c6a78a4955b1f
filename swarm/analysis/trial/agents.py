"""Results of each agent: its output rate, its waiting, its work."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from swarm.analysis.stats.distribution import Distribution, percentile
from swarm.recording.histograms import bucket
from swarm.recording.records import FINISHED, Attempt, Job, Turn
from swarm.results import AgentRates, AgentResults

LONG_WAIT_NS = 6_000_000_000
"""Between a failed attempt and the next: longer than an agent backs off by itself after a failed job."""
MANY_TURNS = 10
"""Turns of the median agent in a window: an agent that ended none meanwhile took no part."""
SERVED_SHARE = 0.1
"""Share of the median agent's tokens: one that got so many is in one long turn, and takes part."""
PRESENT_SHARE = 0.5
"""Share of the window: an agent there for less is not judged by its rate. It died, or a pattern let it rest."""


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
    present_ns: int = 0
    waited_ns: int = 0
    """Nanoseconds of its long waits to try a failed request again."""
    failure: str = ""
    """The error of its last failed request."""
    prompt_tokens: int = 0
    """Those of requests whose cached tokens the server told."""
    cached_tokens: int = 0
    spent: Counter[str] = field(default_factory=Counter)
    """Where the time of its jobs went that touch the window, whole jobs."""

    def serve(self, tokens: float, serving_ns: int) -> None:
        self.tokens += tokens
        self.serving_ns += serving_ns

    def add_attempt(self, attempt: Attempt, ended: bool, started: bool) -> None:
        """`ended`, `started`: whether its end and its first token lie in the window."""
        self.errors += ended and attempt.error is not None
        if ended and attempt.prompt_tokens is not None and attempt.cached_tokens is not None:
            self.prompt_tokens += attempt.prompt_tokens
            self.cached_tokens += attempt.cached_tokens
        if attempt.error is not None:
            self.failure = attempt.message or attempt.error
        if started and attempt.first_token_ns is not None:
            self.ttft_ns[bucket(attempt.first_token_ns - attempt.t_ns)] += 1

    def add_turn(self, turn: Turn) -> None:
        self.turns += turn.ok is True

    def add_job(self, job: Job) -> None:
        self.jobs += job.outcome in FINISHED

    def spend(self, job: Job) -> None:
        self.spent.update(request=job.serving_ns, tool=job.tool_ns, think=job.think_ns, between=job.client_ns)

    @property
    def thinks(self) -> bool:
        """Whether most of its time was a pause that the scenario or the trace wants."""
        return bool(self.spent) and self.spent.most_common(1)[0][0] == "think"

    @property
    def hit_rate(self) -> float | None:
        """Share of its prompt tokens that were cached; None where it is not known, or the counts cannot be."""
        known = self.prompt_tokens and self.cached_tokens <= self.prompt_tokens
        return self.cached_tokens / self.prompt_tokens if known else None

    @property
    def rate(self) -> float | None:
        """The agent output rate: completion tokens / serving time, per second; None when it was never served, or when
        none of its tokens were counted."""
        if not self.serving_ns or (self.uncounted and not self.tokens):
            return None
        return self.tokens * 1e9 / self.serving_ns


def thinking(agents: Mapping[int, Agent]) -> float | None:
    """How many agents are in a pause of the workload on average, from the jobs that touch the window."""
    shares = [agent.spent["think"] / total for agent in agents.values() if (total := agent.spent.total())]
    return sum(shares) if shares else None


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
            into.prompt_tokens += agent.prompt_tokens
            into.cached_tokens += agent.cached_tokens
            into.uncounted += agent.uncounted
    return pooled


def per_agent(agents: dict[int, Agent]) -> list[AgentResults]:
    rows = []
    for number, agent in sorted(agents.items()):
        ttft = Distribution(agent.ttft_ns)
        rows.append(
            AgentResults(
                agent=number,
                output_tokens_per_s=agent.rate,
                ttft_s_p50=ttft.seconds(50),
                ttft_s_p95=ttft.seconds(95),
                turns=agent.turns,
                jobs=agent.jobs,
                errors=agent.errors,
                prefix_cache_hit_rate=agent.hit_rate,
            )
        )
    return rows


def rates(agents: dict[int, Agent]) -> list[float]:
    """The agents' output rates, ascending."""
    return sorted(rate for agent in agents.values() if (rate := agent.rate) is not None)


def shares(agents: dict[int, Agent], seconds: float) -> list[float]:
    """The output rates that fairness is about: with a 0 for each agent that was there, and was never served."""
    left_out = [0.0 for agent in agents.values() if not agent.serving_ns and _takes_part(agent, seconds)]
    return left_out + rates(agents)


def parked(agents: dict[int, Agent], seconds: float) -> dict[int, Agent]:
    """Agents that were there and ended no turn in a window of so many seconds, while the median agent ended many."""
    there = {number: agent for number, agent in agents.items() if _takes_part(agent, seconds)}
    if not there or median(agent.turns for agent in there.values()) < MANY_TURNS:
        return {}
    enough = SERVED_SHARE * median(agent.tokens for agent in there.values())
    return {
        number: agent
        for number, agent in sorted(there.items())
        if not agent.turns and not agent.uncounted and (not agent.tokens or agent.tokens < enough)
    }


def _takes_part(agent: Agent, seconds: float) -> bool:
    return agent.present_ns >= PRESENT_SHARE * seconds * 1e9 and not agent.thinks


def idle_ns(agents: dict[int, Agent], seconds: float) -> int:
    """Time in which agents that were there did not take part: all of those that are parked, long waits of others."""
    idle = parked(agents, seconds)
    return sum(agent.present_ns if number in idle else agent.waited_ns for number, agent in agents.items())


def spread(ascending: Sequence[float]) -> AgentRates:
    """Spread of the agents' output rates."""
    low, p10, p50, p90, high = (percentile(ascending, percent) for percent in (0, 10, 50, 90, 100))
    return AgentRates(p10=p10, p50=p50, p90=p90, min=low, max=high)


def jain(values: Sequence[float]) -> float | None:
    """Jain's fairness index, (sum x)^2 / (n * sum x^2): 1 when all get the same, 1/n when one gets everything.

    Source: Jain, Chiu, Hawe, "A Quantitative Measure of Fairness and Discrimination", DEC-TR-301 (1984).
    """
    squares = sum(value * value for value in values)
    return min(1.0, sum(values) ** 2 / (len(values) * squares)) if squares else None  # rounding may leave it above 1
