"""Anthropic's messages for an upstream that speaks OpenAI's chat completions, translated by LiteLLM.

Only LiteLLM's translators are used, not its way of sending: a chunk costs 0.16 ms instead of more than 1, nothing is
retried or made up on the way, and what is recorded are the bytes of the wire. They have moved before, so all that this
project knows of them is in here.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict

from swarm.client.failures import JSON_ERRORS, error_in, error_text
from swarm.client.litellm_codec import load
from swarm.client.reply.events import ErrorEvent, EventStream, TooLongError
from swarm.errors import UsageError
from swarm.proxy.answer import PlainAnswer, error_body
from swarm.proxy.exchange import BOUNDS

_PLACES = ("messages", "pass_through", "experimental_pass_through")
"""Where LiteLLM 1.109, 1.105 and 1.90 have the translators."""
_FORWARDED = frozenset(
    {"messages", "model", "tools", "tool_choice", "parallel_tool_calls", "max_tokens", "stream", "temperature"}
    | {"top_p", "top_k", "stop", "response_format", "reasoning_effort"}
)
_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}
"""vLLM's words for efforts that only some models know."""
_MISFITS = (*JSON_ERRORS, TypeError, ValueError, LookupError, AttributeError)
"""Errors that LiteLLM's translators raise for input of a shape that they do not expect."""


class TranslationError(Exception):
    """A request or reply cannot be translated; the message says why."""


@dataclass(frozen=True)
class Translated:
    """A request in OpenAI's words, and what its answer needs to find its way back."""

    body: bytes
    model: str
    """As the client named it."""
    stream: bool
    tool_names: dict[str, str]
    """The client's names of tools, where they were too long for OpenAI's API."""


class Translator:
    """LiteLLM's translators; making one imports LiteLLM, about three seconds. Raises UsageError where they are gone."""

    def __init__(self) -> None:
        load()
        for place in _PLACES:
            try:
                adapter = import_module(f"litellm.llms.anthropic.{place}.adapters.transformation").AnthropicAdapter
            except (ImportError, AttributeError):
                continue
            break
        else:
            raise UsageError(
                "this version of LiteLLM has no translator of Anthropic's messages where swarm looks for it: install "
                "another, or name an upstream that takes them as they are (vLLM does) with --upstream-api anthropic"
            )
        types = import_module("litellm.types.utils")
        self._adapter, self._whole, self._chunk = adapter(), types.ModelResponse, types.ModelResponseStream

    def request(self, body: bytes, model: str | None) -> Translated:
        """The request for the upstream, with `model` in the place of the client's. Raises TranslationError."""
        try:
            asked = msgspec.json.decode(body, type=dict[str, Any])
            named, stream = str(asked["model"]), asked.get("stream") is True
            given, names = self._adapter.translate_completion_input_params_with_tool_mapping(asked)
            wanted = {name: value for name, value in given.items() if name in _FORWARDED and value is not None}
            wanted["model"] = model or named
            for message in wanted["messages"]:
                message.pop("thinking_blocks", None)  # signed by Anthropic for itself; reasoning_content has the text
            if effort := wanted.get("reasoning_effort"):
                wanted["reasoning_effort"] = _EFFORTS.get(effort, effort)
            if stream:
                wanted["stream_options"] = {"include_usage": True}
            return Translated(msgspec.json.encode(wanted), named, stream, dict(names))
        except _MISFITS as error:
            raise TranslationError(f"this request cannot be translated: {_words(error)}") from error

    def whole(self, body: bytes, asked: Translated) -> bytes:
        """A reply that is no stream. Raises TranslationError."""
        try:
            reply = self._whole(**msgspec.json.decode(body))
            message = self._adapter.translate_completion_output_params(reply, asked.tool_names)
            return msgspec.json.encode({**message, "model": asked.model})
        except _MISFITS as error:
            raise TranslationError(f"the upstream's answer cannot be translated: {_words(error)}") from error

    async def events(self, chunks: AsyncIterator[bytes], asked: Translated) -> AsyncIterator[bytes]:
        """The events of a streamed reply, each as soon as its chunk is there."""
        broken: TranslationError | None = None

        async def arriving() -> AsyncIterator[Any]:
            nonlocal broken
            async for chunk in chunks:
                try:
                    yield self._read(chunk)
                except TranslationError as error:
                    broken = error
                    return

        stream = self._adapter.translate_completion_output_params_streaming(arriving(), asked.model, asked.tool_names)
        async for event in stream:
            if broken is not None:
                break
            yield event
        if broken is not None:
            yield b"event: error\ndata: " + error_body("anthropic", 500, str(broken)) + b"\n\n"

    def _read(self, chunk: bytes) -> Any:
        if (words := error_text(chunk) if isinstance(chunk, ErrorEvent) else error_in(chunk)) is not None:
            raise TranslationError(words)
        try:
            return self._chunk(**msgspec.json.decode(chunk, type=dict[str, Any]))
        except _MISFITS as error:
            raise TranslationError(f"the upstream's chunk cannot be translated: {_words(error)}") from error


