"""Virtual time: an event loop that jumps from event to event, and a target whose engine lives in that loop.

The client speaks the very requests that the direct route would send, and the engine is the simulated server's; only
the socket between them is left out. A reply crosses the seam in one piece, with the times of all its tokens.
"""

import asyncio
import math
import selectors
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec

from swarm.client import failures
from swarm.client.base import ChatRequest, Connection, Meter, Observation, ToolCall
from swarm.client.direct import body_of
from swarm.client.target.metrics import pick
from swarm.clock import Clock
from swarm.errors import BackendError
from swarm.simulator.engine.scheduler import Engine, Request, Step
from swarm.simulator.profiles.profiles import Profile
from swarm.simulator.server import protocol, tokens
from swarm.simulator.server.metrics import Metrics, exposition
from swarm.simulator.server.plan import plan
from swarm.simulator.server.protocol import ApiError
from swarm.simulator.server.replies import Reply

MOST_STEPS = 100_000
"""Ends of steps that are kept while the server is never idle; the oldest are then dropped."""
POLL_EVERY = 100
"""Jumps between two looks at the outside world (signals), which cost more than a jump."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything can run, and then jumps to what comes next.

    That is a timer, or a step of one of the `servers`: these are no timers, because most steps concern nobody.
    Signals arrive as always. Nothing else that takes real time (threads, sockets, processes) belongs in it.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self.servers: list[VirtualServer] = []
        self._now_s = start_s
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now_s

    def jump(self, seconds: float) -> bool:
        """Lets time pass, until a server has something to say, or `seconds` are over; False: it would be for ever."""
        limit = self._now_s + seconds
        while self.servers:
            server = min(self.servers, key=_due)
            if server.due > limit or server.due == math.inf:
                break
            self._now_s = max(self._now_s, server.due)
            if server.turn():
                return True
        if limit == math.inf:
            return False
        self._now_s = limit
        return True


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting, lets the time have passed."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._jumps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._jumps += 1
        if self._jumps % POLL_EVERY == 0 and (ready := super().select(0)):
            return ready
        if self._loop.jump(math.inf if timeout is None else timeout):
            return []
        return super().select(None)  # only the outside world can go on


class VirtualServer:
    """The engine of one target, whose steps end at their planned times. `loop` is the one that it lives in."""

    def __init__(self, profile: Profile, loop: VirtualLoop) -> None:
        self.profile = profile
        self.engine = Engine(profile)
        self.due = math.inf
        """When the engine goes on."""
        self._metrics = Metrics()
        self._loop = loop
        self._open: dict[Request, _Stamps] = {}
        self._ends: array[int] = array("q")
        """When each step that an open request may ask for has ended, in nanoseconds."""
        self._dropped = 0
        """Steps before them: steps are numbered from 0."""
        loop.servers.append(self)

    async def serve(self, request: Request, stamps: "array[int]") -> None:
        """Returns with the last token. Cancelled or not, `stamps` then holds when each token came, in nanoseconds."""
        self.engine.submit(request, self._loop.time())
        mine = self._open[request] = _Stamps(self._loop.create_future())
        self._look_ahead()
        try:
            await mine.done
        finally:
            if self.engine.cancel(request, self._loop.time()):
                self._metrics.finished["abort"] += 1
                mine.pause(self._dropped + len(self._ends))
                self._look_ahead()
            del self._open[request]
            for first, behind in mine.spans:
                stamps.extend(self._ends[first - self._dropped : behind - self._dropped])
            if len(self._ends) > MOST_STEPS or not self._open:
                self._forget()

    def _forget(self) -> None:
        """Drops the steps before the first one that an open request has a token of."""
        behind = self._dropped + len(self._ends)
        needed = min((mine.first(behind) for mine in self._open.values()), default=behind)
        del self._ends[: needed - self._dropped]
        self._dropped = needed

    async def read(self) -> dict[str, float] | None:
        """The values of `/metrics`, as a target's reader gives them."""
        return pick(exposition(self.engine, self._metrics, self.profile.name).encode())

    def _look_ahead(self) -> None:
        due = self.engine.next_event()
        self.due = math.inf if due is None else due

    def turn(self) -> bool:
        """Ends the step, if there is one, and begins the next; whether somebody has waited for it."""
        step = self.engine.step
        if step is None:
            self.engine.begin(self._loop.time())
        else:
            self._deliver(self.engine.complete())
            self.engine.begin(step.end)
        self._look_ahead()
        return step is not None and bool(step.finished)

    def _deliver(self, step: Step) -> None:
        """Costs nothing for requests that just go on decoding: their stamps are a span of `_ends`."""
        number = self._dropped + len(self._ends)
        self._ends.append(round(step.end * 1e9))
        for request in step.preempted:
            if request in self._open:
                self._open[request].pause(number)
        beginning = len(step.first) + len(step.stalls)
        for request in step.tokens[len(step.tokens) - beginning :]:
            self._open[request].since = number
        for request in step.finished:
            mine = self._open[request]
            mine.pause(number + 1)
            mine.done.set_result(None)
        self._metrics.observe(step)


