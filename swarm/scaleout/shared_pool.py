"""The agents of a stage that a fleet shares, as their coordinator leads them.

The records of all shards go through the one recorder of the run, so that histograms are merged by construction, and the
end of a window, a spent budget and a signal are decided here, once.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from swarm.client.base import Connection
from swarm.clock import Clock
from swarm.engine.stage import StageSpec
from swarm.recording import records
from swarm.recording.records import AnyRecord
from swarm.recording.status import AgentStatus
from swarm.scaleout.clock_offset import Offset
from swarm.scaleout.fleet import ANSWER_S, READY_S, Fleet, Shard, offset_of
from swarm.scaleout.link import Assignment, Batch, LostError

END_S = 30.0
"""For a shard to stop its agents: a test run may have to be killed."""
POLL_S = 0.5
LEAD_S = 0.2
"""From the moment when all are ready to the common start, which each must have heard of by then."""

Publish = Callable[[records.Record], None]


def numbers_of(agents: int, shard: int, shards: int) -> tuple[int, ...]:
    """The agents, of 0 to `agents` - 1, that run in shard `shard` of `shards`: agent i belongs to shard i mod `shards`.

    Agents start one after the other by number, so that each shard's start is as spread out as the whole.
    """
    return tuple(range(shard, agents, shards))


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
