"""The trace of coding agents at work: a file of JSON lines, the header first and then a line for each turn.

A turn holds what its prompt added to the session's last one, so that a long session takes space in proportion to what
was said. Every message has a key: equal keys mean equal content, and the key tells nothing else, because a salt that is
kept nowhere goes into it. The structure of prefixes thus survives where contents are left out.

A turn is written when it ends. The gap to the session's next send is tool time where the reply had calls, else think
time (see `gap`). Nothing that can be derived is stored.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from swarm.errors import UsageError
from swarm.recording.appender import Appender
from swarm.recording.rundir import write_whole
from swarm.scenario.log_formats import LogFormat

VERSION = 1
MOST_LINE_BYTES = 64 << 20
MOST_FILE_BYTES = 4 << 30

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Source = Literal["recorded", LogFormat]


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    pass


class TraceHeader(_Line, frozen=True, kw_only=True, tag="trace"):
    v: int = VERSION
    source: Source
    recorded_at: str | None = None
    """ISO 8601, UTC, of the trace's time 0."""
    content: bool = False
    """Whether texts are there, not their keys and lengths alone."""
    redacted: tuple[str, ...] = ()
    """Names of the rules by which contents were changed."""
    block_tokens: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] | None = None
    """Tokens of one of `TraceTurn.blocks`."""
    notes: tuple[str, ...] = ()
    """Facts that this trace lacks, in words."""


class Parent(_Part, frozen=True, kw_only=True):
    """The turn of another session, one of whose tool calls started this one: a sub-agent."""

    session: Name
    turn: Annotated[int, msgspec.Meta(ge=1)]


class TraceMessage(_Part, frozen=True, kw_only=True):
    role: Annotated[str, msgspec.Meta(max_length=32)]
    key: Key
    bytes: Count | None = None
    """Length of its text and calls in UTF-8 (see `text_bytes`)."""
    tokens: Count | None = None
    content: dict[str, Any] | None = None
    """The whole message as OpenAI's API takes it; None: left out."""


class TraceTools(_Part, frozen=True, kw_only=True):
    """The schemas of the tools that the model was offered."""

    key: Key
    count: Count
    bytes: Count | None = None
    tokens: Count | None = None
    content: list[dict[str, Any]] | None = None


class TraceCall(_Part, frozen=True, kw_only=True):
    id: Annotated[str, msgspec.Meta(max_length=256)]
    name: Annotated[str, msgspec.Meta(max_length=256)]
    arguments_bytes: Count | None = None
    arguments: str | None = None


class TraceReply(_Part, frozen=True, kw_only=True):
    key: Key
    """Key of the assistant message that it becomes."""
    bytes: Count | None = None
    tokens: Count | None = None
    reasoning_bytes: Count = 0
    calls: tuple[TraceCall, ...] = ()
    content: dict[str, Any] | None = None
    """The assistant message; None: left out."""


class TraceTurn(_Line, frozen=True, kw_only=True, tag="turn"):
    """One chat completion. Times are nanoseconds since the trace's start; None: the trace does not say."""

    session: Name
    number: Annotated[int, msgspec.Meta(ge=1)]
    """In its session, from 1, without gaps."""
    parent: Parent | None = None
    """Who started the session; only in its first turn."""
    side: bool = False
    """Whether the session is a call beside the work of its parent, for a title, say; only in its first turn."""
    beside: tuple[Name, ...] = ()
    """Calls beside the session's first turn, in lines before this; only in files, as `read_trace` makes them `side`."""
    results: tuple[Name, ...] = ()
    """Sub-agents whose results its prompt is the first to hold: it is not sent before they have ended."""
    streamed: bool | None = None
    """Whether the reply was asked for as a stream; None: the trace does not say."""
    t_ns: Nanoseconds | None = None
    """The send."""
    first_token_ns: Nanoseconds | None = None
    end_ns: Nanoseconds | None = None
    kept: Count = 0
    """How many leading messages are those of the session's last prompt."""
    added: tuple[TraceMessage, ...] = ()
    """The messages of the prompt after these."""
    tools: TraceTools | None = None
    """None: those of the session's last turn; at its first, no tools at all."""
    reply: TraceReply | None = None
    """None: there was none, or nothing is known of it but `completion_tokens`."""
    prompt_tokens: Count | None = None
    cached_tokens: Count | None = None
    completion_tokens: Count | None = None
    finish_reason: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    model: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    status: int | None = None
    """HTTP status; None: unknown."""
    error: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    """Kind of the failure; None: the completion was whole."""
    blocks: tuple[int, ...] | None = None
    """In the place of messages: ids of the prompt's blocks of KV cache, each naming all tokens up to its end."""


