"""Why agents got slower: the growth of a turn's time against one agent alone, shared out among its causes.

The definitions are in docs/attribution.md. A turn is compared with the same turn (template and number) alone, so the
work is the same; its time splits exactly into the wait for the first token, the stream, tools, and the client's own
time. How the first two split further is told by the server's queue times, by cached prompt tokens, and by the gaps
between chunks (`swarm.analysis.slowdown.gaps`). What cannot be told is "unknown".
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import get_args

from swarm.analysis.slowdown.gaps import Gaps, Stalls
from swarm.analysis.window import Window
from swarm.recording.observations import is_complete
from swarm.recording.records import AgentEnd, AnyRecord, Attempt, ServerSample, Tool, Turn
from swarm.results import Cause

CAUSES: tuple[Cause, ...] = get_args(Cause)
TurnKey = tuple[str, int]
"""A turn of a script: its template, and its number."""
LEAST_GROWTH = 0.01
"""Share of the time alone: with less growth there is nothing to explain."""
HITS_ALIKE = 0.01
LEAST_INDEPENDENT = 0.01
"""1 - r^2 of cold tokens and pairs, from which on their costs are told apart."""


@dataclass(slots=True)
class Spent:
    """Where the time of turns went, in nanoseconds, and what made it long: sums over the turns."""

    turns: float = 0
    first_ns: float = 0
    """From the send to the first token."""
    stream_ns: float = 0
    """From the first token to the end of the stream."""
    tool_ns: float = 0
    client_ns: float = 0
    """The rest: the load generator's own."""
    failed_ns: float = 0
    """Attempts that failed, and what there is between them and the next."""
    cold_tokens: float = 0
    """Prompt tokens that were not cached."""
    pairs: float = 0
    """Attention pairs: each of those tokens with itself and every token before it."""
    uncounted: float = 0
    """Attempts of which the server did not say how many those were."""

    def add(self, other: "Spent", times: float = 1.0) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name) * times)

    @property
    def all_ns(self) -> float:
        return self.first_ns + self.stream_ns + self.tool_ns + self.client_ns + self.failed_ns


