"""The proxy itself: what a client sends goes to the upstream, what comes back goes to the client, unchanged, at once.

A reply's bytes go from the upstream's socket to the client's within the callback that read them: no task wakes, nothing
is parsed. A copy, with the kernel's stamps, is handed on when the exchange is over.
"""

import asyncio
import gc
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from swarm import guard
from swarm.client import failures
from swarm.client.base import Connection, Failure
from swarm.client.stamps import Read, Stamper
from swarm.client.wire import KEEPALIVE_S, trust
from swarm.clock import Clock
from swarm.proxy.answer import Answer, PlainAnswer, forwarded, refusal
from swarm.proxy.anthropic import TranslatedAnswer, TranslationError, Translator
from swarm.proxy.exchange import BOUNDS, Api, Bounds, Exchange, unpacked
from swarm.proxy.keys import keys_of
from swarm.proxy.usage import UsageFilter, rewritten

CONNECT_LIMIT_S = 30.0
GRACE_S = 5.0
"""How long open answers may go on when the proxy is asked to stop."""

_CHAT, _RESPONSES, _MESSAGES = "/chat/completions", "/responses", "/messages"
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_MOST_HEADER_BYTES = 64 << 10
_MOST_PATHS = 50


@dataclass(frozen=True)
class Upstream:
    """Where requests go. `connection.model` takes the place of the model that clients name, and `connection.api_key`
    that of their key, where there is one."""

    connection: Connection
    api: Api = "openai"
    served: str | None = None
    """The only model there; None: there are several, or it does not tell."""

    def url(self, path: str) -> URL:
        """The upstream's address for a path of ours, query included; a client may have left out the `/v1`."""
        base = self.connection.api_base
        if path.startswith("/v1/"):
            return URL(base + path.removeprefix("/v1"), encoded=True)
        if path.startswith((_CHAT, _RESPONSES, _MESSAGES)):
            return URL(base + path, encoded=True)
        return URL(base.removesuffix("/v1") + path, encoded=True)

    def headers(self, http: web.Request, api: Api, *left_out: str) -> CIMultiDict[str]:
        """The client's headers, with the upstream's key."""
        headers = forwarded(http.headers, "host", "expect", *left_out)
        key = self.connection.api_key
        if api != "anthropic" and (key := key or headers.get("x-api-key")):  # Anthropic's clients send theirs so
            headers["Authorization"] = f"Bearer {key}"
        elif api == "anthropic" and key:
            headers.popall("Authorization", None)
            headers["x-api-key"] = key
        return headers