@dataclass(frozen=True)
class Trace:
    """A whole trace in memory; turns in the order in which they ended."""

    header: TraceHeader
    turns: tuple[TraceTurn, ...]

    def sessions(self) -> dict[str, list[TraceTurn]]:
        """Each session's turns, sessions in the order of their first line."""
        found: dict[str, list[TraceTurn]] = {}
        for turn in self.turns:
            found.setdefault(turn.session, []).append(turn)
        return found


class Keys:
    """Makes keys of contents. The salt is random and kept nowhere, so that no key can be looked up by guessing."""

    def __init__(self) -> None:
        self._salt = os.urandom(32)

    def of(self, content: Any) -> str:
        """24 hexadecimal digits for anything that JSON can say; equal whatever the order of an object's keys."""
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.blake2b(text.encode(), key=self._salt, digest_size=12).hexdigest()


def kept(before: Iterable[TraceMessage], now: Iterable[TraceMessage]) -> int:
    """How many leading messages two prompts share."""
    count = 0
    for old, new in zip(before, now, strict=False):
        if old.key != new.key:
            break
        count += 1
    return count


def prompts(turns: Iterable[TraceTurn]) -> Iterator[tuple[TraceMessage, ...]]:
    """The whole prompt of each turn of one session."""
    prompt: tuple[TraceMessage, ...] = ()
    for turn in turns:
        prompt = prompt[: turn.kept] + turn.added
        yield prompt


def text_bytes(message: dict[str, Any]) -> int:
    """Bytes of what a chat template shows of a message: texts, and names and arguments of calls. Takes any JSON."""
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    shown: list[Any] = [message.get("content")]
    for function in functions:
        if isinstance(function, dict):
            shown += [function.get("name"), function.get("arguments")]
    return sum(_bytes(value) for value in shown)


def _bytes(value: Any) -> int:
    if isinstance(value, list):  # content in parts
        return sum(_bytes(part.get("text")) for part in value if isinstance(part, dict))
    if isinstance(value, dict):  # arguments that are no text yet
        return len(json.dumps(value).encode())
    return len(value.encode(errors="replace")) if isinstance(value, str) else 0


def message_of(message: dict[str, Any], keys: Keys) -> TraceMessage:
    """A message in OpenAI's form, with its content."""
    return TraceMessage(
        role=str(message.get("role"))[:32], key=keys.of(message), bytes=text_bytes(message), content=message
    )


def tools_of(schemas: list[dict[str, Any]], keys: Keys) -> TraceTools:
    """Tool schemas in OpenAI's form, with their contents."""
    return TraceTools(
        key=keys.of(schemas), count=len(schemas), bytes=len(msgspec.json.encode(schemas)), content=schemas
    )


def calls_of(message: dict[str, Any]) -> tuple[TraceCall, ...]:
    """The calls of an assistant message in OpenAI's form; what is no call is left out."""
    calls = message.get("tool_calls")
    found = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            text = function.get("arguments")
            arguments = text if isinstance(text, str) else json.dumps(text)
            found.append(
                TraceCall(
                    id=str(call.get("id", ""))[:256],
                    name=str(function.get("name", ""))[:256],
                    arguments_bytes=len(arguments.encode(errors="replace")),
                    arguments=arguments,
                )
            )
    return tuple(found)


