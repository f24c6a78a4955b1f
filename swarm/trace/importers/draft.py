"""A trace in the making, as the readers of foreign logs fill it: sessions, what is said in them, and their turns.

Texts are turned into keys and lengths at once, so that memory grows with the number of messages and not with what they
say, unless contents are wanted; those are redacted first.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from swarm.scenario.units import BYTES_PER_TOKEN
from swarm.trace.format import (
    Keys,
    Parent,
    Source,
    Trace,
    TraceCall,
    TraceHeader,
    TraceMessage,
    TraceReply,
    TraceTools,
    TraceTurn,
    calls_of,
    kept,
    text_bytes,
)
from swarm.trace.importers.values import Message
from swarm.trace.redact import Redactor

NO_COUNTS = "it has no token counts: lengths are estimates, 4 bytes of text a token, unless texts are kept"
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_REASONS = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "tool-calls": "tool_calls"}
_KNOWN_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
_MOST_NAME = 190

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of a completion; None: not said."""

    prompt: int | None = None
    cached: int | None = None
    completion: int | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """When a completion happened, in nanoseconds since any fixed time; None: not said."""

    sent: int | None = None
    first_token: int | None = None
    end: int | None = None


@dataclass
class Draft:
    """`redactor`: takes secrets out of the contents that are kept; None: only lengths and keys are."""

    source: Source
    redactor: Redactor | None = None
    redacted: tuple[str, ...] = ()
    """Names of its rules."""
    notes: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """How often something was passed over or put right, by words that say what."""
    dated: bool = False
    """Whether its times are those of a clock, in nanoseconds since 1970."""
    block_tokens: int | None = None
    keys: Keys = field(default_factory=Keys)
    sessions: dict[str, "Session"] = field(default_factory=dict)
    _unseen: dict[str, str] = field(default_factory=dict)
    """Group of sessions -> the key of the beginning that they share, and that the log leaves out."""

    def session(self, name: str) -> "Session":
        """The one of this name, new or not."""
        name = _encodable(name)[:_MOST_NAME] or "session"
        if name not in self.sessions:
            self.sessions[name] = Session(self, name)
        return self.sessions[name]

    def new_session(self, name: str) -> "Session":
        """Another one, whose name is given a number where it is taken."""
        name, number = name[: _MOST_NAME - 8] or "session", 1
        while (free := name if number == 1 else f"{name}#{number}") in self.sessions:
            number += 1
        return self.session(free)

    def unseen(self, group: str) -> TraceMessage:
        """A system message in the place of prompt and tools that the log leaves out; `trace` gives it a length."""
        key = self._unseen.setdefault(group, self.keys.of(["unseen", group]))
        return TraceMessage(role="system", key=key, bytes=0)

    def trace(self) -> Trace:
        """The whole of it, turns in the order in which they ended."""
        sessions = [session for session in self.sessions.values() if session.turns]
        self._bind(sessions)
        first = min((turn.t_ns for session in sessions for turn in session.turns if turn.t_ns is not None), default=0)
        lengths = self._unseen_tokens(sessions)
        if lengths:
            self.notes.append(
                "it has no system prompts and tool schemas: one message stands for them, as long as the first prompts "
                "say; nothing else is known of what they share"
            )
        turns = [_finished(turn, first, lengths) for turn in _in_order(sessions)]
        notes = [*self.notes, *(f"{count} {what}" for what, count in self.left_out.items())]
        header = TraceHeader(
            source=self.source,
            recorded_at=datetime.fromtimestamp(first / 1e9, UTC).isoformat() if self.dated and turns else None,
            content=self.redactor is not None,
            redacted=self.redacted,
            block_tokens=self.block_tokens,
            notes=tuple(dict.fromkeys(notes)),
        )
        return Trace(header, tuple(turns))

    def _bind(self, sessions: list["Session"]) -> None:
        """Leaves of parents and results those that are there."""
        there = {session.name: session for session in sessions}
        children: set[tuple[str, str]] = set()
        for session in sessions:
            parent = session.parent
            if parent and parent.session in there and parent.turn <= len(there[parent.session].turns):
                children.add((parent.session, session.name))
            elif parent:
                session.parent = None
                self.left_out["sub-agents are sessions of their own, as the calls that started them are missing"] += 1
        for session in sessions:
            session.turns = [
                replace(turn, results=tuple(name for name in turn.results if (session.name, name) in children))
                for turn in session.turns
            ]

    def _unseen_tokens(self, sessions: list["Session"]) -> dict[str, int]:
        """Key -> tokens: what a server had cached of a first prompt, else what no message of it accounts for."""
        cached: dict[str, list[int]] = {}
        left: dict[str, list[int]] = {}
        known = set(self._unseen.values())
        for session in sessions:
            turn = session.turns[0]
            if not turn.added or turn.added[0].key not in known or turn.prompt_tokens is None:
                continue
            key, told = turn.added[0].key, sum(message.bytes or 0 for message in turn.added) / BYTES_PER_TOKEN
            left.setdefault(key, []).append(max(1, round(turn.prompt_tokens - told)))
            cached.setdefault(key, []).append(min(turn.cached_tokens or 0, turn.prompt_tokens - 1))
        return {key: max(cached[key]) or min(rest) for key, rest in left.items()}


