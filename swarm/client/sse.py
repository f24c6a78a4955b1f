"""The bytes of a streamed chat completion, turned into an `Observation`.

Two steps, both fed with bytes split anywhere: `EventStream` finds the events (server-sent events, WHATWG HTML 9.2),
`ChatStream` reads OpenAI's chunks out of them. Whatever a server sends becomes data or a `Failure`, never an exception.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from swarm.client.base import Failure, Observation, ToolCall
from swarm.client.failures import JSON_ERRORS, error_text
from swarm.recording.records import ErrorKind

MAX_EVENT_BYTES = 4 << 20
"""The largest event taken: a thousand times a usual chunk, and little enough that a broken server costs no memory."""

_BOM = b"\xef\xbb\xbf"
_DONE = b"[DONE]"


class TooLongError(ValueError):
    """An event exceeded `MAX_EVENT_BYTES`."""


class EventStream:
    """Splits bytes into the data of events. Line ends are LF, CRLF or CR; comments and other fields are skipped."""

    __slots__ = ("_data", "_first", "_limit", "_rest", "_size", "_skip_lf")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._limit = limit
        self._rest = bytearray()  # the line that has not ended yet
        self._data: list[bytes] = []  # the data lines of the event that has not ended yet
        self._size = 0  # of _data
        self._skip_lf = False  # the last byte was a CR: an LF now belongs to it
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        """The data of every event that ends in `data`; raises `TooLongError`."""
        if self._is_one_event(data):
            self._first = False
            return [data[6:-2]]
        if self._skip_lf or b"\r" in data:
            data = self._plain_line_ends(data)
        lines = data.split(b"\n")
        self._rest += lines[0]
        if len(lines) > 1:
            lines[0] = bytes(self._rest).removeprefix(_BOM) if self._first else bytes(self._rest)
            self._first = False
            self._rest = bytearray(lines[-1])
        if len(self._rest) > self._limit:
            raise TooLongError
        events: list[bytes] = []
        for line in lines[:-1]:
            if line:
                self._line(line)
            elif self._data:
                events.append(self._take())
        return events

    def _is_one_event(self, data: bytes) -> bool:
        """The common case by far: one read brings one whole event of one line."""
        return (
            data.startswith(b"data: ")
            and data.find(b"\n") == len(data) - 2
            and data.endswith(b"\n")
            and not (self.inside or b"\r" in data)
        )

    @property
    def inside(self) -> bool:
        """An event has begun and not ended."""
        return bool(self._rest or self._data or self._skip_lf)

    def end(self) -> list[bytes]:
        """The event that the end of the bytes left without its blank line, if its lines are whole."""
        if bytes(self._rest).strip() in (b"data: " + _DONE, b"data:" + _DONE):
            self._line(bytes(self._rest).strip())
        self._rest.clear()
        return [self._take()] if self._data else []

    def _line(self, line: bytes) -> None:
        if line.startswith(b"error:"):  # llama.cpp's until 2025: a field of its own
            line = b'data:{"error":' + line[6:] + b"}"
        if line.startswith(b"data:"):
            value = line[6:] if line.startswith(b"data: ") else line[5:]
            self._data.append(value)
            self._size += len(value)
            if self._size > self._limit:
                raise TooLongError

    def _take(self) -> bytes:
        event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        return event

    def _plain_line_ends(self, data: bytes) -> bytes:
        if self._skip_lf and data.startswith(b"\n"):
            data = data[1:]
            self._skip_lf = False
        if data:
            self._skip_lf = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Fragment(msgspec.Struct, gc=False):
    index: Count | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Fragment] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _PromptDetails | None = None


class Chunk(msgspec.Struct, gc=False):
    """What is read of an OpenAI chunk, or of the error that took its place."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: Any = None
    message: Any = None

    @property
    def is_error(self) -> bool:
        return self.error is not None or self.object == "error"


_decode = msgspec.json.Decoder(Chunk).decode
_decode_all = msgspec.json.Decoder(list[Chunk]).decode


