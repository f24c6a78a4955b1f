"""A run in shards that nobody leads: what each of them, an ordinary `swarm run` of its own, does otherwise."""

import asyncio
import os
import platform
import secrets
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from swarm import __version__
from swarm.clock import Clock
from swarm.engine.card import Card
from swarm.engine.rendezvous import Common, Meeting, meeting
from swarm.engine.split import numbers_of
from swarm.engine.stage import Crew, StageSpec
from swarm.engine.stop import Stop
from swarm.engine.worker import identity, minor
from swarm.errors import ExitCode, UsageError
from swarm.recording import records
from swarm.scenario.schema import Scenario

DEFAULT_RENDEZVOUS = "127.0.0.1:29400"
T = TypeVar("T")


class NothingRunError(UsageError):
    """Stopped by a signal before there was anything to save."""

    exit_code = ExitCode.INTERRUPTED


@dataclass(frozen=True)
class Place:
    """One shard's place among the others: it is number `index` of `of`, and they meet at `host` and `port`."""

    index: int
    of: int
    host: str
    port: int
    run_id: str

    def __str__(self) -> str:
        return f"shard {self.index} of {self.of}"


def place_of(shard: str, rendezvous: str | None, run_id: str | None, scenario: Scenario) -> Place | None:
    """From the options of `swarm run`; None: of one shard, which is an ordinary run.

    Raises UsageError for a place that is none, and for what shards cannot run.
    """
    index, _, of = shard.partition("/")
    if not (index.isdecimal() and of.isdecimal() and int(index) < int(of)):
        raise UsageError(f"--shard {shard}: expected I/N with I from 0 to N - 1, such as 0/4")
    host, _, port = (rendezvous or DEFAULT_RENDEZVOUS).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--rendezvous {rendezvous}: expected HOST:PORT, such as {DEFAULT_RENDEZVOUS}")
    if int(of) == 1:
        return None
    if simulated := [target.name for target in scenario.targets if target.simulate]:
        raise UsageError(
            f"--shard: {simulated[0]} is simulated, and each shard would start a server of its own; start one with "
            "`swarm serve` and name it by `api_base`"
        )
    for key, given in (("stage.until", scenario.stage.until), ("budget", any(scenario.budget.model_dump().values()))):
        if given:
            raise UsageError(f"--shard: `{key}` needs one place that sees all agents; leave it out, or use --workers")
    return Place(int(index), int(of), host.strip("[]"), int(port), run_id or scenario.name)


@dataclass(frozen=True)
class Share:
    """A shard that has met the others."""

    place: Place
    meet: Meeting
    common: Common
    clock: Clock

    def told(self) -> dict[str, Any]:
        """For `environment.json`: all that is needed to merge the shards. Nanoseconds.

        `began_ns` is when this shard's time line began after that of shard 0, each by its own machine's clock.
        """
        return {
            "index": self.place.index,
            "of": self.place.of,
            "run": self.common.run,
            "run_started_at": self.common.started_at,
            "host": platform.node(),
            "pid": os.getpid(),
            "began_ns": self.clock.origin_ns - self.common.origin_ns,
            "offset_ns": self.meet.offset.ns,
            "uncertainty_ns": self.meet.offset.round_trip_ns // 2,
        }

    def of_stage(self, spec: StageSpec) -> StageSpec:
        numbers = numbers_of(spec.plan.agents, self.place.index, self.place.of)
        return replace(spec, shard=self.place.index, numbers=numbers)

    @property
    def lost(self) -> tuple[str, ...]:
        """Other shards that did not come to a stage; only shard 0 knows."""
        return tuple(f"shard {shard} of {self.place.of} {why}" for shard, why in sorted(self.meet.lost.items()))


async def join(
    place: Place,
    scenario: Scenario,
    servers: dict[str, tuple[str | None, str | None]],
    common: Common,
    clock: Clock,
    stop: Stop,
    say: Callable[[str], None],
    stack: AsyncExitStack,
) -> Share:
    """Meets the other shards, and stays in touch until the stack is left. `servers`: of each target, its model and
    version; `common`: what shard 0 tells the others. Raises UsageError where they do not come, or this one is refused.
    """
    card = Card(
        shard=place.index,
        shards=place.of,
        instance=secrets.token_hex(8),
        machine=identity()["machine"],
        swarm=__version__,
        python=minor(platform.python_version()),
        scenario=scenario.model_dump(mode="json", exclude={"prometheus"}),
        servers=servers,
    )
    meet = await stack.enter_async_context(meeting(place.host, place.port, place.run_id, card, common, say))
    say(f"{place}: meets the others at {place.host}:{place.port}")
    met = await _unless_stopped(meet.join(), stop)
    if met is None:
        raise NothingRunError(f"{stop.reason} while waiting for the other shards: nothing has run")
    return Share(place, meet, met, clock)


class MeetingCrew:
    """Agents of this process that begin when those of the other shards do."""

    def __init__(
        self, agents: Crew, share: Share, spec: StageSpec, stage: int, next_id: Callable[[], str], stop: Stop
    ) -> None:
        """`stage`: its number in the run, the same in all shards."""
        self._agents = agents
        self._share = share
        self._spec = spec
        self._stage = stage
        self._next_id = next_id
        self._stop = stop
        self.gone, self.catch_up, self.end = agents.gone, agents.catch_up, agents.end

    async def ready(self) -> int:
        place, clock = self._share.place, self._share.clock
        with_agents = min(place.of, self._spec.plan.agents)
        start = await _unless_stopped(self._share.meet.start(self._stage, with_agents), self._stop)
        if start is None:
            self._stop.set(f"{place} has lost the others")
            return clock.now()
        return start - clock.origin_ns

    async def begin(self, stage_id: str, start_ns: int, publish: Callable[[records.Record], None]) -> None:
        offset = self._share.meet.offset
        publish(
            records.Shard(
                **self._spec.header,
                id=self._next_id(),
                parent=stage_id,
                t_ns=start_ns,
                name=f"{self._share.place} ({platform.node()}, process {os.getpid()})",
                host=platform.node(),
                numbers=list(self._spec.numbers),
                offset_ns=offset.ns,
                round_trip_ns=offset.round_trip_ns,
            )
        )
        await self._agents.begin(stage_id, start_ns, publish)


async def _unless_stopped(waiting: Coroutine[Any, Any, T], stop: Stop) -> T | None:
    """What is waited for; None when the run is stopped before."""
    wanted, stopped = asyncio.create_task(waiting), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([wanted, stopped], return_when=asyncio.FIRST_COMPLETED)
        return wanted.result() if wanted.done() else None
    finally:
        wanted.cancel()
        stopped.cancel()
