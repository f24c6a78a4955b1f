"""The routes through LiteLLM: `litellm` (the default), and `litellm-sdk` for those who measure LiteLLM itself.

The route `litellm` lets LiteLLM choose the provider, authenticate, build the request and name the errors, and then
sends and reads the bytes itself ("codec"). The other way, letting LiteLLM send too and taking the response over after
its headers ("hand-off"), follows LiteLLM more closely, but costs 4.5 ms of CPU a request against 0.2, and agents send
many short requests: under such churn a core held 128 streams of 50 tok/s within 1 ms by the hand-off, 256 by the codec.
In either way LiteLLM's stream wrapper never runs: it takes about 1 ms of CPU a chunk, so six fast streams fill a core.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import httpx
import msgspec
import openai

from swarm.client import failures
from swarm.client.base import ChatRequest, Connection, Meter, Observation
from swarm.client.direct import body_of
from swarm.client.litellm_codec import NO_KEY, Codec, copied, load
from swarm.client.meter import LagMeter
from swarm.client.reply.sse import ChatStream
from swarm.client.wire import Wire, most_completion
from swarm.clock import Clock

_FOREIGN = (openai.OpenAIError, httpx.HTTPError, aiohttp.ClientError, OSError)  # LiteLLM's own derive from the first
_NAMED = ("messages", "max_tokens", "temperature", "stream", "stream_options", "seed", "tools", "tool_choice")


class LiteLLMClient:
    """The route `litellm`."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._codec = Codec(connection)
        self._wire = Wire(connection, clock)

    async def complete(self, request: ChatRequest, seen: Observation) -> None:
        await self._wire.turn()
        url, headers, body = self._codec.encode(request)
        await self._wire.post(request, url, headers, body, seen, self._codec.refusal)

    def meter(self) -> Meter:
        return self._wire.meter()

    async def close(self) -> None:
        await self._wire.close()


class LiteLLMSdkClient:
    """The route `litellm-sdk`: plain `litellm.acompletion`, stamped when its chunks are delivered.

    Its times are LiteLLM's own as much as the server's: `send` is the call, and a stamp is when its wrapper let go of a
    chunk. How long the bytes had waited cannot be known here, so there are no lags.
    """

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._litellm = load()
        self._connection = connection
        self._clock = clock
        self._lags = LagMeter()
        self._fixed: dict[str, Any] = {
            "model": connection.model,
            "custom_llm_provider": connection.provider,
            "api_base": connection.api_base,
            "api_key": connection.api_key or NO_KEY,
            "extra_headers": connection.headers,
            "timeout": connection.timeout_s,
            "max_retries": 0,
            "_skip_mcp_handler": True,  # or tools need the package mcp, which nothing else here does
        } | ({"ssl_verify": connection.ca_file} if connection.ca_file else {})

    async def complete(self, request: ChatRequest, seen: Observation) -> None:
        seen.send_ns = self._clock.now()
        limit = asyncio.timeout(self._connection.timeout_s)
        try:
            async with limit:
                await self._stream(request, seen)
        except TimeoutError:
            if limit.expired():
                seen.failure = failures.total_timeout(self._connection.timeout_s, self._connection.api_base)
        seen.end_ns = seen.end_ns or self._clock.now()

    async def _stream(self, request: ChatRequest, seen: Observation) -> None:
        stream, wrapper = ChatStream(seen, most_completion=most_completion(request)), None
        silence, room = asyncio.timeout(None), self._connection.max_reply_bytes
        try:
            async with silence:
                wrapper = await self._litellm.acompletion(**self._fixed, **self._arguments(request))
                async for chunk in wrapper:
                    document, grown_ns = chunk.model_dump(exclude_none=True), stream.grown_ns
                    self._chunk(document, stream, seen)
                    if seen.stamps and stream.grown_ns != grown_ns:
                        silence.reschedule(asyncio.get_running_loop().time() + self._connection.idle_timeout_s)
                    room -= len(str(document))
                    if room < 0:
                        seen.failure = failures.too_long(self._connection.max_reply_bytes, self._connection.api_base)
                        return
        except TimeoutError:
            if not silence.expired():
                raise
            idle = failures.idle_timeout(self._connection.idle_timeout_s, self._connection.api_base)
            seen.failure = seen.failure or idle
        except _FOREIGN as error:
            broken = failures.from_litellm(error, self._connection.api_base, streaming=wrapper is not None)
            seen.failure = seen.failure or broken
        else:
            self._end(wrapper, stream, seen)
        finally:
            stream.close()
            if wrapper is not None and seen.end_ns is None:
                await wrapper.aclose()

    def _chunk(self, document: dict[str, Any], stream: ChatStream, seen: Observation) -> None:
        stamp, before = self._clock.now(), len(seen.stamps)
        try:
            stream.take_document(document, stamp)
        except msgspec.DecodeError as error:
            stream.fail("malformed", f"LiteLLM made a chunk that is not a chat completion's ({error})")
        self._lags.count(len(seen.stamps) - before)

    def _end(self, wrapper: Any, stream: ChatStream, seen: Observation) -> None:
        """LiteLLM makes up what a server has not sent: a `finish_reason` for a cut stream, and a usage."""
        seen.end_ns = self._clock.now()
        if not any(getattr(chunk, "usage", None) for chunk in wrapper.chunks):
            seen.prompt_tokens = seen.completion_tokens = seen.cached_tokens = None
        if wrapper.received_finish_reason is None:
            seen.finish_reason = None
            stream.end(seen.end_ns)
        else:
            stream.finish(wrapper.received_finish_reason)
            stream.done(seen.end_ns)

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        body = body_of(request, self._connection)
        named = {name: body.pop(name) for name in _NAMED if name in body and name not in request.extra_body}
        del body["model"]
        if "tools" in named:
            body["tools"] = named["tools"]
            named["tools"] = copied(named["tools"])
        return named | {"messages": [dict(message) for message in request.messages], "extra_body": body}

    def meter(self) -> Meter:
        return self._lags.take("user")

    async def close(self) -> None:
        """LiteLLM keeps its connections for all callers of an event loop; so they are closed for all."""
        await self._litellm.close_litellm_async_clients()
        self._litellm.in_memory_llm_clients_cache.flush_cache()


def rehearse() -> None:
    """One call with a canned answer, in a thread and an event loop of its own: a first call takes LiteLLM most of a
    second, and none of that should be measured."""

    async def call() -> None:
        chunks = await load().acompletion(
            model="hosted_vllm/warm-up",
            messages=[{"role": "user", "content": "ping"}],
            mock_response="pong",
            stream=True,
            stream_options={"include_usage": True},
        )
        async for _ in chunks:
            pass

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, call()).result()
