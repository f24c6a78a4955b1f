"""What must be found of a run: each agent's life worked out by itself, then every number by its definition.

Times are nanoseconds from the stage's start. Nothing in here is swarm's.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from truth.expected import Found, found
from truth.generate import MS, Reply
from truth.runs import FULL, IDLE_MS, Run
from truth.to_bytes import arrivals

from swarm.results import Code

TIMEOUT_MS = 600_000
BACK_OFF_MS = (100, 5000)
FINISHED = ("answered", "turn_limit", "context_limit")
METRICS = ("ttft_s", "itl_s", "tpot_s", "e2e_s", "effective_e2e_s", "start_delay_s", "tool_s", "job_s", "ttfat_s")
PERCENTS = (50, 90, 95, 99)


@dataclass
class Attempt:
    agent: int
    intended: int
    again: bool
    """It is a retry."""
    send: int
    end: int
    seen: Found
    """Its times are from the stage's start here."""


@dataclass
class Truth:
    attempts: list[Attempt] = field(default_factory=list)
    turns: list[tuple[int, int, int, bool | None]] = field(default_factory=list)
    """Agent, begin, end, and whether the completion succeeded; None: cut off."""
    tools: list[tuple[int, int, int]] = field(default_factory=list)
    """Start, end, and by how much it took longer than planned."""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    lives: list[tuple[int, int, bool]] = field(default_factory=list)
    """Begin and end of each agent, and whether it crashed."""

    @property
    def gone(self) -> bool:
        """Whether no agent is left at the end."""
        return all(crashed for _, _, crashed in self.lives)


class Over(Exception):  # noqa: N818
    """The stage is; or the agent, as it crashed."""


def truth(run: Run) -> Truth:
    told = Truth()
    for agent in range(run.agents):
        _Life(run, agent, told).live()
    return told


class _Life:
    """One agent's, from turn to turn."""

    def __init__(self, run: Run, agent: int, told: Truth) -> None:
        self.run, self.agent, self.told = run, agent, told
        self.stop = run.awake(run.stop_ns)
        self.now = run.awake(round(run.warmup_ms * MS * agent / (2 * run.agents)))
        self.asked = self.called = 0

    def _wait(self, until: int) -> None:
        self.now = self.run.awake(until)
        if self.now >= self.stop:
            self.now = self.stop
            raise Over

    def live(self) -> None:
        begin, crashed, failed = self.now, False, 0
        try:
            while True:
                outcome = self._job()
                failed = failed + 1 if outcome == "error" else 0
                if failed:
                    first, most = BACK_OFF_MS
                    self._wait(self.now + min(most, first * 2 ** (failed - 1)) * MS)
        except Over:
            crashed = self.now < self.stop
        self.told.lives.append((begin, self.now, crashed))

    def _job(self) -> str:
        job = {"agent": self.agent, "begin": None, "outcome": "censored", "answer": None, "tokens": 0}
        job |= {"lost": 0, "calls": 0}
        try:
            job["outcome"] = self._turns(job)
            if self.run.driver == "model" and job["lost"] and not job["calls"]:
                job["outcome"] = "error"
        finally:
            if job["begin"] is not None:
                self.told.jobs.append({**job, "end": self.now})
        return job["outcome"]

    def _turns(self, job: dict[str, Any]) -> str:
        for turn in range(10**9):
            if turn and job["full"]:
                return "context_limit"
            if turn >= self.run.max_turns:
                return "turn_limit"
            intended = self.now
            if turn:
                intended += self.run.think_ms * MS
                if self.run.think_ms:
                    self._wait(intended)
            ok = None
            try:
                seen = self._completion(job, intended)
                ok = seen.outcome == "complete"
                if not ok:
                    return "error"
                job["answer"] = seen.stamps[0] if seen.stamps else None
                job["full"] = (seen.prompt or 0) >= FULL
                calls = len(seen.calls) if self.run.driver == "model" else int(turn < self.run.turns - 1)
                job["lost"] += seen.lost_calls
                job["calls"] += calls
                for _ in range(calls):
                    self._tool()
                if not calls and not (self.run.driver == "model" and seen.lost_calls):
                    return "answered"
            finally:
                self.told.turns.append((self.agent, intended, self.now, ok))
        raise AssertionError

    def _completion(self, job: dict[str, Any], intended: int) -> Found:
        for number in range(self.run.retries):
            seen = self._attempt(job, intended, number > 0)
            if not self._passes(seen):
                return seen
            self._wait(self.now + round(min((seen.retry_after or 0) * 1000, self.run.retry_after_max_ms) * MS))
        return self._attempt(job, intended, self.run.retries > 0)

    def _passes(self, seen: Found) -> bool:
        """Whether it is tried again: it failed before anything of its reply had come."""
        return seen.outcome in ("refused", "rate_limited", "server_error") or (
            seen.outcome == "reset" and not seen.began
        )

    def _attempt(self, job: dict[str, Any], intended: int, again: bool) -> Found:
        send, (dies, is_back) = self.now, self.run.down_ns
        answer: Any = None
        if dies <= send < is_back:
            seen = Found("refused")
        else:
            answer = self.run.answer(self.agent, self.asked)
            self.asked += 1
            until = self.stop if is_back <= send else min(self.stop, dies)
            seen = found(answer, IDLE_MS, TIMEOUT_MS, until - send, self.run.most_tokens)
            seen.began = isinstance(answer, Reply) and any(send + one.at * MS < until for one in answer.said)
            if until < self.stop:
                seen.over = min(seen.over, until - send)
                seen.outcome = "reset" if seen.outcome == "aborted" else seen.outcome
        over = send + seen.over
        seen.end += send
        seen.stamps = [stamp + send for stamp in seen.stamps]
        if self.run.freeze:
            self._freeze(seen, answer, send)
        if job["begin"] is None:
            job["begin"] = send
        job["tokens"] += seen.completion or 0
        self.told.attempts.append(Attempt(self.agent, intended, again, send, seen.end, seen))
        self._wait(over)
        return seen

    def _freeze(self, seen: Found, answer: Any, send: int) -> None:
        """What arrived meanwhile is read in one, and has the stamp of its last byte."""
        begin = self.run.freeze[0] * MS + MS // 4
        end = begin + self.run.freeze[1] * MS
        meanwhile = [send + at for at, what in arrivals(answer) if isinstance(what, bytes) and begin <= send + at < end]

        def stamp(t: int) -> int:
            return max(meanwhile) if begin <= t < end else t

        seen.stamps = [stamp(t) for t in seen.stamps]
        seen.end = stamp(seen.end)

    def _tool(self) -> None:
        self.called += 1
        if self.run.crashes(self.agent, self.called):
            raise Over
        begin, planned = self.now, self.run.tool_ms * MS
        self._wait(begin + self.run.work_ms * MS)
        late = max(0, self.now - begin - planned) if self.run.driver == "script" else 0
        if self.run.driver == "script" and begin + planned > self.now:
            self._wait(begin + planned)
        self.told.tools.append((begin, self.now, late))


