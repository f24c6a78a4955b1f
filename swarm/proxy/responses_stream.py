"""Replies in the words of OpenAI's Responses API, read as if they had been chat completions: the trace knows one form.

After https://platform.openai.com/docs/api-reference/responses-streaming. Deltas say what a reply is and when it came;
what had none is taken from the whole item. How it ended is read from the response and not from the event's name: vLLM
says that a response is completed whose status is incomplete.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from swarm.client import loose_json
from swarm.client.base import Observation
from swarm.client.failures import JSON_ERRORS, error_in, error_text
from swarm.client.reply.chunks import Count
from swarm.client.reply.events import ErrorEvent, EventStream, TooLongError
from swarm.client.reply.sse import ChatStream
from swarm.proxy.exchange import UnreadableError
from swarm.proxy.responses_request import as_arguments, call, text

_DONE = b"[DONE]"
"""Ends no stream of this API's, but some servers say it."""
_ENDS = frozenset(f"response.{how}" for how in ("completed", "incomplete", "failed", "cancelled", "canceled"))
_BROKEN = ("failed", "cancelled", "canceled")
_TEXTS = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "content",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}


class _Cached(msgspec.Struct):
    cached_tokens: Any = None


class _Usage(msgspec.Struct):
    """Counts, if they are any: the stream that they are handed to looks at them."""

    input_tokens: Any = None
    input_tokens_details: _Cached | None = None
    output_tokens: Any = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    status: str | None = None
    output: list[dict[str, Any]] = []
    usage: _Usage | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None


class _Event(msgspec.Struct):
    type: str = ""
    output_index: Count = 0
    delta: Any = None
    item: dict[str, Any] | None = None
    response: _Response | None = None
    error: Any = None


@dataclass
class Reply:
    """The parts of a reply that later requests may name: the response, and the items that it is made of."""

    id: str | None = None
    items: list[dict[str, Any]] = field(default_factory=list)


def read_stream(pieces: Iterable[tuple[bytes, int]], seen: Observation) -> Reply:
    """Reads a streamed reply into `seen`; `seen.end_ns` stays None where it was cut."""
    reader, events = _Reader(seen), EventStream()
    try:
        for data, stamp_ns in pieces:
            for event in events.feed(data):
                if event != _DONE:
                    reader.take(event, stamp_ns)
    except (*JSON_ERRORS, TooLongError) as error:
        reader.stream.fail("malformed", f"the upstream sent an event that is none of a response's ({error})")
    reader.close()
    return reader.said


def read_document(body: bytes, end_ns: int, seen: Observation) -> Reply:
    """Reads a reply that came as a whole. Raises UnreadableError for one that is still to be fetched."""
    reader = _Reader(seen)
    try:
        response = loose_json.decode(body, _Response)
    except JSON_ERRORS as error:
        reader.stream.fail("malformed", f"the upstream's answer is no response ({error})")
        return reader.said
    if response.status in ("queued", "in_progress"):
        raise UnreadableError("a response in the background is fetched later")
    if response.status is None and not response.output:
        reader.stream.fail("in_band", error_text(body))
        return reader.said
    for index, item in enumerate(response.output):
        reader.item(index, item, end_ns)
    reader.ends(response, end_ns)
    reader.close()
    return reader.said


class _Reader:
    def __init__(self, seen: Observation) -> None:
        self.said = Reply()
        self._seen = seen
        self.stream = ChatStream(seen)
        self._named: set[int] = set()  # calls whose names have come
        self._shown: set[int] = set()  # items of which a delta has come
        self._custom: set[str] = set()  # ids of calls whose arguments are no JSON

    def take(self, data: bytes, stamp_ns: int) -> None:
        if self.stream.over:
            return
        if isinstance(data, ErrorEvent):
            self.stream.fail("in_band", error_text(data))
            return
        event = loose_json.decode(data, _Event)
        index, more = event.output_index, event.delta if isinstance(event.delta, str) else ""
        match event.type:
            case name if name in _TEXTS:
                self._shows(index, {_TEXTS[name]: more}, stamp_ns)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._shows(index, _fragment(index, arguments=more), stamp_ns)
            case "response.output_item.added" if event.item:
                self._names(index, event.item, stamp_ns)
            case "response.output_item.done" if event.item:
                self.item(index, event.item, stamp_ns)
            case name if name in _ENDS:
                self.ends(event.response or _Response(), stamp_ns, name.removeprefix("response."))
            case _ if (words := error_in(data)) is not None:
                self.stream.fail("in_band", words)

    def item(self, index: int, item: dict[str, Any], stamp_ns: int) -> None:
        """An item that is complete; what of it has not been shown is taken from it."""
        self.said.items.append(item)
        self._names(index, item, stamp_ns)
        if index in self._shown:
            return
        if (made := call(item)) is not None:
            self._shows(index, _fragment(index, arguments=item.get("input") or made.arguments), stamp_ns)
        elif item.get("type") == "message":
            self._shows(index, {"content": text(item.get("content"))}, stamp_ns)
        elif item.get("type") == "reasoning":
            self._shows(index, {"reasoning": text(item.get("content")) or text(item.get("summary"))}, stamp_ns)

    def ends(self, response: _Response, stamp_ns: int, name: str = "completed") -> None:
        """The response as it ended; `name` is its event's."""
        self.said.id, usage, status = response.id, response.usage, response.status or name
        if usage is not None:
            cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details else None
            self.stream.count(usage.input_tokens, usage.output_tokens, cached)
        broken = next((word for word in (status, name) if word in _BROKEN), None)
        if response.error or broken:
            self.stream.fail("in_band", error_text(json.dumps({"error": response.error or broken}).encode()))
        elif "incomplete" in (status, name):
            self.stream.finish((response.incomplete_details or _Incomplete()).reason or "incomplete")
        else:
            self.stream.finish("tool_calls" if self._named else "stop")
        self.stream.done(stamp_ns)

    def close(self) -> None:
        self.stream.close()
        self._seen.tool_calls = [
            replace(made, arguments=as_arguments(made.arguments)) if made.id in self._custom else made
            for made in self._seen.tool_calls
        ]

    def _names(self, index: int, item: dict[str, Any], stamp_ns: int) -> None:
        if (made := call(item)) is not None and index not in self._named:
            self._named.add(index)
            if item.get("type") == "custom_tool_call":
                self._custom.add(made.id)
            self.stream.add(_fragment(index, made.id, made.name), stamp_ns)

    def _shows(self, index: int, delta: dict[str, Any], stamp_ns: int) -> None:
        self._shown.add(index)
        self.stream.add(delta, stamp_ns)


def _fragment(index: int, call_id: str | None = None, name: str | None = None, arguments: str = "") -> dict[str, Any]:
    """A part of a call, as a chunk of a chat completion has it."""
    return {"tool_calls": [{"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}]}