class Session:
    """A conversation: what stands in it now, and its turns so far."""

    def __init__(self, draft: Draft, name: str) -> None:
        self.draft = draft
        self.name = name
        self.turns: list[TraceTurn] = []
        self.prompt: list[TraceMessage] = []
        """The history as the next request would send it."""
        self.parent: Parent | None = None
        self.side = False
        self._sent: tuple[TraceMessage, ...] = ()
        self._tools: str | None = None
        self._offered: TraceTools | None = None
        self._results: list[str] = []

    def say(self, message: Message, results: Iterable[str] = ()) -> None:
        """Adds a message, which holds the results of these sub-agents."""
        self.prompt.append(self._message(message))
        self._results += (_encodable(name)[:_MOST_NAME] for name in results)

    def offer(self, tools: Any) -> None:
        """The tools that requests have from now on, as schemas in any form."""
        known = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
        if known and (key := self.draft.keys.of(known)) != self._tools:
            content = self.draft.redactor.value(known) if self.draft.redactor else None
            self._tools = key
            self._offered = TraceTools(
                key=key, count=len(known), bytes=len(json.dumps(known).encode()), content=content
            )

    def turn(
        self,
        reply: Message | None,
        usage: Usage = Usage(),
        times: Times = Times(),
        *,
        reasoning: str = "",
        finish: Any = None,
        model: Any = None,
        streamed: bool | None = None,
        status: Any = None,
        error: str | None = None,
    ) -> None:
        """A completion that was asked for with all that stands here; its reply goes on it, unless it failed."""
        prompt = tuple(self.prompt)
        same = kept(self._sent, prompt)
        self.turns.append(
            TraceTurn(
                session=self.name,
                number=len(self.turns) + 1,
                results=tuple(dict.fromkeys(self._results)),
                streamed=streamed,
                t_ns=times.sent,
                first_token_ns=times.first_token,
                end_ns=times.end,
                kept=same,
                added=prompt[same:],
                tools=self._offered,
                reply=self._reply(reply, usage, reasoning) if reply else None,
                prompt_tokens=usage.prompt,
                cached_tokens=usage.cached,
                completion_tokens=usage.completion,
                finish_reason=_reason(finish),
                model=_encodable(model)[:_MOST_NAME] if isinstance(model, str) and model else None,
                status=status if isinstance(status, int) else None,
                error=error,
            )
        )
        self._sent, self._offered, self._results = prompt, None, []
        if reply and error is None:
            self.say(reply)

    def _message(self, message: Message) -> TraceMessage:
        role, redactor = str(message.get("role")), self.draft.redactor
        return TraceMessage(
            role=role if role in _ROLES else "other",
            key=self.draft.keys.of(message),
            bytes=text_bytes(message),
            content=redactor.value(message) if redactor else None,
        )

    def _reply(self, reply: Message, usage: Usage, reasoning: str) -> TraceReply:
        said = self._message(reply)
        return TraceReply(
            key=said.key,
            bytes=said.bytes,
            tokens=usage.completion,
            reasoning_bytes=len(reasoning.encode(errors="replace")),
            calls=tuple(map(self._call, calls_of(reply))),
            content=said.content,
        )

    def _call(self, call: TraceCall) -> TraceCall:
        """Without contents a name is kept only where it looks like one: a model may write anything there."""
        redactor = self.draft.redactor
        if redactor:
            identity, name = redactor.text(call.id)[:_MOST_NAME], redactor.text(call.name)[:_MOST_NAME]
            return replace(call, id=identity, name=name, arguments=redactor.value(call.arguments))
        named = call.name if _PLAIN_NAME.fullmatch(call.name) else "unknown"
        return replace(call, id=self.draft.keys.of(call.id), name=named, arguments=None)


def _encodable(text: str) -> str:
    """JSON may hold halves of a character, which UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def _reason(said: Any) -> str | None:
    if not isinstance(said, str) or not said:
        return None
    reason = _REASONS.get(said, said)
    return reason if reason in _KNOWN_REASONS else "other"


def _in_order(sessions: Sequence[Session]) -> Iterator[TraceTurn]:
    """By their ends, a session's turns by number, and none of a sub-agent before the turn that started it."""
    ends: dict[tuple[str, int], int] = {}
    lines: list[tuple[int, int, TraceTurn]] = []
    for place, session in enumerate(_parents_first(sessions)):
        latest = 0
        for turn in session.turns:
            if turn.number == 1:
                turn = replace(turn, parent=session.parent, side=session.side)
                latest = ends.get((session.parent.session, session.parent.turn), 0) if session.parent else 0
            latest = max(latest, turn.end_ns if turn.end_ns is not None else turn.t_ns or 0)
            ends[session.name, turn.number] = latest
            lines.append((latest, place, turn))
    return (turn for _, _, turn in sorted(lines, key=lambda line: line[:2]))


def _parents_first(sessions: Sequence[Session]) -> list[Session]:
    """A session that is among its own ancestors has no parent."""
    left, ordered = {session.name: session for session in sessions}, dict[str, Session]()
    while left:
        ready = [session for session in left.values() if not session.parent or session.parent.session in ordered]
        if not ready:
            next(iter(left.values())).parent = None
        for session in ready:
            ordered[session.name] = left.pop(session.name)
    return list(ordered.values())


def _finished(turn: TraceTurn, first_ns: int, lengths: Mapping[str, int]) -> TraceTurn:
    def since(t_ns: int | None) -> int | None:
        return None if t_ns is None else max(0, t_ns - first_ns)

    added = tuple(
        replace(message, tokens=lengths[message.key]) if message.key in lengths else message for message in turn.added
    )
    return replace(
        turn, t_ns=since(turn.t_ns), first_token_ns=since(turn.first_token_ns), end_ns=since(turn.end_ns), added=added
    )