def numbers(run: Run, told: Truth) -> dict[str, Any]:
    """What `results.json` must say of the stage, in its own words."""
    start, stop = run.warmup_ms * MS, run.stop_ns
    seconds = (stop - start) / 1e9

    def holds(t: int | None) -> bool:
        return t is not None and start <= t < stop

    def inside(begin: int, end: int) -> int:
        return max(0, min(end, stop) - max(begin, start))

    ended = [one for one in told.attempts if holds(one.end)]
    complete = [one for one in ended if one.seen.outcome == "complete"]
    errors = Counter(one.seen.outcome for one in ended if one.seen.outcome not in ("complete", "aborted"))
    served = [one for one in told.attempts if inside(one.send, one.end)]
    tokens = {id(one): _tokens(one, holds) for one in told.attempts}
    known = [tokens[id(one)] for one in served if tokens[id(one)] is not None]
    uncounted = len(known) < len(served)
    finished = [job for job in told.jobs if holds(job["end"]) and job["outcome"] in FINISHED]
    outcomes = Counter(job["outcome"] for job in told.jobs if holds(job["end"]))
    outcomes["censored"] += sum(job["begin"] < stop <= job["end"] for job in told.jobs)
    enough = len(finished) >= 4 * run.agents
    latency = {name: [v for v, t in values if holds(t)] for name, values in _durations(told).items()}
    if not enough:
        latency |= {name: len(latency[name]) for name in ("job_s", "ttfat_s")}
    waited = [_waited(number, told, inside) for number in range(run.agents)]
    agents = [_agent(number, told, tokens, holds, inside) for number in range(run.agents)]
    idle = _idle(run, told, agents, tokens, inside)
    alive = sum(inside(begin, end) for begin, end, _ in told.lives)
    away = sum(inside(*told.lives[n][:2]) if n in idle else waited[n] for n in range(run.agents))
    return {
        "complete": len(complete),
        "requests_per_s": len(complete) / seconds,
        "output_tokens_per_s": None if uncounted and not sum(known) else sum(known) / seconds,
        "jobs_per_h": len(finished) * 3600 / seconds if enough else None,
        "tokens_per_job": (sum(j["tokens"] for j in finished) / len(finished) or None) if enough else None,
        "prompt": _total(one.seen.prompt for one in ended),
        "cached": _total(one.seen.cached for one in ended),
        "errors": dict(errors),
        "lost_calls": {
            "replies": sum(one.seen.for_tools for one in complete),
            "lost": sum(one.seen.lost_calls for one in complete),
        },
        "finish_reasons": dict(Counter(one.seen.finish for one in complete)),
        "started": sum(holds(job["begin"]) for job in told.jobs),
        "finished": len(finished),
        "outcomes": {name: times for name, times in outcomes.items() if times},
        "in_flight_mean": sum(inside(one.send, one.end) for one in told.attempts) / 1e9 / seconds,
        "in_flight_max": max((_flying(told, max(one.send, start), inside) for one in served), default=0),
        "alive": alive / 1e9 / seconds,
        "taking_part": (alive - away) / 1e9 / seconds,
        "idle": bool(idle),
        "waited": sum(waited) / 1e9,
        "latency": latency,
        "agents": agents,
        "turns": sum(holds(end) and ok is True for _, _, end, ok in told.turns),
    }


