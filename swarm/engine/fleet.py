"""The coordinator of a run whose agents are shared by several shards: they start together, and hand in their records.

The records of all shards go through the one recorder of the run, so that histograms are merged by construction, and the
end of a window, a spent budget and a signal are decided here, once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import msgspec

from swarm.client.base import Connection
from swarm.clock import Clock
from swarm.engine.hosts import is_loopback
from swarm.engine.offset import Offset, measure
from swarm.engine.processes import Process
from swarm.engine.split import numbers_of
from swarm.engine.stage import StageSpec
from swarm.engine.worker import Assignment, Batch, LostError, Reply, Setup, identity, minor, pack
from swarm.errors import BackendError, SwarmError, UsageError
from swarm.recording import records
from swarm.recording.records import AnyRecord
from swarm.recording.status import AgentStatus
from swarm.scenario.schema import Scenario
from swarm.tasks import Task

READY_S = 60.0
"""For a shard to start, and to be ready for a stage."""
ANSWER_S = 15.0
END_S = 30.0
"""For a shard to stop its agents: a test run may have to be killed."""
POLL_S = 0.5
LEAD_S = 0.2
"""From the moment when all are ready to the common start, which each must have heard of by then."""
EXCHANGES = 8
"""Of clocks: the one of the shortest round trip counts."""

Publish = Callable[[records.Record], None]


@dataclass(frozen=True)
class Sharing:
    """How the agents of a run are shared: as it is by default, not at all."""

    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or actors of a Ray cluster."""
    workers: int | None = None
    """None: one process, and an actor on each node."""
    address: str | None = None
    """Of the Ray cluster; None: the one that Ray finds."""

    @property
    def alone(self) -> bool:
        return self.engine == "local" and self.workers in (None, 1)


ALONE = Sharing()


class Link(Protocol):
    """How a shard is reached."""

    where: str
    """For people: a process, or a node."""

    async def call(self, method: str, *arguments: object) -> Reply:
        """Calls a method of the shard's `Worker`. Raises LostError where there is none any more."""

    async def close(self) -> None:
        """Ends the shard, and what it runs."""


OpenLink = Callable[[int], Awaitable[Link]]
"""Starts the shard of a number, or starts it again. Raises SwarmError or LostError."""


@dataclass
class Shard:
    """A shard as its coordinator knows it."""

    number: int
    name: str
    """With where it runs."""
    link: Link | None = None
    facts: dict[str, Any] | None = None
    """As of `identity`."""
    lives: int = 0
    """Times that it was started."""
    lost: str | None = None
    """What became of it; None: it is there."""

    @property
    def life(self) -> str:
        """Tells this process of it from those before."""
        return f"{self.number}" if self.lives == 1 else f"{self.number}r{self.lives}"

    async def ask(self, limit_s: float, method: str, *arguments: object) -> Any:
        """A call's result. Raises LostError, also where no answer came in time or the shard failed, and SwarmError."""
        assert self.link
        try:
            async with asyncio.timeout(limit_s):
                kind, result = await self.link.call(method, *arguments)
        except TimeoutError:
            raise LostError(f"it did not answer within {limit_s:g} s") from None
        if kind == "refused":
            raise result
        if kind == "failed":
            raise LostError(f"a bug of ours: {result.strip().splitlines()[-1]}")
        return result

    async def drop(self) -> None:
        """Sees to it that it loads nothing any more."""
        link, self.link = self.link, None
        if link:
            await link.close()


