"""Synthetic runs: what an engine would have recorded, in numbers so round that results can be worked out by hand.

Times are seconds from the start of the stage's window. One agent's usual turn (`Stage.work`) takes a period of 1 s:
0.2 s to the first token, 4 gaps of 0.1 s, 2 tokens in each of the 5 chunks, the stream's end with the last chunk
(0.6 s), then a tool call of 0.3 s. Two turns make a job of 1.9 s whose answer begins after 1.2 s.
"""

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from swarm.clock import Clock
from swarm.recording import records, rundir
from swarm.recording.appender import RecordFile
from swarm.recording.histograms import Histograms
from swarm.recording.recorder import Recorder

S = 1_000_000_000
STARTED = 1_760_000_000.0


class StoppedClock(Clock):
    """Stands still until it is set."""

    def __init__(self, t_ns: int = 0) -> None:
        super().__init__(origin_ns=0)
        self.t_ns = t_ns

    def now(self) -> int:
        return self.t_ns

    def wall(self) -> float:
        return STARTED + self.t_ns / 1e9


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


@dataclass
class Run:
    """A run under construction; `write` makes its directory through the real sinks."""

    targets: dict[str, str] = field(default_factory=lambda: {"moe": "moe"})
    """Name -> architecture."""
    levels: list[int] = field(default_factory=lambda: [1])
    trials: int = 1
    thresholds: list[str] = field(default_factory=list)
    max_error_share: str = "0%"
    max_lost_calls: str | None = None
    """None: an older run, whose scenario did not know of them."""
    driver: str = "script"
    predicted: bool = False
    gpus: int = 1
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of the scenario."""
    published: list[records.Published] = field(default_factory=list)
    ids: "count[int]" = field(default_factory=lambda: count(1))
    _end_s: float = 0.0

    def stage(
        self, target: str = "moe", agents: int = 1, trial: int = 1, window_s: float = 10.0, warmup_s: float = 2.0
    ) -> "Stage":
        start = ns(self._end_s + warmup_s)
        self._end_s += warmup_s + window_s + 5
        return Stage(self, target, agents, trial, start, warmup_s, window_s)

    def healthy(self, target: str = "moe", agents: int = 1, trial: int = 1, **work: Any) -> "Stage":
        """A whole valid stage: every agent works through the window."""
        stage = self.stage(target, agents, trial, window_s=work.pop("window_s", 10.0))
        for agent in range(agents):
            stage.work(agent, **work)
        stage.end()
        return stage

    def scenario(self) -> dict[str, Any]:
        return {
            "name": "synthetic",
            "targets": [
                {"name": name, "architecture": architecture, "simulate": {"profile": f"{name}-30b"}, "gpus": self.gpus}
                for name, architecture in self.targets.items()
            ],
            "client": {"max_lag": "5ms", "max_cpu": "80%"},
            "agents": {"levels": self.levels, "driver": self.driver},
            "stage": {"trials": self.trials, "max_error_share": self.max_error_share, "duration": "10s"}
            | ({"max_lost_calls": self.max_lost_calls} if self.max_lost_calls else {}),
            "thresholds": self.thresholds,
            **self.more,
        }

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / rundir.SCENARIO).write_text(yaml.safe_dump(self.scenario()))
        environment = {"started_at": "2026-01-02T03:04:05+00:00", "predicted": self.predicted}
        rundir.write_json(directory / rundir.ENVIRONMENT, environment)
        clock = StoppedClock()
        histograms = Histograms(directory / rundir.HISTOGRAMS, clock)
        recorder = Recorder(
            [
                RecordFile(directory / rundir.EVENTS, records.Record),
                RecordFile(directory / rundir.SERVER, records.ServerSample),
                histograms,
            ]
        )
        for number, record in enumerate(self.published, 1):
            recorder.publish(record)
            if number % 50 == 0:  # as many lines of the log as a run of some seconds would have
                clock.t_ns = number * S // 50
                for _ in histograms.flush():
                    pass
        recorder.close()
        return directory


@dataclass
class Stage:
    """A stage under construction; every method publishes a record, and any of its fields can be given outright."""

    run: Run
    target: str
    agents: int
    trial: int
    start_ns: int
    warmup_s: float
    window_s: float
    attempts: list[records.Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._publish(
            records.Stage,
            -self.warmup_s,
            window_start_ns=self.start_ns,
            window_end_ns=self.at(self.window_s),
            salt="0123456789abcdef",
            seed=7,
        )

    def at(self, seconds: float) -> int:
        return self.start_ns + ns(seconds)

    def attempt(
        self,
        send: float,
        *,
        agent: int = 0,
        waits: list[float] | None = None,
        tokens: int | None = 10,
        per_chunk: bool = True,
        end: float | None = None,
        **fields: Any,
    ) -> records.Attempt:
        """A request; `waits` are TTFT and gaps. Each chunk brings the same number of tokens."""
        gaps = [ns(wait) for wait in ([0.2, 0.1, 0.1, 0.1, 0.1] if waits is None else waits)]
        first = self.at(send) + gaps[0] if gaps else None
        last = self.at(send) + sum(gaps) if gaps else None
        each = [tokens // len(gaps)] * len(gaps) if tokens is not None and gaps and per_chunk else None
        given: dict[str, Any] = {
            "agent": agent,
            "task": "lru-cache",
            "variant": "ttl",
            "intended_ns": self.at(send),
            "end_ns": self.at(end) if end is not None else last if last is not None else self.at(send),
            "first_token_ns": first,
            "last_token_ns": last,
            "chunks": gaps,
            "chunk_tokens": each,
            "prompt_tokens": 1000,
            "cached_tokens": 800,
            "completion_tokens": tokens,
            "planned_tokens": tokens,
            "finish_reason": "tool_calls",
            "tool_calls": 1,
        }
        attempt = self._publish(records.Attempt, send, **given | fields)
        self.attempts.append(attempt)
        return attempt

    def failed(self, send: float, end: float, kind: records.ErrorKind = "reset", **fields: Any) -> records.Attempt:
        """A request that failed before its first token."""
        unknown = dict.fromkeys(("prompt_tokens", "cached_tokens", "planned_tokens", "finish_reason"))
        defaults = {**unknown, "chunks": None, "error": kind, "message": f"connection {kind}"}
        return self.attempt(send, waits=[], tokens=None, end=end, **defaults | fields)

    def turn(self, start: float, end: float, *, agent: int = 0, **fields: Any) -> records.Turn:
        return self._publish(
            records.Turn, start, **{"agent": agent, "end_ns": self.at(end), "number": 1, "ok": True} | fields
        )

    def tool(self, start: float, end: float, *, agent: int = 0, **fields: Any) -> records.Tool:
        given = {"agent": agent, "end_ns": self.at(end), "name": "read_file", "ok": True, "work_ns": ns(end - start)}
        return self._publish(records.Tool, start, **given | fields)

    def job(
        self, start: float, end: float, *, agent: int = 0, answer: float | None = None, **fields: Any
    ) -> records.Job:
        given: dict[str, Any] = {
            "agent": agent,
            "end_ns": self.at(end),
            "task": "lru-cache",
            "variant": "ttl",
            "outcome": "answered",
            "turns": 2,
            "serving_ns": ns(end - start),
            "tool_ns": 0,
            "think_ns": 0,
            "client_ns": 0,
            "completion_tokens": 20,
            "answer_ns": None if answer is None else self.at(answer),
        }
        return self._publish(records.Job, start, **given | fields)

    def work(
        self,
        agent: int = 0,
        *,
        slower: float = 1.0,
        period: float = 1.0,
        until: float | None = None,
        variant: str = "ttl",
        jobs: int = 1000,
        **attempt: Any,
    ) -> None:
        """Turns of `period` seconds up to `until` (the window's end); `slower` stretches the waits of each reply.

        Every second turn ends a job, for the first `jobs` of them.
        """
        waits = [wait * slower for wait in (0.2, 0.1, 0.1, 0.1, 0.1)]
        for number in range(int((self.window_s if until is None else until) / period + 1e-9)):
            send = number * period
            served = send + sum(waits)
            self.attempt(send, agent=agent, waits=waits, variant=variant, **attempt)
            self.tool(served, served + 0.3, agent=agent)
            self.turn(send, send + period - 0.1, agent=agent)
            if number % 2 and number // 2 < jobs:
                self.job(send - period, send + period - 0.1, agent=agent, answer=send + waits[0], variant=variant)

    def watch(self, end: float, **fields: Any) -> records.ClientSample:
        """A second of the client's view of itself: a fifth of a core, lags of 0.1 ms."""
        given: dict[str, Any] = {
            "end_ns": self.at(end),
            "cpu_ns": ns(0.2),
            "busy_share": 0.3,
            "lag_ns": [100_000] * 100,
            "chunks": 50,
            "coalesced": 1,
            "stamp_source": "user",
        }
        return self._publish(records.ClientSample, end - 1, **given | fields)

    def join(self, shard: int, name: str, numbers: list[int], **clock: int) -> None:
        self._publish(records.Shard, -self.warmup_s, shard=shard, name=name, numbers=numbers, **clock)

    def lose(self, t: float, shard: int, name: str, numbers: list[int], reason: str) -> None:
        self._publish(records.ShardLost, t, shard=shard, name=name, numbers=numbers, reason=reason)

    def server(self, t: float, **metrics: float) -> None:
        self.run.published.append(
            records.ServerSample(
                t_ns=self.at(t), target=self.target, agents=self.agents, trial=self.trial, metrics=dict(metrics)
            )
        )

    def live(self, agent: int, start: float, end: float, crash: str | None = None) -> None:
        self._publish(records.AgentEnd, start, agent=agent, end_ns=self.at(end), crash=crash)

    def end(self, *, alive: bool = True, watched: bool = True, t: float | None = None, **fields: Any) -> None:
        """Ends the stage; unless told otherwise, all agents lived, the client was calm, and the counters agree."""
        end = self.window_s if t is None else t
        if alive:
            for agent in range(self.agents):
                self.live(agent, -self.warmup_s, end)
        if watched:
            for second in range(1, int(end)):
                self.watch(second)
        counters = {
            "prompt_tokens": float(sum(attempt.prompt_tokens or 0 for attempt in self.attempts)),
            "completion_tokens": float(sum(attempt.completion_tokens or 0 for attempt in self.attempts)),
        }
        self._publish(records.StageEnd, end, **{"counters": counters} | fields)

    def close(self, t: float, **fields: Any) -> None:
        """Ends the window of a stage that was to run until a number was sure enough."""
        self._publish(records.WindowEnd, t, **{"metric": "output_tokens_per_s", "asked": 0.05} | fields)

    def _publish(self, kind: Any, start: float, **fields: Any) -> Any:
        header = {"run": "r", "target": self.target, "agents": self.agents, "trial": self.trial}
        record = kind(id=f"0.{next(self.run.ids)}", t_ns=self.at(start), **header | fields)
        self.run.published.append(record)
        return record