def _due(server: VirtualServer) -> float:
    return server.due


class _Stamps:
    """When a request got tokens: spans of step numbers; one for each time that it was not preempted."""

    __slots__ = ("done", "since", "spans")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.since: int | None = None
        self.spans: list[tuple[int, int]] = []

    def first(self, otherwise: int) -> int:
        """The number of the first step that gave it a token."""
        if self.spans:
            return self.spans[0][0]
        return otherwise if self.since is None else self.since

    def pause(self, behind: int) -> None:
        """Its last token, if it was getting any, was that of the step before number `behind`."""
        if self.since is not None:
            self.spans.append((self.since, behind))
            self.since = None


class VirtualTokenizer:
    """The simulated server's tokens, without the server."""

    exact = True

    async def count(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> int:
        try:
            asked = protocol.parse_tokenize(msgspec.json.encode({"messages": messages, "tools": tools}))
        except ApiError as refused:
            raise BackendError(f"the simulated server refuses a message: {refused.message}") from None
        assert asked.messages
        return len(tokens.render(asked.messages, msgspec.to_builtins(asked.tools or []))) // tokens.TOKEN_BYTES


class VirtualClient:
    """The client seam, connected straight to a `VirtualServer`."""

    def __init__(self, server: VirtualServer, connection: Connection, clock: Clock) -> None:
        self._server = server
        self._connection = connection
        self._clock = clock

    async def complete(self, request: ChatRequest, seen: Observation) -> None:
        seen.send_ns = self._clock.now()
        try:
            # In one go, as nobody needs the parsed prompt while the reply is served, and it may be a megabyte.
            body = msgspec.json.encode(body_of(request, self._connection))
            reply, work = plan(protocol.parse(body), self._server.profile)
            del body
        except ApiError as refused:
            seen.failure = failures.from_status(refused.status, {}, refused.body(), self._connection.api_base)
            seen.end_ns = self._clock.now()
            return
        try:
            async with asyncio.timeout(self._connection.timeout_s):
                await self._server.serve(work, seen.stamps)
        except TimeoutError:
            seen.failure = failures.total_timeout(self._connection.timeout_s, self._connection.api_base)
            seen.end_ns = self._clock.now()
        else:
            seen.end_ns = seen.stamps[-1]
        finally:
            _take(reply, work, seen)

    def meter(self) -> Meter:
        """There is nothing to see: in virtual time the client takes no time."""
        return Meter(array("q"), 0, 0, "user")

    async def close(self) -> None: ...


def _take(reply: Reply, work: Request, seen: Observation) -> None:
    """The usage with each chunk, and of a whole reply its text and end."""
    if not seen.stamps:
        return
    seen.tokens = array("q", range(1, len(seen.stamps) + 1))
    seen.prompt_tokens, seen.completion_tokens = work.prompt_tokens, len(seen.stamps)
    if seen.end_ns is None or seen.failure is not None:
        return
    seen.cached_tokens = work.cached_tokens
    seen.content, seen.finish_reason = reply.content, reply.finish
    if reply.call:
        seen.tool_calls = [ToolCall(reply.call.id, reply.call.name, reply.call.arguments)]
