"""From exchanges to the lines of a trace."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import msgspec

from swarm.proxy.anthropic import Translator
from swarm.proxy.exchange import BOUNDS, Exchange
from swarm.proxy.parse_exchange import Turn, read
from swarm.proxy.responses_request import Stored
from swarm.proxy.sessions import Message, Request, Response, Sessions, common, opening, quote
from swarm.recording.appender import RecordingError
from swarm.trace.format import (
    Keys,
    Parent,
    TraceCall,
    TraceMessage,
    TraceReply,
    TraceTools,
    TraceTurn,
    TraceWriter,
    text_bytes,
)
from swarm.trace.redact import Redactor

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_MOST_NAME = 200
_MOST_QUOTES = 32


@dataclass(slots=True)
class Totals:
    """Totals of the recording so far."""

    sessions: int = 0
    turns: int = 0
    failed: int = 0
    """Turns that were refused, broken off or cancelled."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    """Whole turns whose tokens the upstream did not count."""
    unreadable: int = 0
    """Requests for a turn that are not in the trace, as they or their answers could not be read."""
    model: str = ""
    """Model of the last turn."""
    redacted: Counter[str] = field(default_factory=Counter)
    """Finds by rule."""
    stopped: str | None = None
    """Why nothing is recorded any more; None: all is well."""


class Recording:
    """Writes turns as they end."""

    def __init__(
        self, writer: TraceWriter, redactor: Redactor, content: bool, stored_bytes: int = BOUNDS.stored
    ) -> None:
        """`content`: whether texts are written, redacted; else keys and lengths alone. `stored_bytes`: see `Bounds`."""
        self._totals = Totals(redacted=redactor.found)
        self._writer = writer
        self._redactor = redactor
        self._content = content
        self._keys = Keys()
        self._sessions = Sessions()
        self._tools: dict[str, str] = {}  # session -> key of its last tools
        self._stored = Stored(stored_bytes)
        self._translator: Translator | None = None

    def take(self, exchange: Exchange) -> Totals:
        """Writes a turn; once that fails, as on a full disk, no more are: `stopped` says so."""
        if self._totals.stopped is None:
            self._redactor.learn(*exchange.keys)
            turn = read(exchange, self._in_openais, self._stored)
            if turn is None:
                self._totals.unreadable += 1
            else:
                self._write(self._line(turn))
        return self._totals

    def close(self) -> None:
        """Raises RecordingError."""
        self._writer.close()

    def _write(self, line: TraceTurn) -> None:
        try:
            self._writer.add(line)
        except RecordingError as error:
            self._totals.stopped = str(error)
        else:
            self._count(line)

    def _in_openais(self, request: bytes) -> bytes:
        if self._translator is None:
            self._translator = Translator()
        return self._translator.request(request, None).body

    def _count(self, line: TraceTurn) -> None:
        totals = self._totals
        totals.turns += 1
        totals.sessions = len(self._sessions)
        totals.failed += line.error is not None
        totals.uncounted += line.error is None and line.completion_tokens is None
        totals.prompt_tokens += line.prompt_tokens or 0
        totals.completion_tokens += line.completion_tokens or 0
        totals.model = line.model or totals.model

    def _line(self, turn: Turn) -> TraceTurn:
        """The turn as a line, and its session as it stands after it."""
        prompt, texts = [self._said(message) for message in turn.messages], [_text(each) for each in turn.messages]
        asked = Request(prompt, turn.sent_ns, opening(_opening_text(turn.messages)), texts, bool(turn.tools))
        session, reply = self._sessions.of(asked), turn.reply
        first = session.turns == 0
        parent = self._sessions.begin(session, asked) if first else None
        same = common(session.asked.prompt, prompt)
        results = self._sessions.results(session, asked)
        answered = Response(
            reply=self._said(reply) if reply else None,
            quotes=tuple(_quotes(turn)),
            end_ns=turn.end_ns,
            whole=turn.error is None,
            text=_text(reply or {}),
        )
        self._sessions.take(session, asked, answered)
        return TraceTurn(
            session=session.name,
            number=session.turns,
            parent=Parent(session=parent[0], turn=parent[1]) if parent else None,
            side=first and session.owner is not None,
            beside=tuple(each.name for each in self._sessions.bind(session)) if first else (),
            results=results,
            streamed=turn.streamed,
            t_ns=turn.sent_ns,
            first_token_ns=turn.first_token_ns,
            end_ns=turn.end_ns,
            kept=same,
            added=tuple(map(self._message, turn.messages[same:], prompt[same:])),
            tools=self._offered(session.name, turn.tools),
            reply=self._reply(turn, answered.reply),
            prompt_tokens=turn.seen.prompt_tokens,
            cached_tokens=turn.seen.cached_tokens,
            completion_tokens=turn.seen.completion_tokens,
            finish_reason=_one_of(_REASONS, turn.seen.finish_reason),
            model=self._redactor.text(turn.model)[:_MOST_NAME] or None,
            status=turn.status,
            error=turn.error,
        )

    def _said(self, message: dict[str, Any]) -> Message:
        """The content of a message, whatever its form: clients write the same thing down in different ways."""
        role, content, calls = str(message.get("role")), _plain(message.get("content")), list(_calls(message))
        answers = [str(message["tool_call_id"])] if message.get("tool_call_id") else []
        made = [(call_id, name, _parsed(arguments)) for call_id, name, arguments in calls]
        gist = [role, content.strip() if isinstance(content, str) else content, [call[:2] for call in calls], answers]
        return Message(
            key=self._keys.of([role, content, made, answers, message.get("name")]),
            gist=self._keys.of(gist),
            role=role,
            calls=(*(call_id for call_id, _, _ in calls), *answers),
        )

    def _message(self, message: dict[str, Any], said: Message) -> TraceMessage:
        return TraceMessage(
            role=_one_of(_ROLES, said.role) or "other",
            key=said.key,
            bytes=text_bytes(message),
            content=self._redactor.value(message) if self._content else None,
        )

    def _offered(self, session: str, tools: list[dict[str, Any]]) -> TraceTools | None:
        key, none = self._keys.of(_plain(tools)), self._keys.of([])
        if key == self._tools.get(session, none):
            return None
        self._tools[session] = key
        return TraceTools(
            key=key,
            count=len(tools),
            bytes=len(msgspec.json.encode(tools)),
            content=self._redactor.value(tools) if self._content else None,
        )

    def _reply(self, turn: Turn, said: Message | None) -> TraceReply | None:
        if turn.reply is None or said is None:
            return None
        offered = {name for tool in turn.tools if isinstance(name := _function(tool).get("name"), str)}
        message = turn.reply | ({"reasoning_content": turn.seen.reasoning} if turn.seen.reasoning else {})
        return TraceReply(
            key=said.key,
            bytes=text_bytes(turn.reply),
            tokens=turn.seen.completion_tokens,
            reasoning_bytes=len(turn.seen.reasoning.encode("utf-8", "replace")),
            calls=tuple(self._call(*call, offered) for call in _calls(turn.reply)),
            content=self._redactor.value(message) if self._content else None,
        )

    def _call(self, call_id: str, name: str, arguments: str, offered: set[str]) -> TraceCall:
        """Without contents only a name that the client itself offered is written: a model may write anything there."""
        known = self._content or name in offered
        return TraceCall(
            id=self._redactor.text(call_id)[:_MOST_NAME] if self._content else self._keys.of(call_id),
            name=self._redactor.text(name)[:_MOST_NAME] if known else "unknown",
            arguments_bytes=len(arguments.encode("utf-8", "replace")),
            arguments=self._redactor.value(arguments) if self._content else None,
        )


def _calls(message: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Id, name and arguments of each call of a message; what is none is passed over."""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            function = _function(call)
            yield str(call.get("id")), str(function.get("name")), str(function.get("arguments"))


