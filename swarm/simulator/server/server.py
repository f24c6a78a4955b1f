"""The simulated vLLM as an HTTP server: the engine on a real clock, behind the OpenAI API.

    server = await start(profiles.load("moe-30b-a3b-awq-1x3090"))
    ... server.url ...
    await server.close()

The engine's time line is exact: a step begins when the one before it ended, however late the event loop was, so that
lateness never adds up. Each step's tokens are written straight to the transports, one write per stream.
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import math
import os
import signal
import stat
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import HttpVersion11, web

from swarm import guard
from swarm.simulator.engine.scheduler import Engine, Request, Step
from swarm.simulator.profiles import profiles
from swarm.simulator.profiles.profiles import Profile
from swarm.simulator.server import faults, protocol, tokens
from swarm.simulator.server.faults import Fault
from swarm.simulator.server.metrics import Metrics, exposition, resident_memory
from swarm.simulator.server.plan import plan
from swarm.simulator.server.protocol import ApiError, ChunkWriter
from swarm.simulator.server.streams import FaultyStream, Stream, Whole, reset
from swarm.simulator.server.timerfd import Alarm

logger = logging.getLogger(__name__)

VERSION = "0.17.0"
"""Version of the vLLM whose behaviour was fitted; `/version` adds that this is not one."""
_MAX_BEHIND_S = 0.25
"""Further behind than this the time line is moved to now: the process was stopped, or has far too much to do."""
_MAX_BODY_BYTES = 64 << 20
_TRUTH_RECORDS = 4096


class RealTime:
    """Drives an engine on the event loop's clock and hands each step's tokens to the requests' owners."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self.metrics = Metrics()
        self.ended: deque[dict[str, Any]] = deque(maxlen=_TRUTH_RECORDS)
        """The `truth` of the last requests that ended."""
        self.died_of: str | None = None
        self._count = 0
        self._owned: dict[Request, Stream | Whole] = {}
        self._loop = loop
        self._due: float | None = None
        self._alarm = Alarm(loop, self._on_alarm)

    def poll(self) -> None:
        """Does what is due. Called between pieces of other work, so that a step waits for one of them, not for all."""
        if self._due is not None and self._due <= self._loop.time():
            self._on_alarm()

    def submit(self, request: Request, now: float) -> None:
        """Its owner gets each token, and `done` with the last one."""
        if self.died_of is not None:
            raise RuntimeError(self.died_of)
        self.engine.submit(request, now)
        self._owned[request] = request.owner
        if self.engine.step is None:
            self._arm()

    def cancel(self, request: Request) -> None:
        """Drops a request; one that has ended is left as it is."""
        if self.died_of is None and self.engine.cancel(request, self._loop.time()):
            self.metrics.finished["abort"] += 1
            self._ends(request)

    def close(self) -> None:
        self._alarm.close()

    def _on_alarm(self) -> None:
        try:
            self._turn()
        except Exception as error:  # a bug: without the engine no stream ever ends, so whoever waits must be told
            self.died_of = f"the simulated engine died of {error!r}"
            self._due = None
            for owner in self._owned.values():
                if not owner.done.done():
                    owner.done.set_exception(RuntimeError(self.died_of))
            raise

    def _turn(self) -> None:
        """Ends the current step, if there is one, and begins the next."""
        engine = self.engine
        if engine.step is not None:
            step = engine.complete()
            self._send(step)
            self.metrics.observe(step)
            self._begin_after(step)
        elif (due := engine.next_event()) is not None:  # else the request that was expected has been cancelled
            engine.begin(max(due, self._loop.time() - _MAX_BEHIND_S))
        self._arm()

    def _send(self, step: Step) -> None:
        started = self._loop.time()
        for request in step.tokens:
            request.owner.token(request)
        for request in step.finished:
            if not request.owner.done.done():
                request.owner.done.set_result(None)
            self._ends(request)
        self.metrics.slip.add(started - step.end, self._loop.time() - step.end)

    def _begin_after(self, step: Step) -> None:
        behind = self._loop.time() - step.end
        if behind > _MAX_BEHIND_S:
            self.metrics.slip.resync(behind)
            self.engine.begin(step.end + behind)
        else:
            self.engine.begin(step.end)

    def _arm(self) -> None:
        self._due = self.engine.next_event()
        if self._due is not None:
            self._alarm.set(self._due)

    def _ends(self, request: Request) -> None:
        del self._owned[request]
        self._count += 1
        self.ended.append(truth(self._count, request))


