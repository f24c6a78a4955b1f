"""Replies in Anthropic's words, read as if they had come in OpenAI's: the trace knows one form.

After https://docs.anthropic.com/en/docs/build-with-claude/streaming. Anthropic's `input_tokens` leave out what the
cache held, so the prompt's tokens are the sum of three counts.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from swarm.client import loose_json
from swarm.client.base import Observation
from swarm.client.failures import JSON_ERRORS, error_in, error_text
from swarm.client.reply.chunks import Count
from swarm.client.reply.events import ErrorEvent, EventStream, TooLongError
from swarm.client.reply.sse import ChatStream


class _Usage(msgspec.Struct):
    """Counts, if they are any: the stream that they are handed to looks at them."""

    input_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    output_tokens: Any = None


class _Block(msgspec.Struct):
    """A block of content, or what is added to one."""

    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    input: dict[str, Any] | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct):
    content: list[_Block] = []
    usage: _Usage | None = None
    stop_reason: str | None = None
    error: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    index: Count = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Block | None = None
    usage: _Usage | None = None


def read_stream(pieces: Iterable[tuple[bytes, int]], seen: Observation) -> None:
    """Reads a streamed reply into `seen`; `seen.end_ns` stays None where it was cut."""
    reader = _Reader(seen)
    try:
        for data, stamp_ns in pieces:
            for event in reader.events.feed(data):
                reader.take(event, stamp_ns)
    except (*JSON_ERRORS, TooLongError) as error:
        reader.stream.fail("malformed", f"the upstream sent an event that is none of a message's ({error})")
    reader.stream.close()


def read_document(body: bytes, end_ns: int, seen: Observation) -> None:
    """Reads a reply that came as a whole."""
    reader = _Reader(seen)
    try:
        message = loose_json.decode(body, _Message)
    except JSON_ERRORS as error:
        reader.stream.fail("malformed", f"the upstream's answer is no message ({error})")
        return
    if message.error is not None:
        reader.stream.fail("in_band", error_text(body))
        return
    for index, block in enumerate(message.content):
        reader.block(index, block, end_ns)
    reader.ends(message.stop_reason, message.usage)
    reader.stream.done(end_ns)
    reader.stream.close()


class _Reader:
    def __init__(self, seen: Observation) -> None:
        self.events = EventStream()
        self.stream = ChatStream(seen)

    def take(self, data: bytes, stamp_ns: int) -> None:
        if self.stream.over:
            return
        if isinstance(data, ErrorEvent):
            self.stream.fail("in_band", error_text(data))
            return
        event = loose_json.decode(data, _Event)
        match event.type:
            case "message_start" if event.message:
                self.ends(None, event.message.usage)
            case "content_block_start" if event.content_block:
                self.block(event.index, event.content_block, stamp_ns)
            case "content_block_delta" if event.delta:
                self.block(event.index, event.delta, stamp_ns)
            case "message_delta":
                self.ends(event.delta.stop_reason if event.delta else None, event.usage)
            case "message_stop":
                self.stream.done(stamp_ns)
            case _ if (words := error_in(data)) is not None:
                self.stream.fail("in_band", words)

    def block(self, index: int, block: _Block, stamp_ns: int) -> None:
        """Text, thinking or a call, or more of one."""
        delta: dict[str, Any] = {"content": block.text, "reasoning": block.thinking}
        arguments = block.partial_json or (loose_json.dumps(block.input) if block.input else None)
        if block.type == "tool_use" or arguments:
            function = {"name": block.name, "arguments": arguments}
            delta["tool_calls"] = [{"index": index, "id": block.id, "function": function}]
        self.stream.add(delta, stamp_ns)

    def ends(self, stop_reason: str | None, usage: _Usage | None) -> None:
        if stop_reason is not None:
            self.stream.finish(stop_reason)
        if usage is None:
            return
        cached = usage.cache_read_input_tokens
        parts = [usage.input_tokens, cached or 0, usage.cache_creation_input_tokens or 0]
        odd = [part for part in parts if type(part) is not int or part < 0]
        self.stream.count(odd[0] if odd else sum(parts), usage.output_tokens, cached)