class Relay:
    """Serves clients. Made inside the event loop that uses it; `keep` gets each exchange when it is over.
    `allowed`: hosts that it is asked by beside loopback names, see `swarm.guard`."""

    def __init__(
        self,
        upstream: Upstream,
        clock: Clock,
        keep: Callable[[Exchange], None],
        allowed: frozenset[str] = frozenset(),
        bounds: Bounds = BOUNDS,
    ) -> None:
        self._upstream = upstream
        self._bounds = bounds
        self._clock = clock
        self._keep = keep
        self._allowed = allowed
        self._asks_usage = True
        self._translator: Translator | None = None
        self.passed: Counter[str] = Counter()
        """POST requests that were passed on without being recorded, by path."""
        self.open = 0
        """Turns that are under way."""
        self._stamper = Stamper(clock, may_wait=False)
        self._session = aiohttp.ClientSession(
            connector=self._stamper.connector(
                limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=300, ssl=trust(upstream.connection)
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_LIMIT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_NOT_ADDED,
        )
        app = web.Application(client_max_size=bounds.request)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            max_field_size=_MOST_HEADER_BYTES,
            shutdown_timeout=GRACE_S,
        )

    async def serve(self, listening: socket.socket) -> None:
        """Takes requests from now on."""
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def close(self) -> None:
        """Takes no more requests, gives open ones `GRACE_S` to end, and cuts off the rest."""
        await self._runner.cleanup()
        await self._session.close()
        self._stamper.close()

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        if (objection := guard.objection(http, self._allowed)) is not None:
            return refusal(_language(http.path), *objection)
        path, translates = http.path.removeprefix("/v1"), self._upstream.api == "openai"
        if http.method != "POST" or path not in (_CHAT, _RESPONSES, _MESSAGES, f"{_MESSAGES}/count_tokens"):
            return await self._pass(http)
        api: Api = "openai" if path == _CHAT else "responses" if path == _RESPONSES else "anthropic"
        if api == "anthropic" and not translates and path != _MESSAGES:
            return await self._pass(http)
        try:
            body = unpacked(await http.read(), http.headers.get("Content-Encoding", ""), self._bounds.request)
        except web.HTTPRequestEntityTooLarge:
            return refusal(api, 413, f"the proxy takes requests of at most {self._bounds.request} bytes")
        if body is None:
            return refusal(api, 415, "this Content-Encoding is unknown here, or holds too much; send it as it is")
        if api != "anthropic" or not translates:
            return await self._turn(http, api, body)
        if self._translator is None:
            self._translator = await asyncio.to_thread(Translator)
            gc.freeze()  # looking through LiteLLM for garbage would hold up tokens
        if path == _MESSAGES:
            return await self._translated_turn(http, self._translator, body)
        return await self._count_tokens(http, self._translator, body)

    async def _turn(self, http: web.Request, api: Api, body: bytes) -> web.StreamResponse:
        """A turn in the upstream's own language."""
        url = self._upstream.url(http.raw_path)
        headers = self._upstream.headers(http, api, "content-length", "content-encoding")
        model = self._upstream.connection.model
        asked, ours = rewritten(body, model, usage=self._asks_usage and api == "openai")
        if ours:
            headers["Accept-Encoding"] = "identity"  # packed, its events could not be told apart
        exchange = self._exchange(http, api, body)
        answer = PlainAnswer(http, UsageFilter() if ours else None, self._bounds.unread)
        with self._kept(exchange):
            if not await self._relay(url, asked, headers, exchange, answer, may_refuse=ours):
                asked, answer = rewritten(body, model, usage=False)[0], PlainAnswer(http, unread=self._bounds.unread)
                await self._relay(url, asked, headers, exchange, answer)
                self._asks_usage = exchange.status in (400, 422)  # then it was not our wish that was refused
        return answer.response or refusal(api, 502, _words(exchange.failure))

    def _exchange(self, http: web.Request, api: Api, body: bytes) -> Exchange:
        keys = keys_of(http.headers, http.query_string)
        return Exchange(api, body, self._clock.now(), keys=keys, most=self._bounds.reply)

    async def _translated_turn(self, http: web.Request, translator: Translator, body: bytes) -> web.StreamResponse:
        """A turn in Anthropic's language for an upstream that speaks OpenAI's."""
        try:
            asked = translator.request(body, self._upstream.connection.model or self._upstream.served)
        except TranslationError as error:
            return refusal("anthropic", 400, str(error))
        headers, url = self._translated_headers(http), self._upstream.url(f"/v1{_CHAT}")
        exchange = self._exchange(http, "openai", asked.body)
        answer = TranslatedAnswer(http, translator, asked)
        with self._kept(exchange):
            await self._relay(url, asked.body, headers, exchange, answer)
        return answer.response or refusal("anthropic", 502, _words(exchange.failure))

    async def _count_tokens(self, http: web.Request, translator: Translator, body: bytes) -> web.StreamResponse:
        """Anthropic's count of a prompt's tokens, from vLLM's `/tokenize`."""
        try:
            asked = translator.request(body, self._upstream.connection.model or self._upstream.served)
        except TranslationError as error:
            return refusal("anthropic", 400, str(error))
        headers, url = self._translated_headers(http), self._upstream.url("/tokenize")
        try:
            async with self._session.post(url, headers=headers, data=asked.body, allow_redirects=False) as reply:
                count = msgspec.json.decode(await reply.read(), type=_Count).count if reply.status == 200 else None
        except (aiohttp.ClientError, OSError, msgspec.DecodeError, UnicodeDecodeError):
            count = None
        if count is None:
            return refusal("anthropic", 404, "the upstream does not count tokens (vLLM: /tokenize)")
        return web.json_response({"input_tokens": count})

    def _translated_headers(self, http: web.Request) -> CIMultiDict[str]:
        dropped = ("content-length", "content-encoding", "accept-encoding", "anthropic-version", "anthropic-beta")
        headers = self._upstream.headers(http, "openai", *dropped)
        headers.popall("x-api-key", None)
        return headers

    @contextmanager
    def _kept(self, exchange: Exchange) -> Iterator[None]:
        """Hands the exchange on, whatever becomes of it."""
        self.open += 1
        try:
            yield
        except asyncio.CancelledError:
            exchange.left = True
            raise
        finally:
            self.open -= 1
            exchange.end_ns = self._clock.now()
            self._keep(exchange)

    async def _relay(
        self,
        url: URL,
        body: bytes,
        headers: CIMultiDict[str],
        exchange: Exchange,
        answer: Answer,
        may_refuse: bool = False,
    ) -> bool:
        """Posts a turn and passes its answer on; False where it `may_refuse` and did, and nothing was passed on."""

        def arrived(reads: list[Read]) -> None:
            for data, stamp_ns, _ in reads:
                answer.write(data)
                exchange.add(data, stamp_ns)

        with self._stamper.line() as line:
            try:
                async with self._session.post(url, headers=headers, data=body, allow_redirects=False) as reply:
                    exchange.status, exchange.headers = reply.status, CIMultiDict(reply.headers)
                    if may_refuse and reply.status in (400, 422):
                        return False
                    await answer.begin(reply)
                    await line.deliver(reply, arrived)
                await answer.end()
            except (aiohttp.ClientError, OSError) as error:
                exchange.failure = failures.from_exception(line.lost or error, str(url))
                if exchange.failure is None:
                    raise
                answer.cut()
            except asyncio.CancelledError:
                answer.cut()
                raise
            finally:
                exchange.sent_ns = line.sent_ns or exchange.sent_ns
        return True

    async def _pass(self, http: web.Request) -> web.StreamResponse:
        """Anything else: passed on as it comes, unrecorded."""
        if http.method == "POST" and (http.path in self.passed or len(self.passed) < _MOST_PATHS):
            self.passed[http.path] += 1
        url, headers = self._upstream.url(http.raw_path), self._upstream.headers(http, self._upstream.api)
        body = http.content if http.body_exists else None
        answer, failure = PlainAnswer(http), None
        try:
            async with self._session.request(
                http.method, url, headers=headers, data=body, allow_redirects=False
            ) as reply:
                response = await answer.begin(reply)
                async for data in reply.content.iter_any():
                    await response.write(data)
            await answer.end()
        except (aiohttp.ClientError, OSError) as error:
            failure = failures.from_exception(error, str(url))
            if failure is None:
                raise
            answer.cut()
        return answer.response or refusal(self._upstream.api, 502, _words(failure))


class _Count(msgspec.Struct):
    count: int


def _language(path: str) -> Api:
    """The words in which a client of this path expects an error."""
    return "anthropic" if path.removeprefix("/v1").startswith(_MESSAGES) else "openai"


def _words(failure: Failure | None) -> str:
    return failure.message if failure is not None else "the upstream did not answer"
