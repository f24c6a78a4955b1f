"""One stage: N agents against one target for a warm-up and a window. A picklable specification in, records out."""

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from statistics import fmean
from typing import Any

from swarm.agents.agent import Agent, Surroundings, Tools
from swarm.agents.content import Contents
from swarm.agents.driver import Driver, Job
from swarm.agents.script import job_order
from swarm.client.base import Client
from swarm.client.retry import RetryPolicy
from swarm.clock import Clock
from swarm.engine.monitor import every_second, watch_client
from swarm.engine.schedule import StagePlan
from swarm.engine.server import ServerWatch
from swarm.engine.stop import Stop
from swarm.engine.until import Confidence, looks
from swarm.recording import records
from swarm.recording.redaction import Redaction
from swarm.recording.status import AgentStatus
from swarm.scenario.pattern import shifts
from swarm.scenario.schema import Until
from swarm.tasks import Task

_COUNTERS = {
    "prompt_tokens": "prompt_tokens",
    "cached_prompt_tokens": "cached_prompt_tokens",
    "completion_tokens": "generation_tokens",
    "preemptions": "preemptions",
}
"""Counters of a server whose growth over a stage is recorded, by our names."""


@dataclass(frozen=True)
class StageSpec:
    """What one shard does in one stage. `numbers` are its agents, of `plan.agents` in all."""

    run: str
    shard: int
    plan: StagePlan
    numbers: tuple[int, ...]
    driver: Driver
    tasks: tuple[Task, ...]
    retry: RetryPolicy
    warmup_s: float
    duration_s: float
    think_s: float
    max_turns: int
    seed: int
    until: Until | None = None
    levels: tuple[int, ...] = ()
    """Of a soak: how many agents are at work in each `level_s` seconds of the window; (): all, always."""
    level_s: float = 0.0
    done_s: float = 0.0
    """Of a soak that goes on: how much of it was measured before."""
    jobs_begun: tuple[int, ...] = ()
    """Of a soak that goes on: jobs that each agent began before; (): none."""
    redact: Redaction = field(default_factory=Redaction)
    content: bool = False
    """Whether what is said is recorded."""
    watch_client: bool = True
    """Whether the load generator watches itself. Not in virtual time, where being slow does no harm."""

    @property
    def header(self) -> dict[str, Any]:
        """The fields that all records of the stage share."""
        plan = self.plan
        return {
            "run": self.run,
            "shard": self.shard,
            "target": plan.target,
            "agents": plan.agents,
            "trial": plan.trial,
        }


async def run_stage(
    spec: StageSpec,
    client: Client,
    tools: Tools,
    server: ServerWatch,
    clock: Clock,
    publish: Callable[[records.Published], None],
    statuses: list[AgentStatus],
    next_id: Callable[[], str],
    stop: Stop,
) -> None:
    """Runs the stage to its window's end, or until `stop` or the last agent's crash; all it began is published."""
    header, stage_id = spec.header, next_id()
    before = await server.idle("before")
    start = clock.now()
    window_start = start + round(spec.warmup_s * 1e9)
    lengths = [round(length * 1e9) for length in looks(spec.duration_s, spec.until)]
    publish(
        records.Stage(
            **header,
            id=stage_id,
            t_ns=start,
            window_start_ns=window_start,
            window_end_ns=window_start + lengths[-1],
            salt=spec.plan.salt,
            seed=spec.seed,
            done_ns=round(spec.done_s * 1e9),
            planned_alive=fmean(spec.levels) if spec.levels else None,
        )
    )
    confidence = Confidence(spec.until.metric, window_start) if spec.until else None

    def publish_of_agents(record: records.Record) -> None:
        publish(record)
        if confidence:
            confidence.add(record)

    around = Surroundings(
        header=header,
        stage_id=stage_id,
        clock=clock,
        client=client,
        driver=spec.driver,
        tools=tools,
        retry=spec.retry,
        publish=publish_of_agents,
        next_id=next_id,
        think_ns=round(spec.think_s * 1e9),
        max_turns=spec.max_turns,
        redact=spec.redact,
        contents=Contents(spec.redact) if spec.content else None,
    )
    agents = [
        asyncio.create_task(_work(spec, number, start, around, status))
        for number, status in zip(spec.numbers, statuses, strict=True)
    ]
    watchers = [asyncio.create_task(every_second(clock, server.sample))]
    if spec.watch_client:
        watchers.append(asyncio.create_task(watch_client(client, clock, header, publish, next_id)))
    interrupted = None
    for length in lengths:
        interrupted = await _until(clock, window_start + length, stop, agents)
        if interrupted or (confidence and spec.until and _sure(confidence, spec.until, window_start + length)):
            break
    if confidence and spec.until and not interrupted:
        end = window_start + length
        publish(
            records.WindowEnd(
                **header,
                id=next_id(),
                parent=stage_id,
                t_ns=end,
                metric=spec.until.metric,
                asked=spec.until.ci,
                reached=confidence.half_width(end),
            )
        )
    await _cancel(agents)  # first of all: nothing may be counted that ends after the window because we were busy
    await _cancel(watchers)
    after = await server.idle("after")
    publish(
        records.StageEnd(
            **header,
            id=next_id(),
            parent=stage_id,
            t_ns=clock.now(),
            interrupted=interrupted,
            counters=_growth(before, after),
        )
    )


