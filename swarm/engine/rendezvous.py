"""Where the shards of a run meet that nobody leads: `swarm run --shard I/N`, each started on its own.

Shard 0 is the host of a small HTTP service, and the others are its guests. They come before any load, and are refused
by name where they are not of this run; every stage begins at a moment that the host names when all are there. A guest
reads the host's clock before each stage (of several exchanges the shortest counts, as in NTP), so that the moment is
the same everywhere, and its records can be put on the host's time line.
"""

import asyncio
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from swarm.client.failures import error_text
from swarm.engine.card import Card, refusal
from swarm.engine.offset import Offset, measure
from swarm.errors import UsageError

HEADER = "X-Swarm-Run"
EXCHANGES = 16
MOST_BYTES = 1 << 20
RETRY_S = 0.2
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """Seconds."""

    join: float = 600.0
    """Until all are there for the first time: pods are scheduled, and images pulled, one by one."""
    stage: float = 60.0
    """Until all are there for a stage that the host is ready for."""
    gone: float = 30.0
    """Until a guest gives up a host that was there and does not answer any more."""
    poll: float = 5.0
    """How long the host keeps a guest waiting until it lets it ask again: so each knows that the other is there."""
    lead: float = 0.25
    """From when all are there to the start: by then all must have heard of it."""


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What the host tells every guest."""

    run: str
    """The name in all records."""
    started_at: str
    salt: str
    """See `swarm.engine.schedule.schedule`."""
    origin_ns: int
    """Of the host's time line, by its monotonic clock."""


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    shard: int
    instance: str
    stage: int


class Meeting(Protocol):
    """A shard's way to the others, be it the host or a guest."""

    offset: Offset
    """This machine's clock less that of the host's."""
    lost: dict[int, str]
    """What became of shards that did not come to a stage; only the host knows."""

    async def join(self) -> Common:
        """Waits until all are there. Raises UsageError where they are not in time, or this one is refused."""

    async def start(self, stage: int, shards: int) -> int | None:
        """Waits for the first `shards` shards, which are those with agents in the stage; returns when it starts, by
        this machine's monotonic clock. None: this shard and the others have lost each other, and it must end."""


@asynccontextmanager
async def meeting(
    host: str,
    port: int,
    run_id: str,
    card: Card,
    common: Common,
    say: Callable[[str], None],
    limits: Limits = Limits(),
) -> AsyncIterator[Meeting]:
    """Shard 0 listens at `host` and `port`, which is where the others find it; `common` is what it will tell them.

    Raises UsageError where it cannot listen there.
    """
    if card.shard == 0:
        meet = Host(card, common, say, limits)
        async with _listening(meet, host, port, run_id, limits):
            yield meet
    else:
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        async with aiohttp.ClientSession(url, headers={HEADER: run_id}, trust_env=False) as session:
            yield Guest(session, f"{host}:{port}", card, say, limits)


@asynccontextmanager
async def _listening(meet: "Host", host: str, port: int, run_id: str, limits: Limits) -> AsyncIterator[None]:
    @web.middleware
    async def of_this_run(request: web.Request, handler: Any) -> web.StreamResponse:
        if not secrets.compare_digest(request.headers.get(HEADER, "").encode(), run_id.encode()):
            return web.Response(status=403, text="another run meets here; give all shards of a run the same --run-id")
        answer: web.StreamResponse = await handler(request)
        return answer

    app = web.Application(client_max_size=MOST_BYTES, middlewares=[of_this_run])
    app.add_routes([web.post(f"/{name}", handler) for name, handler in meet.handlers.items()])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, host, port, time.monotonic() + limits.gone)
        yield
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int, until_s: float) -> None:
    """A pod's own name may be known a little later than the pod begins."""
    while True:
        try:
            return await web.TCPSite(runner, host, port).start()
        except OSError as error:
            if not isinstance(error, socket.gaierror) or time.monotonic() > until_s:
                raise UsageError(
                    f"--rendezvous {host}:{port}: cannot listen there: {error.strerror or error}; shard 0 serves it, "
                    "so it must be an address of its machine, with a port that is free"
                ) from None
        await asyncio.sleep(RETRY_S)


