"""From the bytes of an exchange to a turn: the prompt's messages, the reply as a message, what the server counted."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from swarm.client import failures, loose_json
from swarm.client.base import Failure, Observation
from swarm.client.reply.sse import ChatStream
from swarm.proxy import anthropic_stream, responses_stream
from swarm.proxy.anthropic import TranslationError
from swarm.proxy.exchange import Exchange, UnreadableError
from swarm.proxy.responses_request import Prompt, Stored


@dataclass(frozen=True)
class Turn:
    """One chat completion in OpenAI's form; times as in its exchange."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    model: str
    sent_ns: int
    first_token_ns: int | None
    """None also where the answer was no stream."""
    end_ns: int
    status: int | None
    error: str | None
    """Kind of the failure, or `cancelled` where the client left first; None: the reply is whole."""
    reply: dict[str, Any] | None
    """The assistant message; None: not a token of it came."""
    streamed: bool
    """Whether the reply was asked for as a stream."""
    seen: Observation
    """The server's token counts, the reasoning, and why the reply ended."""


class _Request(msgspec.Struct):
    messages: list[dict[str, Any]]
    model: str = ""
    tools: list[dict[str, Any]] | None = None


class _Asked(msgspec.Struct):
    stream: Any = None


def read(exchange: Exchange, in_openais: Callable[[bytes], bytes], stored: Stored) -> Turn | None:
    """The turn that an exchange was; None where its request or its answer cannot be read: where its packing is unknown,
    say, or it goes on from what the server keeps, and `stored`, which gets what comes, does not have that.

    `in_openais` translates a request of Anthropic's, and raises TranslationError for what is none.
    """
    seen, streamed = Observation(send_ns=exchange.sent_ns), exchange.content_type == "text/event-stream"
    try:
        body, prompt = _body(exchange), _prompt(exchange, in_openais, stored)
        said = _read_answer(exchange, body, streamed, seen) if exchange.status == 200 else responses_stream.Reply()
    except UnreadableError:
        return None
    if exchange.status not in (None, 200):
        seen.failure = failures.from_status(exchange.status, exchange.headers, body, "the upstream")
    failure, reply = exchange.failure or seen.failure, _message(seen)
    whole = seen.end_ns is not None and seen.failure is None
    if whole and reply and said.id:
        stored.keep(said.id, said.items, prompt, reply, len(exchange.request) + len(body))
    return Turn(
        messages=prompt.messages,
        tools=prompt.tools,
        model=prompt.model,
        sent_ns=exchange.sent_ns,
        first_token_ns=seen.stamps[0] if seen.stamps and not exchange.packed and streamed else None,
        end_ns=seen.end_ns or exchange.end_ns,
        status=exchange.status,
        error=None if whole else "cancelled" if exchange.left else failure.kind if failure else "cut",
        reply=reply,
        streamed=_asks_for_stream(exchange.request),
        seen=seen,
    )


def _asks_for_stream(request: bytes) -> bool:
    try:
        return loose_json.decode(request, _Asked).stream is True
    except failures.JSON_ERRORS:
        return False


def _body(exchange: Exchange) -> bytes:
    if (body := exchange.body()) is None:
        raise UnreadableError("the answer is too long, or packed in an unknown way")
    return body


def _prompt(exchange: Exchange, in_openais: Callable[[bytes], bytes], stored: Stored) -> Prompt:
    try:
        if exchange.api == "responses":
            return stored.prompt(exchange.request)
        asked = in_openais(exchange.request) if exchange.api == "anthropic" else exchange.request
        request = loose_json.decode(asked, _Request)
    except (*failures.JSON_ERRORS, TranslationError) as error:
        raise UnreadableError(str(error)) from error
    return Prompt(request.messages, request.tools or [], request.model)


def _read_answer(exchange: Exchange, body: bytes, streamed: bool, seen: Observation) -> responses_stream.Reply:
    """Reads it into `seen`; what it returns is empty where nothing can be named later."""
    pieces, end_ns = [(body, exchange.end_ns)] if exchange.packed else exchange.pieces, exchange.end_ns
    match exchange.api, streamed:
        case "responses", True:
            return responses_stream.read_stream(pieces, seen)
        case "responses", False:
            return responses_stream.read_document(body, end_ns, seen)
        case "anthropic", True:
            anthropic_stream.read_stream(pieces, seen)
        case "anthropic", False:
            anthropic_stream.read_document(body, end_ns, seen)
        case _, True:
            _read_stream(exchange, pieces, seen)
        case _:
            _read_document(body, end_ns, seen)
    return responses_stream.Reply()


def _read_stream(exchange: Exchange, pieces: Iterable[tuple[bytes, int]], seen: Observation) -> None:
    stream = ChatStream(seen)
    for data, stamp_ns in pieces:
        stream.feed(data, stamp_ns)
    if not exchange.left and exchange.failure is None:
        stream.end(exchange.end_ns)
    stream.close()


def _read_document(body: bytes, end_ns: int, seen: Observation) -> None:
    """A reply that came as a whole is read as a stream of one chunk."""
    stream = ChatStream(seen)
    try:
        document = loose_json.decode(body, dict[str, Any])
        choices = [{**choice, "delta": choice.get("message")} for choice in document.get("choices") or ()]
        if document.get("error") or not choices:
            seen.failure = Failure("in_band", failures.error_text(body))
            return
        stream.take_document({**document, "choices": choices[:1]}, end_ns)
    except (*failures.JSON_ERRORS, TypeError, AttributeError):
        seen.failure = failures.not_a_stream("what is no chat completion", body, "the upstream")
        return
    seen.end_ns = end_ns
    if seen.finish_reason is not None:  # a document is whole without one
        stream.done(end_ns)
    stream.close()


def _message(seen: Observation) -> dict[str, Any] | None:
    """The reply as the message that it becomes in the next prompt."""
    if not (seen.content or seen.reasoning or seen.tool_calls):
        return None
    message: dict[str, Any] = {"role": "assistant", "content": seen.content or None}
    if seen.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in seen.tool_calls
        ]
    return message
