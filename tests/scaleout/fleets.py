"""Fleets in virtual time: real workers and a real coordinator, no process between them, and the contention model."""

import asyncio
import pickle
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

from swarm.agents.recorded import RecordedTools, recorded_results
from swarm.client.base import Connection
from swarm.clock import VirtualClock
from swarm.engine.agent_pool import LocalCrew
from swarm.engine.compose import stage_spec
from swarm.engine.schedule import schedule
from swarm.engine.server import ServerWatch
from swarm.engine.stage import run_stage
from swarm.engine.stop import Stop
from swarm.engine.virtual import VirtualClient, VirtualLoop, VirtualServer
from swarm.engine.workloads.tasks import tasks_of
from swarm.recording import records
from swarm.recording.status import AgentStatus
from swarm.scaleout.fleet import Fleet
from swarm.scaleout.link import Link, LostError, Reply
from swarm.scaleout.shared_pool import ShardedCrew
from swarm.scaleout.worker import Worker, answer
from swarm.scenario.schema import Scenario
from swarm.simulator.profiles import profiles

PROFILE = "moe-30b-a3b-awq-1x3090"
S = 1_000_000_000


def scenario(agents: int, **stage: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "shared",
            "targets": [{"name": "moe", "architecture": "moe", "simulate": PROFILE}],
            "agents": {"levels": [agents], "script": "quick"},
            "stage": {"warmup": "10s", "duration": "60s", "trials": 1} | stage,
            "tasks": ["lru-cache", "cron-tests"],
        }
    )


class VirtualWorker(Worker):
    """A worker whose agents work on the contention model."""

    def __init__(self, server: VirtualServer, tools: RecordedTools) -> None:
        super().__init__()
        self._server = server
        self._recorded = tools

    async def set_up(self, setup):
        self._setup, self._tools = setup, self._recorded

    def _clock(self, origin_ns: int) -> VirtualClock:
        return VirtualClock()

    def _open(self, connection, clock):
        return VirtualClient(self._server, connection, clock)


@dataclass
class InMemory:
    """A link to a worker beside the coordinator; what crosses it is pickled, as it would be elsewhere."""

    worker: Worker
    where: str
    facts: dict[str, Any] = field(default_factory=dict)
    """That its worker tells of itself instead of the truth."""
    dies: tuple[str, float] | None = None
    """On the first call of a method at or after a time, in seconds."""
    hangs: tuple[str, float] | None = None
    closed: bool = False

    async def call(self, method: str, *arguments: object) -> Reply:
        now = asyncio.get_running_loop().time()
        if self.closed or _due(self.dies, method, now):
            self.closed = True
            await self.worker.close()
            raise LostError("its process was killed (SIGKILL)")
        if _due(self.hangs, method, now):
            await asyncio.sleep(1e6)
        kind, result = await answer(self.worker, *pickle.loads(pickle.dumps((method, arguments))))
        if method == "hello":
            result |= self.facts
        return pickle.loads(pickle.dumps((kind, result)))

    async def close(self) -> None:
        self.closed = True
        await self.worker.close()


def _due(fault: tuple[str, float] | None, method: str, now_s: float) -> bool:
    return fault is not None and fault[0] == method and now_s >= fault[1]


@dataclass
class Held:
    """What stages came to."""

    published: list[records.Published]
    statuses: list[AgentStatus]

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.published if isinstance(record, kind)]


@cache
def recorded() -> RecordedTools:
    plan = scenario(1)
    return RecordedTools(asyncio.run(recorded_results(tuple(tasks_of(plan)), plan.agents.script)))


Open = Callable[[Worker, int, int], Link]
"""A link to a worker, by its number and how often it was started (from 1)."""


def hold(
    plan: Scenario,
    shards: int | None,
    link: Open = lambda worker, number, _: InMemory(worker, f"node {number}"),
    stages: int = 1,
    during: Callable[[Stop, VirtualServer], Coroutine[Any, Any, None]] | None = None,
) -> Held:
    """Runs the first stage of a scenario, or that several times, in virtual time; `shards`: None for one process."""
    tasks = tuple(tasks_of(plan))
    tools = recorded()
    held = Held([], [])

    async def run(loop: VirtualLoop) -> None:
        server, clock, stop, ids, starts = (
            VirtualServer(profiles.load(PROFILE), loop),
            VirtualClock(),
            Stop(),
            count(1),
            {},
        )

        async def open_link(number: int) -> Link:
            starts[number] = starts.get(number, 0) + 1
            return link(VirtualWorker(server, tools), number, starts[number])

        connection = Connection("simulate:moe", "moe", api_key="sk-very-secret-key-0123456789")
        fleet = Fleet(shards or 0, open_link, plan, tasks)
        await fleet.start()
        acting = asyncio.create_task(during(stop, server)) if during else None
        for number in range(stages):
            spec = stage_spec("run", plan, tasks, schedule(plan, f"salt-{number}")[0], watch_client=False)
            held.statuses = [AgentStatus(agent) for agent in spec.numbers]

            def next_id() -> str:
                return f"{'c' if shards else '0'}.{next(ids)}"

            if shards:
                crew = ShardedCrew(fleet, spec, connection, clock, held.statuses, next_id, str)
            else:
                crew = LocalCrew(spec, VirtualClient(server, connection, clock), tools, clock, held.statuses, next_id)
            watch = ServerWatch(server, spec.plan, clock, held.published.append)
            await run_stage(spec, crew, watch, clock, held.published.append, next_id, stop)
        await fleet.close()
        if acting:
            await acting

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run(runner.get_loop()))
    return held