class PrefillCost:
    """Time that prompt tokens take alone, by least squares: wait = constant + a * cold tokens + b * attention pairs.

    Pairs are what attention computes: each cold token with itself and every token before it. So one behind a long
    cached prefix costs more, as does the end of a long prompt (Vaswani et al. 2017, table 1).
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums = [0.0] * 8

    def add(self, cold: int, pairs: int, wait_ns: int) -> None:
        x, z, y = float(cold), float(pairs), float(wait_ns)
        self._count += 1
        for at, value in enumerate((x, z, y, x * x, x * z, z * z, x * y, z * y)):
            self._sums[at] += value

    def ns(self, cold: float, pairs: float) -> float | None:
        """Nanoseconds that so many more of both take; None where the points do not tell."""
        if not cold:
            return 0.0
        if not self._count:
            return None
        x, z, y = (total / self._count for total in self._sums[:3])
        xx, xz, zz, xy, zy = (
            total / self._count - product
            for total, product in zip(self._sums[3:], (x * x, x * z, z * z, x * y, z * y), strict=True)
        )
        determinant = xx * zz - xz * xz
        if determinant > LEAST_INDEPENDENT * xx * zz:
            each, pair = (xy * zz - zy * xz) / determinant, (zy * xx - xy * xz) / determinant
            if each >= 0 and pair >= 0:
                return cold * each + pairs * pair
        return cold * xy / xx if xx > 0 else None


class Causes:
    """Records of one stage in one trial that tell where time went."""

    def __init__(self, window: Window, agents: int) -> None:
        self._window = window
        self._open: dict[int | None, tuple[list[Attempt], int, int]] = {}
        """Each agent's turn under way: its attempts, the time of its tools, and that of waiting for sub-agents."""
        self.turns: dict[TurnKey, Spent] = {}
        """The turns that ended well in the window."""
        self.stalls: dict[TurnKey, Stalls] = {}
        """Stalls of the same turns."""
        self.gaps = Gaps(agents)
        self.prefill = PrefillCost()
        """From the whole stage, because its first prompt is all cold."""
        self._first_ns = 0
        self._firsts = 0
        self._in_window: list[ServerSample] = []
        self._in_stage: list[ServerSample] = []
        """The first and the last sample."""

    def add(self, record: AnyRecord) -> None:
        match record:
            case Attempt():
                if record.number == 1 and record.agent in self._open:  # of a turn that has no end on record
                    self._overlap(self._open.pop(record.agent)[0], Stalls(), record.t_ns)
                self._open.setdefault(record.agent, ([], 0, 0))[0].append(record)
            case Tool() if record.agent in self._open:
                attempts, tool_ns, waited_ns = self._open[record.agent]
                took = record.end_ns - record.t_ns
                waits = bool(record.sub_agents)  # their turns count themselves
                self._open[record.agent] = attempts, tool_ns + took * (not waits), waited_ns + took * waits
            case Turn():
                self._add_turn(record, *self._open.pop(record.agent, ([], 0, 0)))
            case AgentEnd() if record.agent is not None:
                # One that was stopped may go on in a later part of its stage; one that crashed will not.
                self.gaps.heard(record.agent, self._window.stop_ns if record.crash else record.end_ns)

    def _add_turn(self, turn: Turn, attempts: list[Attempt], tool_ns: int, waited_ns: int) -> None:
        spent = Spent(turns=1, tool_ns=tool_ns)
        for attempt in attempts:
            self._add_attempt(attempt, spent)
        rest = turn.end_ns - turn.t_ns - waited_ns - spent.all_ns
        if spent.failed_ns:
            spent.failed_ns += rest
        else:
            spent.client_ns = rest
        stalls = Stalls()
        if attempts and turn.ok and self._window.holds(turn.end_ns):
            key = f"{attempts[0].task}/{attempts[0].variant}", turn.number
            self.turns.setdefault(key, Spent()).add(spent)
            stalls = self.stalls.setdefault(key, stalls)
        self._overlap(attempts, stalls, turn.end_ns)

    def _overlap(self, attempts: list[Attempt], stalls: Stalls, until_ns: int) -> None:
        for attempt in attempts:
            self.gaps.add(attempt, stalls)
            if attempt.agent is not None and attempt.agent == attempt.owner:
                self.gaps.heard(attempt.agent, until_ns)  # its sub-agents are silent when it goes on

    def _add_attempt(self, attempt: Attempt, spent: Spent) -> None:
        if not is_complete(attempt) or attempt.first_token_ns is None:
            spent.failed_ns += attempt.end_ns - attempt.t_ns
            return
        first = attempt.first_token_ns - attempt.t_ns
        spent.first_ns += first
        spent.stream_ns += attempt.end_ns - attempt.first_token_ns
        if self._window.holds(attempt.end_ns):
            self._first_ns += first
            self._firsts += 1
        if attempt.prompt_tokens is None or attempt.cached_tokens is None:
            spent.uncounted += 1
        else:
            cold = attempt.prompt_tokens - attempt.cached_tokens
            pairs = cold * attempt.cached_tokens + cold * (cold + 1) // 2
            spent.cold_tokens += cold
            spent.pairs += pairs
            self.prefill.add(cold, pairs, first)

    def add_sample(self, sample: ServerSample) -> None:
        self._in_stage[1:] = [sample]
        if self._window.holds(sample.t_ns):
            self._in_window[1:] = [sample]

    def growth(self, counter: str, *, whole_stage: bool = False) -> float | None:
        """Growth of one of the server's counters, in the window or in the whole stage; None: it does not tell."""
        samples = self._in_stage if whole_stage else self._in_window
        if len(samples) < 2:
            return None
        before, after = (sample.metrics.get(counter) for sample in (samples[0], samples[-1]))
        return None if before is None or after is None or after < before else after - before

    @property
    def queue_share(self) -> float | None:
        """Share of the wait for the first token that the server reports as spent in its queue."""
        seconds, count = self.growth("queue_time_sum"), self.growth("queue_time_count")
        if seconds is None or not count or not self._first_ns:
            return None
        return seconds / count / (self._first_ns / 1e9 / self._firsts)

    @property
    def hit_share(self) -> float | None:
        """Share of the prompt tokens that the server reports as found in its prefix cache."""
        hits, queries = self.growth("prefix_hits"), self.growth("prefix_queries")
        return hits / queries if hits is not None and queries else None