class Fleet:
    """The shards of a run, from its start to its end."""

    def __init__(self, count: int, open_link: OpenLink, scenario: Scenario, tasks: Sequence[Task]) -> None:
        self.shards = [Shard(number, f"shard {number}") for number in range(count)]
        self._open_link = open_link
        self._scenario = scenario
        self._tasks = tasks
        self.here = identity()

    async def start(self) -> None:
        """Starts all shards. Raises UsageError or BackendError with the names of those that cannot take part."""
        await self._all(self._meet)
        await self._all(self._set_up)

    async def _all(self, act: "Callable[[Shard], Awaitable[None]]") -> None:
        results = await asyncio.gather(*map(act, self.shards), return_exceptions=True)
        failed = [
            (shard, result) for shard, result in zip(self.shards, results, strict=True) if isinstance(result, Exception)
        ]
        if not failed:
            return
        for _, error in failed:
            if not isinstance(error, SwarmError | LostError):
                raise error
        told = "; ".join(f"{shard.name}: {error}" for shard, error in failed)
        refused = any(isinstance(error, UsageError) for _, error in failed)
        raise (UsageError if refused else BackendError)(told)

    async def _meet(self, shard: Shard) -> None:
        shard.lives += 1
        shard.link = await self._open_link(shard.number)
        shard.name = f"shard {shard.number} ({shard.link.where})"
        shard.facts = await shard.ask(READY_S, "hello")
        assert shard.facts
        _check_versions(shard.facts, self.here)
        if shard.facts["machine"] != self.here["machine"]:
            _check_reach(self._scenario)

    async def _set_up(self, shard: Shard) -> None:
        assert shard.facts
        machine = shard.facts["machine"]
        neighbours = sum(other.facts is not None and other.facts["machine"] == machine for other in self.shards)
        elsewhere = machine != self.here["machine"]
        places = {task.repository for task in self._tasks if task.repository.is_dir()} if elsewhere else ()
        repositories = {place: pack(place) for place in places}
        await shard.ask(READY_S, "set_up", Setup(self._scenario, neighbours, repositories))

    async def restore(self) -> None:
        """Starts again what was lost; what cannot be started stays lost."""
        await asyncio.gather(*(self._restore(shard) for shard in self.shards if shard.lost))

    async def _restore(self, shard: Shard) -> None:
        try:
            await self._meet(shard)
            await self._set_up(shard)
            shard.lost = None
        except (LostError, SwarmError) as error:
            shard.lost = f"{shard.lost}; it could not be started again: {error}"
            await shard.drop()

    def facts(self) -> list[dict[str, Any]]:
        """For `environment.json`: who the shards are."""
        told = ("host", "pid", "cores", "swarm", "python")
        return [{"shard": shard.number} | {key: (shard.facts or {}).get(key) for key in told} for shard in self.shards]

    def beside(self) -> int | None:
        """The first shard on the coordinator's own machine; None: all are elsewhere."""
        here = (shard for shard in self.shards if shard.facts and shard.facts["machine"] == self.here["machine"])
        return next((shard.number for shard in here), None)

    async def close(self) -> None:
        await asyncio.gather(*(shard.drop() for shard in self.shards))


@asynccontextmanager
async def open_fleet(sharing: Sharing, scenario: Scenario, tasks: Sequence[Task]) -> AsyncIterator[Fleet | None]:
    """The shards that share a run's agents, up to its end; None where there are none. Raises as `Fleet.start`."""
    if sharing.alone:
        yield None
        return
    async with AsyncExitStack() as stack:
        if sharing.engine == "ray":
            count, open_link = stack.enter_context(_cluster(sharing))
        else:
            count, open_link = sharing.workers or 1, Process.start
        fleet = Fleet(count, open_link, scenario, tasks)
        stack.push_async_callback(fleet.close)
        await fleet.start()
        yield fleet


def _cluster(sharing: Sharing) -> AbstractContextManager[tuple[int, OpenLink]]:
    try:
        from swarm.engine.actors import cluster
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UsageError("--engine ray: Ray is not installed here; pip install 'swarm-load[ray]'") from None
    return cluster(sharing.address, sharing.workers)


