"""One POST and its streamed reply, shared by the routes that read the bytes themselves."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress

import aiohttp

from swarm.client import failures
from swarm.client.base import ChatRequest, Connection, Failure, Meter, Observation
from swarm.client.meter import LagMeter
from swarm.client.reply.chunks import MOST_TOKENS
from swarm.client.reply.sse import ChatStream
from swarm.client.stamps import Line, Read, Stamper
from swarm.clock import Clock
from swarm.errors import UsageError

KEEPALIVE_S = 4.0
"""How long an idle connection is kept. uvicorn, and so vLLM, closes it after 5 s; a request sent then is reset."""

LOOK_S = 1.0
"""The longest that what has come waits to be read, where nothing follows: it may be an error, which ends the reply."""

LINGER_S = 0.5
"""How long the connection of a complete stream may take to end its body, so that the next request can use it."""

SMALL_TIMEOUT_S = 10.0
"""For the small documents that are fetched beside the load."""

_DOCUMENTS = frozenset({"application/json", "text/html"})
_DOCUMENT_BYTES = 64 << 10
_HIDDEN_TOKENS = 64 << 10
"""Tokens that a server may add to a prompt: a chat template, a system message of its own."""

Refusal = Callable[[int, Mapping[str, str], bytes], Failure]


def trust(connection: Connection) -> ssl.SSLContext | bool:
    """Whom a TLS connection trusts; raises UsageError for a file that holds no certificates."""
    if connection.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=connection.ca_file)
    except OSError as error:  # ssl.SSLError too
        raise UsageError(f"client.ca_file: {connection.ca_file}: no PEM certificates there ({error})") from None


def headers_of(connection: Connection) -> dict[str, str]:
    """Headers of every request; a target's own win."""
    headers = {"Accept-Encoding": "identity"}
    if connection.api_key:
        headers["Authorization"] = f"Bearer {connection.api_key}"
    return headers | connection.headers