def attribution(trials: Sequence[tuple[Causes, Causes]]) -> dict[Cause, float] | None:
    """Shares of the growth of turn time, summing to 1; None where there is none, or nothing to compare with.

    `trials`: each trial at N agents with the same trial of one agent.
    """
    grown = dict.fromkeys(CAUSES, 0.0)
    alone_ns = 0.0
    for loaded, alone in trials:
        shared = sorted(loaded.turns.keys() & alone.turns.keys())
        if not shared:
            continue
        now, then = _same_turns(shared, loaded, alone)
        alone_ns += then.all_ns
        grown["tools"] += now.tool_ns - then.tool_ns
        grown["client"] += now.client_ns - then.client_ns
        grown["unknown"] += now.failed_ns - then.failed_ns
        _share_out_first(grown, now, then, loaded, alone)
        _share_out_stream(grown, now.stream_ns - then.stream_ns, shared, loaded, alone)
    if sum(grown.values()) <= max(0.0, LEAST_GROWTH * alone_ns):
        return None
    positive = {cause: max(0.0, ns) for cause, ns in grown.items()}
    total = sum(positive.values())
    return {cause: ns / total for cause, ns in positive.items()}


def _same_turns(shared: Sequence[TurnKey], loaded: Causes, alone: Causes) -> tuple[Spent, Spent]:
    """Time that the turns took at N agents, and that as many of the same turns took alone."""
    now, then = Spent(), Spent()
    for key in shared:
        now.add(loaded.turns[key])
        then.add(alone.turns[key], loaded.turns[key].turns / alone.turns[key].turns)
    return now, then


def _share_out_first(grown: dict[Cause, float], now: Spent, then: Spent, loaded: Causes, alone: Causes) -> None:
    """The growth of the wait for the first token: the queue's, that of more to compute, and the rest."""
    shares = loaded.queue_share, alone.queue_share
    queue = None if shares[0] is None or shares[1] is None else now.first_ns * shares[0] - then.first_ns * shares[1]
    if not now.uncounted and not then.uncounted:
        cache = alone.prefill.ns(now.cold_tokens - then.cold_tokens, now.pairs - then.pairs)
    else:
        cache = _no_worse(loaded.hit_share, alone.hit_share)
    grown["queue"] += queue or 0.0
    grown["cache"] += cache or 0.0
    rest = now.first_ns - then.first_ns - (queue or 0.0) - (cache or 0.0)
    grown["unknown" if queue is None or cache is None else "prefill"] += rest


def _no_worse(hits: float | None, hits_alone: float | None) -> float | None:
    """0 where the server says that its prefix cache had as much of the prompts as alone; None: its cost is unknown."""
    return 0.0 if hits is not None and hits_alone is not None and hits >= hits_alone - HITS_ALIKE else None


def _share_out_stream(
    grown: dict[Cause, float], growth_ns: float, shared: Sequence[TurnKey], loaded: Causes, alone: Causes
) -> None:
    """The growth of the time from the first token on: standing still, other prompts in the way, and the rest."""
    for gaps in (loaded.gaps, alone.gaps):
        gaps.close()
    if not loaded.gaps.complete or not alone.gaps.complete:
        grown["unknown"] += growth_ns
        return
    steps = loaded.gaps.steps(alone.gaps)
    stalls = [loaded.stalls[key] for key in shared]
    prefill, stood = sum(each.prefill_ns(steps) for each in stalls), sum(each.preempted_ns for each in stalls)
    preempting = loaded.growth("preemptions", whole_stage=True)
    grown["prefill"] += prefill
    grown["preemption" if preempting else "unknown"] += stood
    grown["decode"] += growth_ns - prefill - stood