_DELTA = re.compile(
    rb'event: content_block_delta\ndata: {"type": "content_block_delta", "index": \d+, '
    rb'"delta": {"type": "[a-z_]+_delta", "(text|thinking|partial_json)": (?=")'
)
_TOO_LONG = ErrorEvent(b"the upstream's answer is longer than %d bytes" % BOUNDS.reply)
_FINISHES = re.compile(rb'"finish_reason":\s*"')


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    arguments: str = ""


class _Fragment(msgspec.Struct, forbid_unknown_fields=True):
    """Part of a call that has begun: no id, no name."""

    index: int
    function: _Function


class _Delta(msgspec.Struct, forbid_unknown_fields=True):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Fragment] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: None = None


class _Chunk(msgspec.Struct):
    object: Literal["chat.completion.chunk"]
    choices: list[_Choice]
    usage: None = None
    error: None = None


_chunk = msgspec.json.Decoder(_Chunk).decode


def continued(event: bytes, chunk: bytes) -> bytes | None:
    """LiteLLM's translation of a chunk that only adds to the text, thinking or call that its last event added to.

    That is nearly all of a reply, and LiteLLM takes 0.15 ms for each. None: it is for LiteLLM to translate.
    """
    open_block = _DELTA.match(event)
    try:
        choices = _chunk(chunk).choices if open_block else []
    except JSON_ERRORS:
        return None
    if open_block is None or len(choices) != 1:
        return None
    delta = choices[0].delta
    calls = delta.tool_calls or []
    thought = delta.reasoning_content or delta.reasoning or ""
    if delta.reasoning not in (None, thought):
        return None
    said = {
        b"text": delta.content or "",
        b"thinking": thought,
        b"partial_json": calls[0].function.arguments if len(calls) == 1 else "",
    }
    more = said.pop(open_block[1])
    if not more or any(said.values()) or len(calls) > 1:
        return None
    return open_block[0] + json.dumps(more).encode() + b"}}\n\n"


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


class TranslatedAnswer:
    """The upstream's answer in Anthropic's words (see `swarm.proxy.answer.Answer`)."""

    def __init__(self, http: web.Request, translator: Translator, asked: Translated) -> None:
        self._plain = PlainAnswer(http)
        self._translator = translator
        self._asked = asked
        self._status = 0
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._body = bytearray()  # of an answer that is no stream
        self._room = BOUNDS.reply
        self._events = EventStream()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waits = False  # LiteLLM has said all that it had to say, and waits for a chunk
        self._ending = False  # it has been told why the reply ends, and goes by other rules
        self._last = b""  # its last event
        self._writing: asyncio.Task[None] | None = None
        self._whole = False

    @property
    def response(self) -> web.StreamResponse | None:
        return self._plain.response

    async def begin(self, reply: aiohttp.ClientResponse) -> None:
        self._status = reply.status
        self._headers = CIMultiDict((name, reply.headers[name]) for name in ("Retry-After",) if name in reply.headers)
        if self._asked.stream and reply.status == 200 and reply.content_type == "text/event-stream":
            await self._plain.start(200, "OK", CIMultiDict({"Content-Type": "text/event-stream; charset=utf-8"}))
            self._writing = asyncio.create_task(self._write())

    def write(self, data: bytes) -> None:
        before, self._room = self._room, self._room - len(data)
        if self._room < 0:
            if before >= 0 and self._writing is not None and not self._whole:
                self._translate(_TOO_LONG)
                self._whole = True
            return
        if self._writing is None:
            self._body += data
            return
        try:
            for event in self._events.feed(data):
                self._whole = self._whole or event == b"[DONE]"
                if not self._whole:
                    self._translate(event)
        except TooLongError:
            self._translate(ErrorEvent(b"an event of the upstream is too long"))

    def _translate(self, chunk: bytes | None) -> None:
        """None: there are no more."""
        if self._waits and chunk and (event := continued(self._last, chunk)):
            self._plain.write(event)
        else:
            self._waits = False
            self._ending = self._ending or chunk is None or _FINISHES.search(chunk) is not None
            self._chunks.put_nowait(chunk)

    async def _arriving(self) -> AsyncIterator[bytes]:
        while True:
            self._waits = self._chunks.empty() and not self._ending
            if (chunk := await self._chunks.get()) is None:
                return
            yield chunk

    async def _write(self) -> None:
        async for event in self._translator.events(self._arriving(), self._asked):
            self._plain.write(event)
            self._last = event

    async def end(self) -> None:
        if self._writing is None:
            await self._end_document()
        elif self._whole:
            self._translate(None)
            await self._writing
            await self._plain.end()
        else:
            self.cut()  # LiteLLM would make an ending up

    async def _end_document(self) -> None:
        status, body = self._status, bytes(self._body)
        try:
            if self._room < 0:
                raise TranslationError(error_text(_TOO_LONG))
            body = self._translator.whole(body, self._asked) if status == 200 else _error(status, body)
        except TranslationError as error:
            status, body = 502, error_body("anthropic", 502, str(error))
        self._headers.update({"Content-Type": "application/json", "Content-Length": str(len(body))})
        await self._plain.start(status, None, self._headers)
        self._plain.write(body)
        await self._plain.end()

    def cut(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
        self._plain.cut()


def _error(status: int, body: bytes) -> bytes:
    return error_body("anthropic", status, error_text(body))