def _waited(agent: int, told: Truth, inside: Any) -> int:
    """Its waits of 6 s and more between a failed request and the next one, or its end."""
    mine = [one for one in told.attempts if one.agent == agent]
    nexts = [*(one.send for one in mine[1:]), told.lives[agent][1]]
    pairs = [
        (one.end, t) for one, t in zip(mine, nexts, strict=False) if one.seen.outcome not in ("complete", "aborted")
    ]
    return sum(inside(since, t) for since, t in pairs if t - since >= 6_000 * MS)


def _idle(run: Run, told: Truth, agents: Any, tokens: Any, inside: Any) -> set[int]:
    """Agents that were there, and ended no turn and got next to nothing while the median agent ended 10 or more."""
    half = run.window_ms * MS / 2
    there = [n for n in range(run.agents) if inside(*told.lives[n][:2]) >= half]
    if not there or median(agents[n]["turns"] for n in there) < 10:
        return set()
    got = {n: [tokens[id(one)] for one in told.attempts if one.agent == n] for n in there}
    total = {n: sum(filter(None, each)) for n, each in got.items()}
    enough = 0.1 * median(total.values())
    return {n for n in there if not agents[n]["turns"] and None not in got[n] and (not total[n] or total[n] < enough)}


def _total(values: Any) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _flying(told: Truth, t: int, inside: Any) -> int:
    return sum(one.send <= t < one.end for one in told.attempts if inside(one.send, one.end))


def _tokens(one: Attempt, holds: Any) -> float | None:
    """Tokens that came in the window; None: the server did not say."""
    seen = one.seen
    total = seen.completion if seen.completion is not None else seen.tokens[-1] if seen.tokens else None
    if not seen.stamps:
        return total or 0
    if total is None:
        return None
    each = [after - before for before, after in zip([0, *seen.tokens], seen.tokens, strict=False)]
    if not each:
        each = [total / len(seen.stamps)] * len(seen.stamps)
    each[-1] += total - sum(each)
    return sum(count for count, stamp in zip(each, seen.stamps, strict=True) if holds(stamp))


def _durations(told: Truth) -> dict[str, list[tuple[float, int]]]:
    """Metric -> durations, each with when it ended."""
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in METRICS}
    for one in told.attempts:
        stamps, seen = one.seen.stamps, one.seen
        if not one.again:
            found["start_delay_s"].append((one.send - one.intended, one.send))
        if stamps:
            found["ttft_s"].append((stamps[0] - one.send, stamps[0]))
        found["itl_s"] += [(after - before, after) for before, after in pairwise(stamps)]
        if seen.outcome != "complete":
            continue
        found["e2e_s"].append((one.end - one.send, one.end))
        found["effective_e2e_s"].append((one.end - one.intended, one.end))
        later = (seen.completion or 0) - max([1, *seen.tokens[:1]])  # tokens after the first chunk
        if stamps and stamps[0] < stamps[-1] and later > 0:
            found["tpot_s"].append(((stamps[-1] - stamps[0]) / later, stamps[-1]))
    found["tool_s"] = [(end - begin, end) for begin, end, _ in told.tools]
    for job in told.jobs:
        if job["outcome"] in FINISHED:
            found["job_s"].append((job["end"] - job["begin"], job["end"]))
            if job["answer"] is not None:
                found["ttfat_s"].append((job["answer"] - job["begin"], job["end"]))
    return found