class TraceWriter:
    """A new trace file that grows turn by turn, and stays readable after `kill -9`."""

    def __init__(self, path: Path, header: TraceHeader) -> None:
        """Raises RecordingError, also when `path` exists."""
        self._file = Appender(path)
        self._add(header)

    def add(self, turn: TraceTurn) -> None:
        """The line is in the file when this returns. Raises RecordingError."""
        self._add(turn)

    def _add(self, line: TraceHeader | TraceTurn) -> None:
        self._file.add(msgspec.json.encode(line))
        for _ in self._file.flush():
            pass

    def close(self) -> None:
        """Writes the rest, down to the disk. Raises RecordingError."""
        self._file.close()


def write_trace(path: Path, trace: Trace) -> None:
    """Writes a trace whole or not at all, in the place of what was there. Raises UsageError."""
    lines = (msgspec.json.encode(line).decode() + "\n" for line in (trace.header, *trace.turns))
    write_whole(path, "".join(lines), private=True)


def read_trace(path: Path) -> Trace:
    """Reads a file of this format; a torn last line is left out, and said in the header's notes.

    Raises UsageError with the number of a line that is damaged or contradicts an earlier one.
    """
    lines = read_lines(path)
    _, first = next(lines, (0, b""))
    try:
        header = msgspec.json.decode(first, type=TraceHeader)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}:1: no header of a trace: {error}") from None
    if header.v > VERSION:
        raise UsageError(f"{path}: a trace of the newer format {header.v}; upgrade swarm to read it")
    decoder, turns, notes, sessions = msgspec.json.Decoder(TraceTurn), [], list(header.notes), _Sessions()
    for number, line in lines:
        try:
            turn = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if line.endswith(b"\n"):
                raise UsageError(f"{path}:{number}: the line is damaged: {error}") from None
            notes.append("its last line is torn, as the recording broke off; it is left out")
            break
        if wrong := sessions.take(turn):
            raise UsageError(f"{path}:{number}: {wrong}")
        turns.append(turn)
    return Trace(msgspec.structs.replace(header, notes=tuple(notes)), tuple(_behind_their_owners(turns)))


def _behind_their_owners(turns: list[TraceTurn]) -> Iterator[TraceTurn]:
    """The turns, where calls beside a session follow the turn that names them, which is their parent."""
    owners = {name: Parent(session=turn.session, turn=turn.number) for turn in turns for name in turn.beside}
    waiting: dict[str, list[TraceTurn]] = {}
    for turn in turns:
        if turn.session in owners and turn.session != owners[turn.session].session:
            waiting.setdefault(turn.session, []).append(turn)
            continue
        yield msgspec.structs.replace(turn, beside=()) if turn.beside else turn
        for name in turn.beside:
            for number, side in enumerate(waiting.pop(name, [])):
                yield msgspec.structs.replace(side, parent=owners[name], side=True) if number == 0 else side
    for rest in waiting.values():  # of owners that name each other
        yield from rest


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line, line end included, as far as bounds allow. Raises UsageError."""
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MOST_FILE_BYTES >> 30} GiB; cut it into pieces")
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MOST_LINE_BYTES):
                number += 1
                if len(line) == MOST_LINE_BYTES:
                    raise UsageError(f"{path}:{number}: the line is longer than {MOST_LINE_BYTES >> 20} MiB")
                yield number, line
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


class _Sessions:
    """State of the lines so far: decides what the next one may say."""

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}
        self._messages: dict[str, int] = {}

    def take(self, turn: TraceTurn) -> str | None:
        """The mistake in a turn, in words; None: there is none."""
        before = self._turns.get(turn.session, 0)
        if turn.number != before + 1:
            return f"turn {turn.number} of session {turn.session!r} comes after turn {before}"
        if turn.kept > self._messages.get(turn.session, 0):
            return f"`kept` is {turn.kept}, but the session's last prompt had fewer messages"
        if turn.parent and before:
            return "only a session's first turn has a parent"
        if turn.parent and self._turns.get(turn.parent.session, 0) < turn.parent.turn:
            return f"the parent, turn {turn.parent.turn} of session {turn.parent.session!r}, is not in the lines before"
        self._turns[turn.session] = turn.number
        self._messages[turn.session] = turn.kept + len(turn.added)
        return None
