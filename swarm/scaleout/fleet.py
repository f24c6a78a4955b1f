"""The shards of a run as their coordinator knows them, from the run's start to its end."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from swarm.engine.hosts import is_loopback
from swarm.errors import BackendError, SwarmError, UsageError
from swarm.scaleout.clock_offset import Offset, measure
from swarm.scaleout.link import Link, LostError, OpenLink, Setup
from swarm.scaleout.worker import identity, pack
from swarm.scenario.schema import Scenario
from swarm.tasks import Task

READY_S = 60.0
"""For a shard to start, and to be ready for a stage."""
ANSWER_S = 15.0
EXCHANGES = 8
"""Number of clock exchanges: the one of the shortest round trip counts."""


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
    """How it was lost; None: it is there."""

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


def _minor(version: str) -> str:
    """Minor version of Python, which two processes must share to understand each other."""
    return ".".join(version.split(".")[:2])


def _check_versions(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Shards take apart what the coordinator has put together: both must be of one version."""
    for what, mine, other in (
        ("swarm", ours["swarm"], theirs["swarm"]),
        ("Python", _minor(ours["python"]), _minor(theirs["python"])),
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