class Server:
    """The HTTP side. Made by `start`."""

    def __init__(
        self, profile: Profile, model_name: str, api_key: str | None, allowed: frozenset[str] = frozenset()
    ) -> None:
        """`allowed`: hosts that it is asked by beside loopback names, see `swarm.guard`."""
        self.profile = profile
        self.model_name = model_name
        self._api_key = api_key
        self._allowed = allowed
        self._created = int(time.time())
        self._loop = asyncio.get_running_loop()
        self.realtime = RealTime(Engine(profile), self._loop)
        self.faults = faults.Schedule()
        self._crash: asyncio.Task[None] | None = None
        self._runner = web.AppRunner(self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        self.host = ""
        self.port = 0

    @property
    def url(self) -> str:
        """The server's root, without `/v1`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def engine(self) -> Engine:
        return self.realtime.engine

    async def listen(self, host: str, port: int) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.host, self.port = self._runner.addresses[0][:2]

    async def close(self) -> None:
        """Stops listening and cuts off all streams."""
        if self._crash is not None:
            self._crash.cancel()
        await self._runner.cleanup()
        self.realtime.close()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[self._guard])
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat_completions),
                web.get("/v1/models", self._models),
                web.post("/tokenize", self._tokenize),
                web.get("/health", self._health),
                web.get("/ping", self._health),
                web.get("/version", self._version),
                web.get("/metrics", self._metrics),
                web.get("/swarm/slip", self._slip),
                web.get("/swarm/requests", self._requests),
                web.get("/swarm/faults", self._get_faults),
                web.post("/swarm/faults", self._set_faults),
            ]
        )
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Who may ask, the key, and refusals in vLLM's form."""
        if (objection := guard.objection(request, self._allowed)) is not None:
            return _refused(ApiError(*objection))
        guarded = self._api_key is not None and request.path.startswith("/v1")
        if guarded and request.headers.get("Authorization") != f"Bearer {self._api_key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        try:
            return await handler(request)
        except web.HTTPException as error:  # aiohttp's own: no such path, method or size
            refusal = ApiError(error.status, error.reason, error.reason)
        except ApiError as error:
            refusal = error
        return _refused(refusal)

    async def _chat_completions(self, http: web.Request) -> web.StreamResponse:
        arrived = self._loop.time()  # reading and rendering the request is part of the profile's `api_overhead_s`
        self.realtime.poll()
        fault = self.faults.next()
        body = await http.read()
        if fault is not None:
            await self._befall(fault, http)
            arrived = self._loop.time()
        chat = protocol.parse(body)
        if fault is not None and fault.kind == "tool-calls" and chat.tools:
            chat.tool_choice = "required"
        if chat.model is not None and chat.model != self.model_name:
            raise ApiError(404, f"The model `{chat.model}` does not exist.", "NotFoundError", param="model")
        reply, request = plan(chat, self.profile)
        request.request_id = completion_id = f"chatcmpl-{http.headers.get('X-Request-Id') or os.urandom(16).hex()}"
        self.realtime.poll()
        created = int(time.time())
        done = self._loop.create_future()
        if not chat.stream:
            request.owner = Whole(done)
            await self._run(request, arrived)
            body = protocol.completion(
                completion_id, created, self.model_name, reply, request.prompt_tokens, request.cached_tokens or 0
            )
            return web.Response(body=body, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(http)
        transport = http.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        chunks = ChunkWriter.of(
            completion_id, created, self.model_name, reply, request.prompt_tokens, chat.stream_options
        )
        chunked = http.version >= HttpVersion11
        stream = (
            Stream(chunks, transport, chunked, done)
            if fault is None
            else FaultyStream(fault, chunks, transport, chunked, done)
        )
        request.owner = stream
        try:
            await self._run(request, arrived)
            await stream.sent
        finally:
            stream.close()
        if not transport.is_closing():
            await response.write_eof()
        return response

    async def _befall(self, fault: Fault, http: web.Request) -> None:
        """Carries out a fault before a reply begins; raises ApiError where that is a refusal."""
        match fault.kind:
            case "latency":
                await asyncio.sleep(fault.seconds)
            case "rate-limit":
                raise ApiError(429, "Rate limit reached.", "RateLimitError", headers=_retry_after(fault))
            case "server-error":
                raise ApiError(500, "Internal server error.", "InternalServerError")
            case "loading":
                raise ApiError(503, "Loading model", "unavailable_error", headers=_retry_after(fault))
            case "reset" if fault.after_tokens is None and http.transport is not None:
                reset(http.transport)
                await self._loop.create_future()  # aiohttp cancels us when it sees that the connection is gone
            case "hang":
                await self._loop.create_future()  # until the client goes
            case "crash":
                if self._crash is None or self._crash.done():
                    self._crash = asyncio.create_task(self._die(fault.seconds))
                await self._loop.create_future()

    async def _die(self, down_s: float) -> None:
        """As a crash of the process and its restart look from outside: all connections cut, all state lost."""
        logger.warning("the simulated server crashes, and is back in %g s", down_s)
        self.realtime.close()
        self.realtime = RealTime(Engine(self.profile), self._loop)
        for site in list(self._runner.sites):
            await site.stop()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(down_s)
        await web.TCPSite(self._runner, self.host, self.port).start()

    async def _run(self, request: Request, arrived: float) -> None:
        """Returns with the last token; a client that goes away cancels it."""
        realtime = self.realtime  # a crash puts another in its place
        realtime.submit(request, arrived)
        try:
            await request.owner.done
        finally:
            realtime.cancel(request)

    async def _models(self, http: web.Request) -> web.Response:
        model = {
            "id": self.model_name,
            "object": "model",
            "created": self._created,
            "owned_by": "swarm-simulator",
            "root": self.profile.model,
            "parent": None,
            "max_model_len": self.profile.max_context,
        }
        return web.json_response({"object": "list", "data": [model]})

    async def _tokenize(self, http: web.Request) -> web.Response:
        asked = protocol.parse_tokenize(await http.read())
        if asked.messages is None:
            rendered = tokens.text_tokens(asked.prompt or "")
        else:
            tools = msgspec.to_builtins(asked.tools or [])
            rendered = tokens.render(asked.messages, tools, asked.add_generation_prompt)
        ids = memoryview(rendered).cast("I").tolist()
        return web.json_response({"count": len(ids), "max_model_len": self.profile.max_context, "tokens": ids})

    async def _health(self, http: web.Request) -> web.Response:
        return web.Response(status=200 if self.realtime.died_of is None else 503)

    async def _version(self, http: web.Request) -> web.Response:
        return web.json_response({"version": VERSION, "simulator": self.profile.name})

    async def _metrics(self, http: web.Request) -> web.Response:
        text = exposition(self.engine, self.realtime.metrics, self.model_name) + resident_memory()
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _slip(self, http: web.Request) -> web.Response:
        return web.json_response(self.realtime.metrics.slip.summary())

    async def _requests(self, http: web.Request) -> web.Response:
        """The engine's own truth about the last requests that ended; `?after=N` leaves out those up to number N."""
        try:
            after = int(http.query.get("after", "0"))
        except ValueError:
            raise ApiError(400, "after must be a whole number", param="after") from None
        return web.json_response({"requests": [r for r in self.realtime.ended if r["number"] > after]})

    async def _get_faults(self, http: web.Request) -> web.Response:
        return web.json_response(self.faults.summary())

    async def _set_faults(self, http: web.Request) -> web.Response:
        """Replaces all faults by the list of the body; the next chat completion is number 1 again."""
        try:
            self.faults = faults.Schedule(faults.parse(msgspec.json.decode(await http.read())))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ApiError(400, f"faults: no JSON: {error}", param="faults") from None
        except ValueError as error:
            raise ApiError(400, str(error), param="faults") from None
        return web.json_response(self.faults.summary())


def _refused(error: ApiError) -> web.Response:
    return web.Response(body=error.body(), status=error.status, content_type="application/json", headers=error.headers)


def _retry_after(fault: Fault) -> dict[str, str]:
    return {"Retry-After": str(math.ceil(fault.seconds))}  # RFC 9110, 10.2.3: whole seconds


def truth(number: int, r: Request) -> dict[str, Any]:
    """The engine's own times of a request that has ended, in seconds; null where it did not come that far."""
    return {
        "number": number,
        "id": r.request_id,
        "finish_reason": r.finish_reason,
        "prompt_tokens": r.prompt_tokens,
        "cached_tokens": r.cached_tokens,
        "completion_tokens": r.generated,
        "queue_s": r.queue_s,
        "prefill_s": r.prefill_s,
        "decode_s": r.decode_s,
        "prefill_stall_s": r.prefill_stall_s,
        "preempted_s": r.preempted_s,
        "preemptions": r.preemptions,
        "spent_s": r.spent._asdict() if r.spent else None,
    }


async def start(
    profile: Profile,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    served_model_name: str | None = None,
    api_key: str | None = None,
    allow_hosts: Sequence[str] = (),
    befalling: Sequence[Fault] = (),
) -> Server:
    """A server that listens, on the running event loop. Port 0: any free one. OSError where it cannot listen.

    It answers requests to loopback names, to the address that they came in at, to `host` and to `allow_hosts`;
    ValueError for one of these that is no name.
    """
    allowed = guard.allowed_hosts(allow_hosts) | {guard.host_name(host) or host}
    server = Server(profile, served_model_name or profile.name, api_key, allowed)
    server.faults = faults.Schedule(befalling)
    try:
        await server.listen(host, port)
    except BaseException:
        await server.close()
        raise
    return server


def serve(
    profile: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    served_model_name: str | None = None,
    api_key: str | None = None,
    allow_hosts: Sequence[str] = (),
    exit_with_parent: bool = False,
    befalling: Sequence[Fault] = (),
    greet: Callable[[str, str], str] | None = None,
    **overrides: Any,
) -> None:
    """Serves until SIGINT or SIGTERM; says `listening on http://HOST:PORT` on stdout once it is ready.

    `greet` makes a text for people, which is printed after that, from the API's address and the model's name.

    `profile` and `overrides` are those of `profiles.load`. ValueError for a wrong one, OSError where it cannot listen.
    """
    loaded = profiles.load(profile, **overrides)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        if exit_with_parent:
            _stop_with_parent(loop, stop)
        server = await start(
            loaded,
            host=host,
            port=port,
            served_model_name=served_model_name,
            api_key=api_key,
            allow_hosts=allow_hosts,
            befalling=befalling,
        )
        gc.collect()
        gc.freeze()  # what is loaded now stays: no pause of a later collection is spent on it
        with contextlib.suppress(BrokenPipeError):
            print(f"listening on {server.url}", flush=True)
            if greet:
                print(greet(f"{server.url}/v1", served_model_name or loaded.name), flush=True)
        await stop.wait()
        await server.close()

    asyncio.run(run())


_PR_SET_PDEATHSIG = 1


def _stop_with_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Sets `stop` when the parent dies, however it does: by its signal (Linux), by stdin's end where it is a pipe."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before that took effect
            stop.set()
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):

        def readable() -> None:
            if not os.read(0, 4096):
                loop.remove_reader(0)
                stop.set()

        loop.add_reader(0, readable)