def _check_versions(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Shards take apart what the coordinator has put together: both must be of one version."""
    for what, mine, other in (
        ("swarm", ours["swarm"], theirs["swarm"]),
        ("Python", minor(ours["python"]), minor(theirs["python"])),
    ):
        if mine != other:
            raise UsageError(f"{theirs['host']} has {what} {other}, and the coordinator {mine}; install the same there")


def _check_reach(scenario: Scenario) -> None:
    """Raises UsageError for a target that only the coordinator's machine can reach."""
    for target in scenario.targets:
        if target.simulate:
            raise UsageError(
                f"targets.{target.name}.simulate: its server listens on 127.0.0.1 of the coordinator's machine alone; "
                "start one where all nodes reach it (`python -m swarm.simulator --host ...`) and name it by `api_base`"
            )
        if is_loopback(target.api_base or ""):
            raise UsageError(f"targets.{target.name}.api_base: {target.api_base} is another server on another machine")


async def offset_of(shard: Shard, here: str) -> Offset:
    """The shard's clock less ours. `here` is this machine, all processes of which read one monotonic clock."""
    if shard.facts and shard.facts["machine"] == here:
        return Offset()
    return await measure(lambda: shard.ask(ANSWER_S, "now"), EXCHANGES)


def _nowhere(_: records.Record) -> None: ...


class ShardedCrew:
    """The agents of a stage, shared by a fleet.

    `statuses`: of all of them, kept up with twice a second. `prefix`: makes a shard's name the prefix of its ids.
    """

    def __init__(
        self,
        fleet: Fleet,
        spec: StageSpec,
        connection: Connection,
        clock: Clock,
        statuses: list[AgentStatus],
        next_id: Callable[[], str],
        prefix: Callable[[str], str],
    ) -> None:
        count, beside = len(fleet.shards), fleet.beside()
        self._fleet = fleet
        self._specs = [
            replace(
                spec,
                shard=number,
                numbers=numbers_of(spec.plan.agents, number, count),
                companions=spec.companions if number == beside else (),
            )
            for number in range(count)
        ]
        self._connection = connection
        self._clock = clock
        self._statuses = statuses
        self._next_id = next_id
        self._prefix = prefix
        self._offsets = [Offset()] * count
        self._left = [len(spec.numbers) for spec in self._specs]
        """Agents of each that have not ended."""
        self._heard_ns = [0] * count
        """When each was last heard of."""
        self._stage_id, self._start_ns = "", 0
        self._publish: Publish = _nowhere
        self._over = asyncio.Event()
        self._gone = asyncio.Event()
        self._following: list[asyncio.Task[None]] = []
        self._decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)

    async def ready(self) -> int:
        """The barrier: every shard has its client open and its tasks at hand, or is lost for this stage."""
        await self._fleet.restore()
        await asyncio.gather(*map(self._prepare, self._present()))
        return self._clock.now() + round(LEAD_S * 1e9)

    def _present(self) -> list[Shard]:
        return [shard for shard in self._fleet.shards if not shard.lost]

    async def _prepare(self, shard: Shard) -> None:
        try:
            offset = self._offsets[shard.number] = await offset_of(shard, self._fleet.here["machine"])
            origin = self._clock.origin_ns + offset.ns
            work = Assignment(self._specs[shard.number], self._connection, origin, self._prefix(shard.life))
            await shard.ask(READY_S, "prepare", work)
        except LostError as lost:
            shard.lost = f"it was not ready when the stage began: {lost}"
            await shard.drop()

    async def begin(self, stage_id: str, start_ns: int, publish: Publish) -> None:
        self._stage_id, self._start_ns, self._publish = stage_id, start_ns, publish
        self._heard_ns = [start_ns] * len(self._specs)
        for shard in self._fleet.shards:
            offset = self._offsets[shard.number]
            joined = {"offset_ns": offset.ns, "round_trip_ns": offset.round_trip_ns}
            host = (shard.facts or {}).get("host")
            self._tell(records.Shard, shard, start_ns, **self._of(shard), host=host, **joined)
            if shard.lost:
                self._bury(shard)
        self._following = [asyncio.create_task(self._follow(shard)) for shard in self._present()]
        self._look_around()

    async def gone(self) -> str:
        await self._gone.wait()
        return "every agent crashed" if self._present() else "every shard was lost"

    async def catch_up(self) -> None:
        present = self._present()
        batches = await asyncio.gather(*(self._ask(shard, ANSWER_S, "poll") for shard in present))
        # All at once, so that nothing is counted between the records of one shard and the end of the window.
        for shard, batch in zip(present, batches, strict=True):
            self._take(shard, batch)

    async def end(self) -> None:
        self._over.set()
        await asyncio.gather(*self._following)

    async def _follow(self, shard: Shard) -> None:
        """One shard through the stage."""
        await self._ask(shard, ANSWER_S, "begin", self._stage_id, self._start_ns)
        while not shard.lost and not self._over.is_set():
            self._take(shard, await self._ask(shard, ANSWER_S, "poll"))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), POLL_S)
        self._take(shard, await self._ask(shard, END_S, "end"))

    async def _ask(self, shard: Shard, limit_s: float, method: str, *arguments: object) -> Batch | None:
        """The answer of a shard; None of one that is lost, or is by now."""
        if shard.lost:
            return None
        try:
            answer: Batch | None = await shard.ask(limit_s, method, *arguments)
        except LostError as lost:
            if not shard.lost:
                shard.lost = str(lost)
                self._bury(shard)
                await shard.drop()
            return None
        return answer

    def _take(self, shard: Shard, batch: Batch | None) -> None:
        if batch is None:
            return
        for packed in batch.records:
            self._publish(self._decoder.decode(packed))
        if not shard.lost:  # by now, as two calls may be under way
            for status in batch.statuses:
                self._statuses[status.agent] = status
            self._heard_ns[shard.number], self._left[shard.number] = self._clock.now(), batch.left
            self._look_around()

    def _bury(self, shard: Shard) -> None:
        """Tells that a shard is lost. Its agents cannot: they count as alive until it was last heard of."""
        heard_ns = self._heard_ns[shard.number]
        self._tell(records.ShardLost, shard, heard_ns, **self._of(shard), reason=shard.lost)
        for number in self._specs[shard.number].numbers:
            self._statuses[number] = AgentStatus(number, "crashed")
            self._tell(records.AgentEnd, shard, self._start_ns, agent=number, end_ns=heard_ns)
        self._left[shard.number] = 0
        self._look_around()

    def _of(self, shard: Shard) -> dict[str, Any]:
        return {"name": shard.name, "numbers": list(self._specs[shard.number].numbers)}

    def _tell(self, kind: type[records.Record], shard: Shard, t_ns: int, **fields: Any) -> None:
        header = self._specs[shard.number].header
        self._publish(kind(**header, id=self._next_id(), parent=self._stage_id, t_ns=t_ns, **fields))

    def _look_around(self) -> None:
        if not any(self._left):
            self._gone.set()
