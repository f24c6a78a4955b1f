"""Spans of OpenTelemetry's GenAI conventions, in OTLP's JSON: what a collector's file exporter writes.

A span whose `gen_ai.operation.name` is a completion is a turn; `gen_ai.conversation.id`, else the trace, is its
session, and an `invoke_agent` within another one that of a sub-agent. Messages are there where the instrumentation was
told to keep them. See https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swarm.trace.format import Parent
from swarm.trace.importers.draft import Draft, Session, Times, Usage
from swarm.trace.importers.values import Message, assistant, called, count_of, fields, items, kind_of, texts, word

UNSAID = (
    "it has no messages: of two prompts of a session, the longer is taken to go on from the shorter one and its reply",
)
_COMPLETIONS = frozenset({"chat", "generate_content", "text_completion"})


def is_otlp(document: dict[str, Any]) -> bool:
    return "resourceSpans" in document


@dataclass(frozen=True)
class _Span:
    id: str
    parent: str
    trace: str
    operation: str
    start: int
    end: int
    said: dict[str, Any]
    """Its attributes of GenAI, without the prefix."""
    failed: bool


class OTel:
    """Takes documents; spans may come in any order, so turns are made at the end."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        draft.dated = True
        self._spans: dict[str, _Span] = {}
        """Completions and agents, by their ids."""
        self._above: dict[str, str] = {}
        """Every span -> the one that it is in."""

    def add(self, document: Any) -> None:
        for resource in map(fields, items(fields(document).get("resourceSpans"))):
            for scope in map(fields, items(resource.get("scopeSpans"))):
                for span in map(fields, items(scope.get("spans"))):
                    self._take(span)

    def _take(self, span: dict[str, Any]) -> None:
        said = {
            name.removeprefix("gen_ai."): _value(attribute.get("value"))
            for attribute in map(fields, items(span.get("attributes")))
            if (name := word(attribute.get("key"))).startswith(("gen_ai.", "error.", "http.response."))
        }
        identity, operation = word(span.get("spanId")), word(said.get("operation.name"))
        self._above[identity] = word(span.get("parentSpanId"))
        if operation not in _COMPLETIONS and operation != "invoke_agent":
            return
        start, end = _nanoseconds(span.get("startTimeUnixNano")), _nanoseconds(span.get("endTimeUnixNano"))
        failed = fields(span.get("status")).get("code") in (2, "STATUS_CODE_ERROR")
        self._spans[identity] = _Span(
            identity, word(span.get("parentSpanId")), word(span.get("traceId")), operation, start, end, said, failed
        )

    def end(self) -> None:
        """Makes the turns, in the order of their sends."""
        agents: dict[str, Session] = {}
        told = True
        for span in sorted(self._spans.values(), key=lambda span: span.start):
            if span.operation in _COMPLETIONS:
                told = self._turn(self._session(span, agents), span) and told
        if not told:
            self._draft.notes += UNSAID

    def _agents(self, span: _Span) -> list[_Span]:
        """The agents that a span is in, the innermost first."""
        found: list[_Span] = []
        seen: set[str] = set()
        above = span.parent
        while above and above not in seen:
            seen.add(above)
            inner = self._spans.get(above)
            if inner and inner.operation == "invoke_agent":
                found.append(inner)
            above = self._above.get(above, "")
        return found

    def _session(self, span: _Span, agents: dict[str, Session]) -> Session:
        main = word(span.said.get("conversation.id")) or span.trace or "session"
        around = self._agents(span)
        if len(around) < 2:
            return self._draft.session(main)
        inner = around[0].id
        if inner not in agents:
            child = agents[inner] = self._draft.new_session(f"{main}/{inner[:16]}")
            outer = agents.get(around[1].id) or self._draft.sessions.get(main)
            before = [turn.number for turn in outer.turns if (turn.end_ns or 0) <= around[0].start] if outer else []
            if outer and before:
                child.parent = Parent(session=outer.name, turn=max(before))
        return agents[inner]

    def _turn(self, session: Session, span: _Span) -> bool:
        """Returns whether its messages are told."""
        said = span.said
        prompt = [*_instructions(said.get("system_instructions")), *_messages(said.get("input.messages"))]
        reply = next(iter(_messages(said.get("output.messages"))), None)
        usage = Usage(
            *(
                count_of(said.get(f"usage.{key}"))
                for key in ("input_tokens", "cache_read.input_tokens", "output_tokens")
            )
        )
        session.offer(_json(said.get("tool.definitions")))
        if prompt:
            session.prompt.clear()
            for message in prompt:
                session.say(message)
        else:
            self._grown(session, usage)
        reasons = items(said.get("response.finish_reasons"))
        status = said.get("http.response.status_code")
        session.turn(
            reply if reply and not span.failed else None if span.failed else assistant(f"{session.name} {span.id}"),
            usage,
            Times(span.start, None, span.end),
            finish=reasons[0] if reasons else None,
            model=said.get("response.model") or said.get("request.model"),
            streamed=said.get("request.stream") if isinstance(said.get("request.stream"), bool) else None,
            status=status,
            error=kind_of(status) if span.failed else None,
        )
        return bool(prompt)

    def _grown(self, session: Session, usage: Usage) -> None:
        """A prompt of which only the length is known."""
        before = session.turns[-1].prompt_tokens if session.turns else None
        if before is not None and usage.prompt is not None and usage.prompt < before:
            session.prompt.clear()
        key = [session.name, len(session.turns)]
        session.say({"role": "user", "content": "", "name": self._draft.keys.of(key)})


def _nanoseconds(value: Any) -> int:
    try:
        return min(max(0, int(value)), 1 << 61)
    except (TypeError, ValueError):
        return 0


def _value(told: Any) -> Any:
    """An attribute's value, of OTLP's seven kinds."""
    told = fields(told)
    if "intValue" in told:
        return _nanoseconds(told["intValue"])
    if "arrayValue" in told:
        return [_value(each) for each in items(fields(told["arrayValue"]).get("values"))]
    if "kvlistValue" in told:
        pairs = map(fields, items(fields(told["kvlistValue"]).get("values")))
        return {word(pair.get("key")): _value(pair.get("value")) for pair in pairs}
    return next((told[kind] for kind in ("stringValue", "boolValue", "doubleValue") if kind in told), None)


def _json(value: Any) -> Any:
    """The value of an attribute, which may be JSON in a text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _instructions(value: Any) -> Iterator[Message]:
    if text := texts(_json(value)):
        yield {"role": "system", "content": text}


def _messages(value: Any) -> Iterator[Message]:
    """Messages in parts, as those of chat completions."""
    for message in map(fields, items(_json(value))):
        parts = [fields(part) for part in items(message.get("parts"))]
        text = "".join(texts(part) for part in parts if part.get("type") == "text")
        answers = [part for part in parts if part.get("type") == "tool_call_response"]
        for part in answers:
            given = part.get("response", part.get("result"))
            content = given if isinstance(given, str) else json.dumps(given)
            yield {"role": "tool", "tool_call_id": str(part.get("id")), "content": content}
        calls = [
            called(part.get("id"), part.get("name"), part.get("arguments"))
            for part in parts
            if part.get("type") == "tool_call"
        ]
        if message.get("role") == "assistant":
            yield assistant(text, calls)
        elif text or not answers:
            yield {"role": "system" if message.get("role") == "system" else "user", "content": text}