class ChatStream:
    """One reply as its bytes arrive, written into `seen`.

    A token-bearing chunk is one with non-empty content, reasoning or tool-call fragment; the empty role delta is none.
    The reply is complete with a finish reason and the terminal event, and cut without either.
    """

    __slots__ = ("_content", "_events", "_fragments", "_per_chunk", "_reasoning", "_seen", "over")

    def __init__(self, seen: Observation) -> None:
        self._seen = seen
        self._events = EventStream()
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._fragments: dict[int, tuple[list[str], list[str], list[str]]] = {}  # index -> ids, names, arguments
        self._per_chunk = True
        self.over = False
        """The terminal event has come, or the stream has failed: what follows does not matter."""

    def feed(self, data: bytes, stamp_ns: int) -> None:
        """Takes bytes that arrived at `stamp_ns`."""
        try:
            for event in self._events.feed(data):
                if not self.over:
                    self._event(event, stamp_ns)
        except TooLongError:
            self.fail("malformed", f"the server sent one event of more than {MAX_EVENT_BYTES} bytes")

    def feed_all(self, reads: Sequence[tuple[bytes, int, int]]) -> None:
        """Takes the bytes of several reads, and when they arrived; quicker than one by one where each is one event."""
        if len(reads) > 1 and not (self.over or self._events.inside) and (chunks := _chunks(reads)):
            for chunk, (_, stamp_ns, _) in zip(chunks, reads, strict=True):
                self.take(chunk, stamp_ns)
        else:
            for data, stamp_ns, _ in reads:
                self.feed(data, stamp_ns)

    def end(self, stamp_ns: int) -> None:
        """The server has ended the stream in good order."""
        for event in self._events.end():
            if not self.over:
                self._event(event, stamp_ns)
        if not self.over:
            missing = "its terminal event [DONE]" if self._seen.finish_reason else "a finish_reason"
            self.fail("cut", f"the server ended the stream without {missing}")

    def fail(self, kind: ErrorKind, message: str) -> None:
        """The first failure stands."""
        self.over = True
        if self._seen.failure is None:
            self._seen.failure = Failure(kind, message)

    def close(self) -> None:
        """Puts the text and tool calls together, as far as they came."""
        seen = self._seen
        seen.content = "".join(self._content)
        seen.reasoning = "".join(self._reasoning)
        seen.tool_calls = [
            ToolCall("".join(ids), "".join(names), "".join(arguments))
            for _, (ids, names, arguments) in sorted(self._fragments.items())
        ]

    def _event(self, event: bytes, stamp_ns: int) -> None:
        if event == _DONE:
            self.over = True
            self._seen.end_ns = stamp_ns
            if self._seen.finish_reason is None:
                self.fail("cut", "the server ended the stream without a finish_reason")
            return
        try:
            chunk = _decode(event)
        except JSON_ERRORS as error:
            self.fail(
                "malformed", f"the server sent a chunk that is not a chat completion's ({error}): {event[:120]!r}"
            )
            return
        if chunk.is_error:
            self.fail("in_band", f"the server broke the stream off with an error: {error_text(event)}")
        else:
            self.take(chunk, stamp_ns)

    def take(self, chunk: Chunk, stamp_ns: int) -> None:
        """A chunk that arrived at `stamp_ns`."""
        bears_token = False
        for choice in chunk.choices or ():
            if choice.delta is not None and self._delta(choice.delta):
                bears_token = True
            if choice.finish_reason:
                self._seen.finish_reason = choice.finish_reason
        if chunk.usage is not None:
            self._usage(chunk.usage)
        if bears_token:
            self._token(stamp_ns, chunk.usage)

    def add(self, delta: dict[str, Any], stamp_ns: int) -> None:
        """A chunk's delta, as which a reply in the words of another API is read."""
        self.take(msgspec.convert({"choices": [{"delta": delta}]}, Chunk), stamp_ns)

    def _token(self, stamp_ns: int, usage: _Usage | None) -> None:
        seen = self._seen
        if seen.stamps and seen.stamps[-1] == stamp_ns:
            seen.coalesced += 1
        seen.stamps.append(stamp_ns)
        if self._per_chunk:
            if usage is not None and usage.completion_tokens is not None:
                seen.tokens.append(usage.completion_tokens)
            else:
                self._per_chunk = False
                del seen.tokens[:]

    def _delta(self, delta: _Delta) -> bool:
        content, reasoning = delta.content, delta.reasoning or delta.reasoning_content
        if content:
            self._content.append(content)
        if reasoning:
            self._reasoning.append(reasoning)
        bears_token = bool(content or reasoning)
        for position, fragment in enumerate(delta.tool_calls or ()):
            if self._fragment(position if fragment.index is None else fragment.index, fragment):
                bears_token = True
        return bears_token

    def _fragment(self, index: int, fragment: _Fragment) -> bool:
        function = fragment.function or _Function()
        if not (fragment.id or function.name or function.arguments):
            return False
        parts = self._fragments.setdefault(index, ([], [], []))
        for part, text in zip(parts, (fragment.id, function.name, function.arguments), strict=True):
            if text:
                part.append(text)
        return True

    def _usage(self, usage: _Usage) -> None:
        seen = self._seen
        if usage.prompt_tokens is not None:
            seen.prompt_tokens = usage.prompt_tokens
        if usage.completion_tokens is not None:
            seen.completion_tokens = usage.completion_tokens
        if usage.prompt_tokens_details is not None and usage.prompt_tokens_details.cached_tokens is not None:
            seen.cached_tokens = usage.prompt_tokens_details.cached_tokens


def _chunks(reads: Sequence[tuple[bytes, int, int]]) -> list[Chunk] | None:
    """What each of the reads says; None where one of them is not just one chunk of a reply that goes on."""
    events = [data[6:-2] for data, _, _ in reads if data.startswith(b"data: ") and data.endswith(b"\n\n")]
    joined = b",".join(events)
    if len(events) < len(reads) or b"\n" in joined or b"\r" in joined:
        return None
    try:
        chunks = _decode_all(b"[%b]" % joined)
    except JSON_ERRORS:
        return None
    return chunks if len(chunks) == len(reads) and not any(chunk.is_error for chunk in chunks) else None
