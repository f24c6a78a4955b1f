"""One stage: N agents against one target for a warm-up and a window. A picklable specification in, records out."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol

from swarm.agents.driver import Driver
from swarm.agents.session import Session
from swarm.client.retry import RetryPolicy
from swarm.clock import Clock
from swarm.engine.monitor import every_second
from swarm.engine.schedule import StagePlan
from swarm.engine.server import ServerWatch
from swarm.engine.stop import Stop
from swarm.engine.stopping_rule import StoppingRule, looks
from swarm.recording import records
from swarm.recording.redaction import Redaction
from swarm.scenario.schema import Until
from swarm.tasks import Task

Enter = Callable[[], Coroutine[Any, Any, records.Entered]]

_COUNTERS = {
    "prompt_tokens": "prompt_tokens",
    "cached_prompt_tokens": "cached_prompt_tokens",
    "completion_tokens": "generation_tokens",
    "preemptions": "preemptions",
}
"""Counters of a server whose growth over a stage is recorded, by our names."""


@dataclass(frozen=True)
class StageSpec:
    """The work of one shard in one stage. `numbers` are its agents, out of `plan.agents` altogether."""

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
    sessions: tuple[Session, ...] = ()
    """In the place of tasks: agents work through them, and enter in the middle of one."""
    until: Until | None = None
    levels: tuple[int, ...] = ()
    """In a soak: how many agents are at work in each `level_s` seconds of the window; (): all, always."""
    level_s: float = 0.0
    done_s: float = 0.0
    """In a resumed soak: how many seconds of it were measured before."""
    jobs_begun: tuple[int, ...] = ()
    """In a resumed soak: jobs that each agent began before; (): none."""
    redact: Redaction = field(default_factory=Redaction)
    content: bool = False
    """Whether what is said is recorded."""
    watch_client: bool = True
    """Whether the load generator watches itself. Not in virtual time, where being slow does no harm."""

    companions: tuple[int, ...] = ()
    """Process numbers of swarm's own on this shard's machine that no other shard watches."""

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


class Crew(Protocol):
    """Who runs the agents of a stage: this process, or several others that it leads."""

    async def ready(self) -> int:
        """Waits until all that run agents can begin; returns when they do, on the run's clock."""

    async def begin(self, stage_id: str, start_ns: int, publish: Callable[[records.Record], None]) -> None:
        """Lets the agents begin at `start_ns`. What they publish comes at once, or in batches a little later."""

    async def gone(self) -> str:
        """Waits until no agent is left; returns why."""

    async def catch_up(self) -> None:
        """Returns when all is published that has happened until now."""

    async def end(self) -> None:
        """Stops the agents; all that they began is then published."""


async def run_stage(
    spec: StageSpec,
    crew: Crew,
    server: ServerWatch,
    clock: Clock,
    publish: Callable[[records.Published], None],
    next_id: Callable[[], str],
    stop: Stop,
    enter: Enter | None = None,
) -> None:
    """Runs the stage to its window's end, or until `stop` or the last agent's crash; all it began is published.

    `enter`: lets the agents in first, where they enter in the middle of their sessions.
    """
    header, stage_id = spec.header, next_id()
    entered = await _entered(enter, stop) if enter else None
    before = await server.idle("before")
    start = await crew.ready()
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
            entered=entered,
        )
    )
    rule = StoppingRule(spec.until, spec.plan.agents, window_start) if spec.until else None

    def publish_of_agents(record: records.Record) -> None:
        publish(record)
        if rule:
            rule.add(record)

    await crew.begin(stage_id, start, publish_of_agents)
    sampling = asyncio.create_task(every_second(clock, server.sample))
    interrupted = None
    for length in lengths:
        interrupted = await _until(clock, window_start + length, stop, crew)
        if interrupted:
            break
        if rule:
            await crew.catch_up()
            if rule.met(window_start + length):
                break
    if rule and not interrupted:
        end = window_start + length
        publish(records.WindowEnd(**header, id=next_id(), parent=stage_id, t_ns=end, **rule.told(end)))
    await crew.end()  # first of all: nothing may be counted that ends after the window because we were busy
    await cancel([sampling])
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


async def _entered(enter: Enter, stop: Stop) -> records.Entered | None:
    """None where the run is stopped meanwhile."""
    entering = asyncio.ensure_future(enter())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([entering, stopped], return_when=asyncio.FIRST_COMPLETED)
    await cancel([stopped, *([] if entering.done() else [entering])])
    return None if entering.cancelled() else entering.result()


async def _until(clock: Clock, t_ns: int, stop: Stop, crew: Crew) -> str | None:
    """Waits for the window's end; returns what came before it, if anything did."""
    end = asyncio.create_task(clock.sleep_until(t_ns))
    stopped = asyncio.create_task(stop.wait())
    gone = asyncio.create_task(crew.gone())
    await asyncio.wait([end, stopped, gone], return_when=asyncio.FIRST_COMPLETED)
    reason = None if end.done() else stop.reason or gone.result()
    await cancel([end, stopped, gone])
    return reason


async def cancel(tasks: list[asyncio.Task[Any]]) -> None:
    """Ends tasks, and raises what one of them failed with."""
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