def _function(value: dict[str, Any]) -> dict[str, Any]:
    function = value.get("function")
    return function if isinstance(function, dict) else {}


def _plain(content: Any) -> Any:
    """Content without what changes from request to request though it means the same: its parts, and cache marks."""
    if isinstance(content, dict):
        return {name: _plain(value) for name, value in content.items() if name != "cache_control"}
    if isinstance(content, list):
        if content and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            return "".join(part["text"] for part in content)
        return [_plain(part) for part in content]
    return content or ""


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _text(message: dict[str, Any]) -> str:
    content = _plain(message.get("content"))
    return content if isinstance(content, str) else ""


def _opening_text(messages: list[dict[str, Any]]) -> str:
    """The user's text before the model's first: some agents tell of their surroundings before the job."""
    talk = (message for message in messages if message.get("role") not in ("system", "developer"))
    first = takewhile(lambda message: message.get("role") == "user", talk)
    contents = (_plain(message.get("content")) for message in first)
    return "\n".join(content for content in contents if isinstance(content, str))


def _quotes(turn: Turn) -> Iterator[str]:
    """The texts among the arguments of a reply's calls that a sub-agent's prompt may repeat."""
    for _, _, arguments in list(_calls(turn.reply or {}))[:_MOST_QUOTES]:
        values = _parsed(arguments)
        for value in list(values.values())[:_MOST_QUOTES] if isinstance(values, dict) else ():
            if isinstance(value, str) and (text := quote(value)):
                yield text


def _one_of(known: frozenset[str], value: str | None) -> str | None:
    """A word of the protocol's; "other" for any other, which might be anything."""
    return value if value is None or value in known else "other"
