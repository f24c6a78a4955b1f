"""Conversations without times or with delays alone: MLPerf's agentic trajectories, and ShareGPT.

MLPerf's has a line for each message (`conversation_id`, `turn`, `role`, `content`, `tool_calls`, `tool_results`,
`tools`, `system`, and `delay_seconds` before what the line brings is sent): mlcommons/endpoints,
examples/10_Agentic_Inference. ShareGPT's has a document for each conversation, whose `conversations` say who (`from`)
said what (`value`).
"""

from collections.abc import Iterator
from typing import Any

from swarm.trace.importers.draft import NO_COUNTS, Draft, Session, Times
from swarm.trace.importers.values import Message, fields, items, result, scaled_ns, texts, word
from swarm.trace.read_messages import plain_messages

NO_TIMES = "it has no times: how long tools and thinking took is unknown, and replayed as none"
DELAYS = "it does not say when replies ended: they take no time in it, and a delay is what came after one"
_SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant"}


def is_mlperf(document: dict[str, Any]) -> bool:
    return "conversation_id" in document and "turn" in document and "role" in document


def is_sharegpt(document: dict[str, Any]) -> bool:
    said = items(document.get("conversations"))
    return bool(said) and "from" in fields(said[0]) and "value" in fields(said[0])


class MLPerf:
    """Reads lines; those of a conversation stand together."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        draft.notes += (DELAYS, NO_COUNTS)
        self._session: Session | None = None
        self._name = ""
        self._lines: list[dict[str, Any]] = []

    def add(self, line: Any) -> None:
        """Raises ValueError for a message that is none, of the conversation before too."""
        line = fields(line)
        name = str(line.get("conversation_id"))
        if self._session is None or name != self._name:
            self.end()
            self._session, self._name = self._draft.new_session(name), name
        self._lines.append(line)

    def end(self) -> None:
        """Raises ValueError."""
        lines, self._lines = self._lines, []
        if self._session and lines:
            self._converse(self._session, lines)

    def _converse(self, session: Session, lines: list[dict[str, Any]]) -> None:
        if system := next((word(line.get("system")) for line in lines if line.get("system")), ""):
            session.say({"role": "system", "content": system})
        now = 0
        raw = [message for line in lines for message in _messages(line)]
        plain = plain_messages(raw, self._draft.left_out)
        for line in lines:
            now += scaled_ns(line.get("delay_seconds"), 1e9) or 0
            session.offer(line.get("tools"))
            for _ in _messages(line):
                message = next(plain)
                if message["role"] == "assistant" and session.prompt:
                    session.turn(message, times=Times(now), reasoning=word(line.get("reasoning_content")))
                else:
                    session.say(message)


def _messages(line: dict[str, Any]) -> Iterator[Message]:
    results = items(line.get("tool_results"))
    for each in map(fields, results):
        yield result(each.get("tool_call_id"), each.get("content"))
    if not results:
        calls = {"tool_calls": line["tool_calls"]} if line.get("tool_calls") else {}
        yield {"role": line.get("role"), "content": texts(line.get("content"))} | calls


def add_sharegpt(draft: Draft, name: str, document: dict[str, Any]) -> None:
    """One conversation."""
    draft.notes += (note for note in (NO_TIMES, NO_COUNTS) if note not in draft.notes)
    session = draft.new_session(word(document.get("id")) or name)
    for said in map(fields, items(document.get("conversations"))):
        speaker = word(said.get("from"))
        role = _SPEAKERS.get(speaker, speaker)
        message = {
            "role": role if role in ("system", "user", "assistant") else "user",
            "content": texts(said.get("value")),
        }
        if message["role"] == "assistant" and session.prompt:
            session.turn(message)
        else:
            session.say(message)