def plain_session(connection: Connection) -> aiohttp.ClientSession:
    """For small documents of the same server: unstamped, never redirected."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust(connection), keepalive_timeout=KEEPALIVE_S),
        headers=headers_of(connection),
        timeout=aiohttp.ClientTimeout(total=min(SMALL_TIMEOUT_S, connection.timeout_s)),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        middlewares=(_stay,),
    )


async def _stay(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Follows no redirect: it would carry the headers of a target, with its key, to another server."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise aiohttp.TooManyRedirects(
            response.request_info, response.history, status=response.status, headers=response.headers
        )
    return response


class Wire:
    """The HTTP side of one target. Made inside the event loop that uses it."""

    def __init__(self, connection: Connection, clock: Clock, stamper: Callable[[Clock], Stamper] = Stamper) -> None:
        self._connection = connection
        self._clock = clock
        self._stamper = stamper(clock)
        self._lags = LagMeter()
        self._turnstile = asyncio.Lock()
        self._session = aiohttp.ClientSession(
            connector=self._stamper.connector(
                limit=0,
                keepalive_timeout=KEEPALIVE_S,
                ttl_dns_cache=300,
                ssl=trust(connection),
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=connection.idle_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy in between would be measured too
            raise_for_status=False,
        )

    async def turn(self) -> None:
        """Lets one request at a time into a turn of the event loop: await it before building one.

        Building and sending takes up to a millisecond. When many agents start at once, the loop would do nothing else
        for as many milliseconds, and the chunks that arrive meanwhile would end up in one read, under one stamp.
        """
        await self._turnstile.acquire()
        asyncio.get_running_loop().call_soon(self._turnstile.release)

    async def post(
        self,
        request: ChatRequest,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        seen: Observation,
        refusal: Refusal,
    ) -> None:
        """Sends `body`, which is `request`, and streams the reply into `seen`; `refusal` names the failure of an answer
        other than 200."""
        seen.send_ns = self._clock.now()
        with self._stamper.line() as line:
            limit = asyncio.timeout(self._connection.timeout_s)
            try:
                async with limit:
                    await self._exchange(request, url, headers, body, seen, refusal, line)
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError and ssl.SSLError are OSErrors
                if line.lost is not None and failures.from_exception(line.lost, url) is None:
                    raise line.lost from error  # a bug of ours, in the read callback
                if limit.expired():
                    seen.failure = seen.failure or failures.total_timeout(self._connection.timeout_s, url)
                elif seen.failure is None:
                    seen.failure = failures.from_exception(line.lost or error, url)
            finally:
                seen.send_ns = line.sent_ns or seen.send_ns
        if seen.end_ns is None:  # stays None when cancelled
            seen.end_ns = self._clock.now()

    async def _exchange(
        self,
        request: ChatRequest,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        seen: Observation,
        refusal: Refusal,
        line: Line,
    ) -> None:
        async with self._session.post(url, headers=headers, data=body, allow_redirects=False) as response:
            seen.send_ns = line.sent_ns or seen.send_ns
            if response.status != 200:
                seen.failure = refusal(response.status, response.headers, await _document(response, line))
            elif response.content_type in _DOCUMENTS:
                document = await _document(response, line)
                seen.failure = failures.not_a_stream(response.content_type, document, url)
            else:
                stream = ChatStream(seen, len(body) + _HIDDEN_TOKENS, most_completion(request))
                await _Reply(response, seen, stream, self._clock, self._lags, self._connection).read(line)

    def meter(self) -> Meter:
        return self._lags.take(self._stamper.source)

    async def close(self) -> None:
        await self._session.close()
        self._stamper.close()


class _Reply:
    """One reply being read: parsed as it comes, timed against silence, its connection let go at its end."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        seen: Observation,
        stream: ChatStream,
        clock: Clock,
        lags: LagMeter,
        connection: Connection,
    ) -> None:
        self._response = response
        self._seen = seen
        self._stream = stream
        self._clock = clock
        self._lags = lags
        self._idle_s = connection.idle_timeout_s
        self._room = connection.max_reply_bytes
        self._most_bytes = connection.max_reply_bytes
        self._last_ns = clock.now()
        self._timer: asyncio.TimerHandle | None = None
        self._bug: Exception | None = None

    async def read(self, line: Line) -> None:
        self._watch(line)
        try:
            await line.deliver(self._response, self._arrived)
        except (aiohttp.ClientError, OSError):
            if self._bug is None and not self._stream.over:
                raise
        else:
            self._stream.end(self._last_ns)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._stream.close()
            if self._bug is not None:
                raise self._bug

    def _arrived(self, reads: list[Read]) -> None:
        """Takes bytes, mostly as a callback of the event loop, which would only report what is raised here."""
        try:
            self._take(reads)
        except Exception as bug:
            self._bug = bug
            self._response.close()

    def _take(self, reads: list[Read]) -> None:
        seen = self._seen
        chunks, coalesced = len(seen.stamps), seen.coalesced
        was_over = self._stream.over
        self._stream.feed_all(reads)
        self._last_ns = reads[-1][1]
        self._room -= sum([len(data) for data, _, _ in reads])
        if self._room < 0 and not self._stream.over:
            self._break_off(failures.too_long(self._most_bytes, str(self._response.url)))
        lags = [lag_ns for _, _, lag_ns in reads]
        self._lags.saw(lags, len(seen.stamps) - chunks)
        if seen.coalesced != coalesced:
            self._lags.shared(_shared(seen, chunks))
        seen.max_lag_ns = max(seen.max_lag_ns or 0, *lags)
        if self._stream.over and not was_over:
            self._finish()

    def _finish(self) -> None:
        """A failed stream is closed; a complete one may end its body, so that its connection can be used again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._seen.failure is not None:
            self._response.close()
        else:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._response.close)

    def _break_off(self, failure: Failure) -> None:
        self._stream.fail(failure.kind, failure.message)
        self._response.close()

    def _watch(self, line: Line) -> None:
        """Looks for silence once per `LOOK_S`, rather than setting a timer back with every chunk.

        Comments, heartbeats and chunks that bring nothing are no sign of a reply that grows.
        """
        line.flush()
        silent_s = (self._clock.now() - self._stream.grown_ns) / 1e9
        if self._seen.stamps and silent_s >= self._idle_s:
            self._break_off(failures.idle_timeout(self._idle_s, str(self._response.url)))
            return
        wait_s = self._idle_s - silent_s if self._seen.stamps else self._idle_s
        self._timer = asyncio.get_running_loop().call_later(min(LOOK_S, wait_s), self._watch, line)


def most_completion(request: ChatRequest) -> int:
    """More than twice what was asked for is no count; less than that may be a server's lie, which checks find."""
    body = {"max_tokens": request.max_tokens} | request.extra_body
    limits = [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body]
    return max(2 * limit if isinstance(limit, int) else MOST_TOKENS for limit in limits)


def _shared(seen: Observation, begin: int) -> list[int]:
    """For each chunk from `begin` on with the stamp of the one before: nanoseconds since the stamp before that."""
    since, stamps = [], seen.stamps
    before = stamps[begin - 1] if begin else seen.send_ns or stamps[0]
    apart = 0
    for stamp in stamps[begin:]:
        if stamp == before:
            since.append(apart)
        else:
            before, apart = stamp, stamp - before
    return since


async def _document(response: aiohttp.ClientResponse, line: Line) -> bytes:
    """The first bytes of a body that is no stream; whatever breaks it off, what came has to do."""
    document = bytearray()

    def take(reads: list[Read]) -> None:
        for data, _, _ in reads:
            document.extend(data[: _DOCUMENT_BYTES - len(document)])
        if len(document) == _DOCUMENT_BYTES:
            response.close()

    with suppress(aiohttp.ClientError, OSError):
        await line.deliver(response, take)
    return bytes(document)