class Host:
    """Shard 0."""

    def __init__(self, card: Card, common: Common, say: Callable[[str], None], limits: Limits) -> None:
        self.offset = Offset()
        self.lost: dict[int, str] = {}
        self.handlers = {"join": self._join, "time": self._time, "start": self._start}
        self._card = card
        self._common = common
        self._say = say
        self._limits = limits
        self._instances: dict[int, str] = {}
        """Of the guests that have come."""
        self._ready: dict[int, set[int]] = defaultdict(set)
        """Stage -> the guests that have come to it."""
        self._starts: dict[int, int] = {}
        """Stage -> when it begins."""
        self._complete = False
        self._given_up: str | None = None
        self._changed = asyncio.Condition()

    async def join(self) -> Common:
        others = range(1, self._card.shards)
        if not await self._until(lambda: len(self._instances) == len(others), self._limits.join):
            missing = [shard for shard in others if shard not in self._instances]
            self._given_up = f"{self._named(missing)} did not come within {self._limits.join:g} s"
            await self._tell()
            raise UsageError(f"{self._given_up}; look into their logs, and start all again")
        self._complete = True
        await self._tell()
        return self._common

    async def start(self, stage: int, shards: int) -> int:
        def missing() -> list[int]:
            return [shard for shard in range(1, shards) if shard not in self._ready[stage] and shard not in self.lost]

        if not await self._until(lambda: not missing(), self._limits.stage):
            self._say(f"{self._named(missing())} did not come to stage {stage}, which goes on without its agents")
            self.lost |= dict.fromkeys(missing(), f"did not come to stage {stage} in time")
        self._starts[stage] = time.perf_counter_ns() + round(self._limits.lead * 1e9)
        await self._tell()
        return self._starts[stage]

    def _named(self, shards: Sequence[int]) -> str:
        *more, last = map(str, shards)
        listed = f"{', '.join(more)} and {last}" if more else last
        return f"shard{'s' * (len(shards) > 1)} {listed} of {self._card.shards}"

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, true: Callable[[], bool], limit_s: float) -> bool:
        """Whether it came true in time."""
        try:
            async with asyncio.timeout(limit_s), self._changed:
                return await self._changed.wait_for(true)
        except TimeoutError:
            return False

    async def _join(self, request: web.Request) -> web.Response:
        try:
            card = msgspec.json.decode(await request.read(), type=Card)
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=f"shard 0 cannot read this: {error}; is it another swarm?")
        why_not = refusal(self._card, card)
        if why_not is None and self._instances.get(card.shard, card.instance) != card.instance:
            why_not = f"{self._named([card.shard])} is here already: it was started twice, or has died and come again"
        if why_not:
            self._say(f"refused: {why_not}")
            return web.Response(status=409, text=why_not)
        self._instances[card.shard] = card.instance
        await self._tell()
        await self._until(lambda: self._complete or self._given_up is not None, self._limits.poll)
        if self._given_up:
            return web.Response(status=410, text=self._given_up)
        if not self._complete:
            return web.Response(status=202)
        return web.Response(body=msgspec.json.encode(self._common))

    async def _time(self, _: web.Request) -> web.Response:
        return web.Response(text=str(time.perf_counter_ns()))

    async def _start(self, request: web.Request) -> web.Response:
        try:
            ready = msgspec.json.decode(await request.read(), type=_Ready)
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=f"shard 0 cannot read this: {error}")
        shard, stage = ready.shard, ready.stage
        if self._instances.get(shard) != ready.instance:
            return web.Response(status=409, text=f"{self._named([shard])} has not joined")
        self._ready[stage].add(shard)
        await self._tell()
        await self._until(lambda: stage in self._starts or shard in self.lost, self._limits.poll)
        if shard in self.lost:
            return web.Response(status=410, text=f"{self._named([shard])} {self.lost[shard]}")
        if stage not in self._starts:
            return web.Response(status=202)
        return web.Response(text=str(self._starts[stage]))


class _HostGoneError(Exception):
    """The host does not answer."""


class Guest:
    """Any other shard."""

    def __init__(
        self, session: aiohttp.ClientSession, address: str, card: Card, say: Callable[[str], None], limits: Limits
    ) -> None:
        self.offset = Offset()
        self.lost: dict[int, str] = {}
        self._session = session
        self._address = address
        self._card = card
        self._say = say
        self._limits = limits

    async def join(self) -> Common:
        try:
            while (common := await self._ask("join", self._card, self._limits.join, Common)) is None:
                pass
            await self._read_clock()
        except _HostGoneError as error:
            raise UsageError(
                f"shard 0 was not found at {self._address} within {self._limits.join:g} s: {error}; is it running, and "
                "--rendezvous its address?"
            ) from None
        return common

    async def start(self, stage: int, shards: int) -> int | None:
        me = _Ready(shard=self._card.shard, instance=self._card.instance, stage=stage)
        try:
            while True:
                await self._read_clock()  # again while it waits, as clocks drift apart
                if (start_ns := await self._ask("start", me, self._limits.gone, int)) is not None:
                    return start_ns + self.offset.ns
        except _HostGoneError as error:
            self._say(f"shard 0 at {self._address} does not answer any more ({error})")
        except UsageError as error:
            self._say(str(error))
        return None

    async def _read_clock(self) -> None:
        host = await measure(self._host_now, EXCHANGES)
        self.offset = Offset(-host.ns, host.round_trip_ns)

    async def _host_now(self) -> int:
        now_ns = await self._ask("time", None, self._limits.gone, int)
        if now_ns is None:
            raise _HostGoneError("it does not tell the time")
        return now_ns

    async def _ask(self, what: str, body: Any, limit_s: float, kind: type[T]) -> T | None:
        """Asks until there is an answer; None: "not yet". Raises UsageError for a refusal, and _HostGoneError."""
        asked = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=self._limits.poll + 5)
        while True:
            try:
                async with self._session.post(what, data=msgspec.json.encode(body), timeout=timeout) as reply:
                    answer = await reply.read()
                if reply.status == 200:
                    return msgspec.json.decode(answer, type=kind)
                if reply.status == 202:
                    return None
                raise UsageError(f"refused at {self._address}: {error_text(answer)}")
            except msgspec.DecodeError:
                raise UsageError(f"{self._address}: what answers there is no shard of this swarm") from None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if time.monotonic() - asked > limit_s:
                    raise _HostGoneError(str(error) or type(error).__name__) from None
                await asyncio.sleep(RETRY_S)