def _agent(number: int, told: Truth, tokens: Any, holds: Any, inside: Any) -> dict[str, Any]:
    mine = [one for one in told.attempts if one.agent == number]
    counted = [one for one in mine if tokens[id(one)] is not None]
    serving = sum(inside(one.send, one.end) for one in counted) / 1e9
    got = sum(tokens[id(one)] for one in counted)
    unknown = len(counted) < len(mine) and not got
    return {
        "agent": number,
        "output_tokens_per_s": None if not serving or unknown else got / serving,
        "turns": sum(holds(end) and ok is True for agent, _, end, ok in told.turns if agent == number),
        "jobs": sum(holds(job["end"]) and job["outcome"] in FINISHED for job in told.jobs if job["agent"] == number),
        "errors": sum(holds(one.end) and one.seen.outcome not in ("complete", "aborted") for one in mine),
    }


def reasons(run: Run, told: Truth, found: dict[str, Any]) -> dict[Code, bool | None]:
    """Which reasons must make the stage invalid; None: it may or may not be one."""
    start, stop = run.warmup_ms * MS, run.stop_ns
    complete = [one for one in told.attempts if one.seen.outcome == "complete" and start <= one.end < stop]
    failed = sum(found["errors"].values())
    planned = [one for one in complete if run.driver == "script" and one.seen.completion is not None]
    off = sum(abs(one.seen.completion - run.planned) for one in planned)
    counted = all(one.seen.completion is not None and one.seen.prompt is not None for one in told.attempts)
    total = sum(one.seen.completion or 0 for one in told.attempts)
    slack = sum(one.seen.outcome != "complete" for one in told.attempts) * 100
    disagree: bool | None = None
    if run.counters is None or (run.counters == 1.0 and counted):
        disagree = False
    elif run.counters and counted and not run.freeze and total * (run.counters - 1.02) > slack + 10:
        disagree = True
    return {
        "too_few_turns": found["turns"] < 10 * run.agents,
        "requests_failed": failed * 100 > run.error_share * (failed + len(complete)),
        "reply_lengths_off": off > 0.1 * run.planned * len(planned),
        "tool_calls_lost": found["lost_calls"]["lost"] > 0.05 * found["lost_calls"]["replies"],
        "tools_late": _late(told, start, stop),
        "usage_missing": any(one.seen.completion is None or one.seen.prompt is None for one in complete),
        "token_counts_disagree": disagree,
        "agents_died": found["alive"] < 0.95 * run.agents,
        "agents_idle": None if run.think_ms and found["idle"] else found["idle"],
        "agents_kept_away": found["waited"] > 0.05 * run.agents * run.window_ms / 1000,
        "server_silent": _stalled(run, told),
        "load_generator_froze": _stood_still(run, start, stop),
        "load_generator_late": None,  # this machine's CPU in virtual time
    }


def _stood_still(run: Run, start: int, stop: int) -> bool | None:
    """It looks every 20 ms whether it does."""
    if run.freeze is None:
        return False
    begin = run.freeze[0] * MS + MS // 4
    lost, allowed = min(stop, begin + run.freeze[1] * MS) - max(start, begin), max(500 * MS, 0.02 * (stop - start))
    return True if lost - 21 * MS > allowed else None if lost > allowed else False


def _late(told: Truth, start: int, stop: int) -> bool:
    turns = sum(end - begin for _, begin, end, ok in told.turns if ok and start <= end < stop)
    return 0 < turns < 10 * sum(late for _, end, late in told.tools if start <= end < stop)


def _stalled(run: Run, told: Truth) -> bool:
    stop, longest, silent = run.stop_ns, 0, 0
    for one in told.attempts:
        if one.send >= stop:
            continue
        signs = [one.send, *(t for t in one.seen.stamps if t < stop)]
        longest = max(longest, *(after - before for before, after in pairwise(signs)), 0)
        if one.end >= stop:
            silent = max(silent, stop - signs[-1])
    return silent > max(0.02 * (stop - run.warmup_ms * MS), 3 * longest)
