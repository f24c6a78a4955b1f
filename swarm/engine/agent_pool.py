"""The agents of a stage that this process runs: all of them, or those of one shard."""

import asyncio
import gc
import math
import sys
from collections.abc import Callable, Iterator

from swarm.agents.agent import Agent, AgentContext, Tools
from swarm.agents.content import Contents
from swarm.agents.driver import Job
from swarm.client.base import Client
from swarm.clock import Clock
from swarm.engine.monitor import watch_client
from swarm.engine.stage import StageSpec, cancel
from swarm.engine.workloads.entering import jobs_of
from swarm.recording import records
from swarm.recording.status import AgentStatus
from swarm.scenario.pattern import shifts


def make_calm() -> None:
    """Settles this process before its agents run, so that no chunk has to wait for the interpreter's own affairs."""
    # Everything imported and built so far stays: the collector need not walk through it while agents run.
    gc.collect()
    gc.freeze()
    # A thread that copies files hands the interpreter back after this time, not Python's 5 ms: chunks wait for it.
    sys.setswitchinterval(0.0005)


class LocalCrew:
    """The agents `spec.numbers`, as tasks of the running event loop; `statuses` are theirs, in the same order."""

    def __init__(
        self,
        spec: StageSpec,
        client: Client,
        tools: Tools,
        clock: Clock,
        statuses: list[AgentStatus],
        next_id: Callable[[], str],
    ) -> None:
        self._spec = spec
        self._client = client
        self._tools = tools
        self._clock = clock
        self._statuses = statuses
        self._next_id = next_id
        self._agents: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []

    async def ready(self) -> int:
        return self._clock.now()

    async def begin(self, stage_id: str, start_ns: int, publish: Callable[[records.Record], None]) -> None:
        spec = self._spec
        around = AgentContext(
            header=spec.header,
            stage_id=stage_id,
            clock=self._clock,
            client=self._client,
            driver=spec.driver,
            tools=self._tools,
            retry=spec.retry,
            publish=publish,
            next_id=self._next_id,
            think_ns=round(spec.think_s * 1e9),
            max_turns=spec.max_turns,
            redact=spec.redact,
            contents=Contents(spec.redact) if spec.content else None,
        )
        self._agents = [
            asyncio.create_task(_work(spec, number, start_ns, around, status))
            for number, status in zip(spec.numbers, self._statuses, strict=True)
        ]
        if spec.watch_client:
            watching = watch_client(
                self._client, self._clock, spec.header, publish, self._next_id, companions=spec.companions
            )
            self._watching = [asyncio.create_task(watching)]

    @property
    def left(self) -> int:
        """Agents that have not ended."""
        return sum(not agent.done() for agent in self._agents)

    async def gone(self) -> str:
        await asyncio.wait(self._agents)
        return "every agent crashed"

    async def catch_up(self) -> None: ...

    async def end(self) -> None:
        await cancel(self._agents)
        await cancel(self._watching)


def _offset(spec: StageSpec, agent: int) -> int:
    """Agents start spread over the first half of the warm-up, in nanoseconds: real ones do not start in step."""
    return round(spec.warmup_s / 2 * agent / spec.plan.agents * 1e9)


async def _work(spec: StageSpec, number: int, start_ns: int, around: AgentContext, status: AgentStatus) -> None:
    """One agent through the stage: from shift to shift, where a pattern lets it rest in between."""
    jobs = jobs_of(spec, number)
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
