"""The route `direct`: OpenAI's protocol over HTTP, with nothing in between; and `litellm-proxy`, to a LiteLLM proxy.

A proxy is asked not to retry by itself and not to answer from its cache: a retried error would look like a slow answer,
and a cached answer like a fast model. It passes vLLM's own fields on, drops the per-chunk usage and tool schemas'
`strict`, and makes up a finish reason for a stream that was cut behind it, which nobody in front of it can tell.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from swarm.client import failures
from swarm.client.base import ChatRequest, Connection, Failure, Meter, Observation
from swarm.client.stamps import Stamper
from swarm.client.wire import Wire, headers_of
from swarm.clock import Clock

_PROXY_BODY = {"num_retries": 0, "cache": {"no-cache": True, "no-store": True}}


class DirectClient:
    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        proxied: bool = False,
        stamper: Callable[[Clock], Stamper] = Stamper,
    ) -> None:
        self._connection = connection
        self._extra = _PROXY_BODY if proxied else {}
        self._url = connection.api_base.rstrip("/") + "/chat/completions"
        self._headers = {"Content-Type": "application/json", "Accept": "text/event-stream"} | headers_of(connection)
        self._wire = Wire(connection, clock, stamper)

    async def complete(self, request: ChatRequest, seen: Observation) -> None:
        await self._wire.turn()
        body = msgspec.json.encode(body_of(request, self._connection) | self._extra)
        await self._wire.post(request, self._url, self._headers, body, seen, self._refusal)

    def _refusal(self, status: int, headers: Any, body: bytes) -> Failure:
        return failures.from_status(status, headers, body, self._url)

    def meter(self) -> Meter:
        return self._wire.meter()

    async def close(self) -> None:
        await self._wire.close()


def body_of(request: ChatRequest, connection: Connection) -> dict[str, Any]:
    """The JSON of a chat completion: what the target honours and no more; `extra_body` wins over all of it."""
    honours = connection.honours
    body: dict[str, Any] = {
        "model": connection.model,
        "messages": request.messages,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "stream": True,
    }
    if honours.usage:
        body["stream_options"] = {"include_usage": True}
        if honours.continuous_usage:
            body["stream_options"]["continuous_usage_stats"] = True
    if request.pinned and honours.pinned_length:
        body |= {"min_tokens": request.max_tokens, "ignore_eos": True}
    if request.seed is not None:
        body["seed"] = request.seed
    if request.tools and honours.tools:
        body["tools"] = request.tools
        if not honours.tool_choice:
            body["tool_choice"] = "none"  # tools count in the prompt all the same
        elif request.tool_choice is not None:
            body["tool_choice"] = request.tool_choice
    return body | request.extra_body