def _sure(confidence: Confidence, until: Until, now_ns: int) -> bool:
    reached = confidence.half_width(now_ns)
    return reached is not None and reached <= until.ci


def _jobs(spec: StageSpec, agent: int) -> Iterator[Job]:
    begun = spec.jobs_begun[agent] if spec.jobs_begun else 0
    order = cycle(job_order(list(spec.tasks), spec.plan.order, agent))
    for number, task in islice(zip(count(1), order), begun, None):
        yield Job(task, ticket=f"{spec.seed}-{agent:04d}-{number:05d}")


def _offset(spec: StageSpec, agent: int) -> int:
    """Agents start spread over the first half of the warm-up, in nanoseconds: real ones do not start in step."""
    return round(spec.warmup_s / 2 * agent / spec.plan.agents * 1e9)


async def _work(spec: StageSpec, number: int, start_ns: int, around: Surroundings, status: AgentStatus) -> None:
    """One agent through the stage: from shift to shift, where a pattern lets it rest in between."""
    jobs = _jobs(spec, number)
    for begin, end in _shifts(spec, number, start_ns):
        await around.clock.sleep_until(begin)
        await Agent(number, _until_over(jobs, around.clock, end), around, status).run()
        if status.state != "crashed":
            status.state = "stopped"


def _shifts(spec: StageSpec, agent: int, start_ns: int) -> Iterator[tuple[int, float]]:
    """When the agent is at work, on the run's time line; the stage's end ends the last shift, by cancelling it."""
    first = start_ns + _offset(spec, agent)
    if not spec.levels:
        yield first, math.inf
    window_start = start_ns + round(spec.warmup_s * 1e9)
    for begin, end in shifts(spec.levels, agent):
        yield (
            window_start + round(begin * spec.level_s * 1e9) if begin else first,
            window_start + round(end * spec.level_s * 1e9) if end < len(spec.levels) else math.inf,
        )


def _until_over(jobs: Iterator[Job], clock: Clock, end_ns: float) -> Iterator[Job]:
    """An agent whose shift is over finishes its job, and takes no other."""
    while clock.now() < end_ns:
        yield next(jobs)


async def _until(clock: Clock, t_ns: int, stop: Stop, agents: list[asyncio.Task[None]]) -> str | None:
    """Waits for the window's end; returns what came before it, if anything did."""
    end = asyncio.create_task(clock.sleep_until(t_ns))
    stopped = asyncio.create_task(stop.wait())
    none_left = asyncio.create_task(asyncio.wait(agents))
    await asyncio.wait([end, stopped, none_left], return_when=asyncio.FIRST_COMPLETED)
    reason = None if end.done() else stop.reason or "every agent crashed"
    await _cancel([end, stopped, none_left])
    return reason


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def _growth(before: dict[str, float] | None, after: dict[str, float] | None) -> dict[str, float] | None:
    if before is None or after is None:
        return None
    return {
        name: after[theirs] - before[theirs]
        for name, theirs in _COUNTERS.items()
        if theirs in after and theirs in before
    }
