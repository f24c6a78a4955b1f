"""The logs of Claude Code under `~/.claude/projects`: JSON lines, a file for each session, others for its sub-agents.

A reply has a line for each of its blocks, all with the same `message.id` and the usage of the whole; results of tools
are lines of the user. Sub-agents (`isSidechain`) are in the same file (older versions, found by the text of their
task), or in files of their own (`agentId`, which the `toolUseResult` of the call names). Fields that differ between
versions are read where they are there. Described by the public parsers of this format, such as ryoppippi/ccusage
(usage, and which lines are copies) and in 23min/copilot-lens, docs/research/claude-code-sessions.md (sub-agents).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from swarm.trace.format import Parent
from swarm.trace.importers.draft import Draft, Session, Times, Usage
from swarm.trace.importers.values import (
    Message,
    assistant,
    called,
    count_of,
    fields,
    iso_ns,
    items,
    kind_of,
    result,
    scaled_ns,
    texts,
    word,
)

NOTES = (
    "it says when messages were written down: a request is taken to be sent when its last message was there, and its "
    "first token is unknown",
    "calls for titles and summaries of the screen are not in the log",
)
_TASK = re.compile(r"<task-id>([A-Za-z0-9_-]{1,64})</task-id>")
_SYNTHETIC = "<synthetic>"
_LEAST_SHARE = 4
"""Tokens that a text has by its bytes, per counted one, from which on the count is that of a reply's beginning."""


@dataclass
class _Reply:
    """Lines of one message of the model so far."""

    id: str
    sent_ns: int | None
    own: bool
    """Whether it is no copy of an earlier session's."""
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    written: int = 0
    stop: Any = None
    model: Any = None
    end_ns: int | None = None


@dataclass
class _Talk:
    """A conversation as far as it has been read."""

    session: Session
    nameless: bool = False
    """Whether it is a sub-agent's that has no name of its own."""
    open: _Reply | None = None
    waiting: list[tuple[Message, list[str], int | None, str]] = field(default_factory=list)
    """Messages that came while the reply was still being written down: what, results of whom, when, and its line."""
    places: dict[str, int] = field(default_factory=dict)
    """Line -> messages of the history up to it."""
    last_ns: int | None = None
    """When the newest message of the history was there, or the last failure was over."""
    failed: bool = False
    """Whether a failure was told since."""
    boundary: dict[str, Any] | None = None
    """The metadata of a compaction whose summary is still to come."""


class ClaudeCode:
    """Reads the lines of all files of an import, one after the other."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        draft.dated = True
        draft.notes += NOTES
        self._talks: dict[str, _Talk] = {}
        self._roots: dict[str, str] = {}
        """Line of a sidechain -> the line that it began with."""
        self._seen: dict[str, str] = {}
        """Message of the model, failure or summary -> its conversation: a resumed session begins with a copy."""
        self._tasks: dict[str, tuple[Session, int, str]] = {}
        """Key of a task's text -> the session and turn that called for it, and the call."""
        self._calls: dict[str, tuple[Session, int]] = {}
        self._agents: dict[str, str] = {}
        """Sub-agent -> the call that started it."""
        self._nameless: dict[str, str] = {}
        """Call -> the session of the sub-agent that it started, where only the task's text tells so."""

    def add(self, line: Any) -> None:
        """One line of a file."""
        line = fields(line)
        kind = line.get("type")
        if kind not in ("user", "assistant", "system", "attachment"):
            return
        talk = self._talk(line)
        time = iso_ns(line.get("timestamp"))
        if kind == "assistant":
            self._model_said(talk, line, fields(line.get("message")), time)
        elif kind == "user":
            self._user_said(talk, line, fields(line.get("message")), time)
        elif kind == "attachment":
            if text := word(fields(line.get("attachment")).get("prompt")):  # what was typed, or came, meanwhile
                self._heard(talk, {"role": "user", "content": text}, self._told(talk, text), time, line)
        elif line.get("subtype") == "compact_boundary":
            self._close(talk)
            talk.boundary = fields(line.get("compactMetadata")) | {"at": time}
        elif line.get("subtype") == "api_error" and self._is_own(talk, f"failure {time}"):
            self._failed(talk, line, time)

    def end(self) -> None:
        """After the last line: what is open is closed, and sub-agents get their parents."""
        for talk in self._talks.values():
            self._close(talk)
        for name, talk in self._talks.items():
            agent = name.partition("/")[2]
            started = self._calls.get(self._agents.get(agent, ""))
            if agent and started:
                talk.session.parent = Parent(session=started[0].name, turn=started[1])
            elif agent and talk.session.parent is None:
                self._draft.left_out["sub-agents are sessions of their own, as no call of the log names them"] += 1

    def _talk(self, line: dict[str, Any]) -> _Talk:
        name = word(line.get("sessionId")).replace("/", "_") or "session"
        agent = word(line.get("agentId"))
        if agent:
            name = f"{name}/{agent}"
        elif line.get("isSidechain") is True:
            uuid, before = word(line.get("uuid")), word(line.get("parentUuid"))
            self._roots[uuid] = self._roots.get(before, uuid)
            name = f"{name}/{self._roots[uuid][:8]}"
        if name not in self._talks:
            talk = self._talks[name] = _Talk(self._draft.session(name), nameless="/" in name and not agent)
            group = f"{line.get('version')} {'sub-agent' if '/' in name else 'session'}"
            talk.session.prompt.append(self._draft.unseen(group))
        return self._talks[name]

    def _user_said(self, talk: _Talk, line: dict[str, Any], message: dict[str, Any], time: int | None) -> None:
        content = message.get("content")
        if line.get("isCompactSummary") is True:
            self._compacted(talk, texts(content), time)
            return
        if line.get("isVisibleInTranscriptOnly") is True:
            return
        blocks = [fields(block) for block in items(content)]
        answers = [block for block in blocks if block.get("type") == "tool_result"]
        for block in answers:
            call = word(block.get("tool_use_id"))
            told = self._answered(talk, fields(line.get("toolUseResult")), call)
            self._heard(talk, result(call, block.get("content")), told, time, line)
        rest = [block for block in blocks if block.get("type") != "tool_result"]
        if text := texts(rest or (content if isinstance(content, str) else "")):
            said = {"role": "user", "content": text}
            self._bind_by_text(talk, text)
            if not answers:
                self._rewind(talk, word(line.get("parentUuid")))
            self._heard(talk, said, self._told(talk, text), time, line)

    def _answered(self, talk: _Talk, told: dict[str, Any], call: str) -> list[str]:
        """Sub-agents whose results a call's result holds; one that was sent to the background has none yet."""
        agent = word(told.get("agentId"))
        if agent:
            self._agents.setdefault(agent, call)
            launched = told.get("isAsync") is True or told.get("status") == "async_launched"
            return [] if launched else self._names(talk, [agent])
        if call in self._nameless:
            return [self._nameless[call]]
        task = fields(told.get("task"))
        return self._names(talk, [word(task.get("task_id"))]) if task.get("status") == "completed" else []

    def _told(self, talk: _Talk, text: str) -> list[str]:
        """Sub-agents of whose end a message tells."""
        return self._names(talk, _TASK.findall(text)) if "<task-id>" in text else []

    def _names(self, talk: _Talk, agents: Iterable[str]) -> list[str]:
        session = talk.session.name.partition("/")[0]
        return [f"{session}/{agent}" for agent in agents if agent]

    def _bind_by_text(self, talk: _Talk, text: str) -> None:
        """A sub-agent without a name is the one whose task is what it was told first."""
        first = talk.nameless and not talk.session.turns and len(talk.session.prompt) == 1
        if first and (found := self._tasks.get(self._draft.keys.of(text))):
            session, turn, call = found
            talk.session.parent = Parent(session=session.name, turn=turn)
            self._nameless[call] = talk.session.name

    def _heard(self, talk: _Talk, message: Message, told: list[str], time: int | None, line: dict[str, Any]) -> None:
        talk.waiting.append((message, told, time, word(line.get("uuid"))))
        if talk.open is None:
            self._take_waiting(talk)

    def _take_waiting(self, talk: _Talk) -> None:
        for message, told, time, uuid in talk.waiting:
            talk.session.say(message, told)
            talk.places[uuid] = len(talk.session.prompt)
            talk.last_ns, talk.failed = time or talk.last_ns, False
        talk.waiting.clear()

    def _rewind(self, talk: _Talk, before: str) -> None:
        """A message that follows an earlier one than the newest: the person went back, and what came after is gone."""
        self._close(talk)
        place = talk.places.get(before)
        after = talk.session.prompt[place:] if place else []
        if any(message.role == "assistant" for message in after):
            del talk.session.prompt[place:]
            self._draft.left_out["times a person went back to an earlier message"] += 1

    def _model_said(self, talk: _Talk, line: dict[str, Any], message: dict[str, Any], time: int | None) -> None:
        if line.get("isApiErrorMessage") is True or message.get("model") == _SYNTHETIC:
            if line.get("isApiErrorMessage") is True and self._is_own(talk, f"failure {time}"):
                self._failed(talk, line, time)
            return
        identity = word(message.get("id")) or word(line.get("requestId")) or word(line.get("uuid"))
        if talk.open is None or talk.open.id != identity:
            self._close(talk)
            talk.open = _Reply(identity, talk.last_ns, own=self._is_own(talk, identity), model=message.get("model"))
        reply = talk.open
        for block in map(fields, items(message.get("content"))):
            match block.get("type"):
                case "text":
                    reply.text.append(word(block.get("text")))
                case "thinking":
                    reply.reasoning.append(word(block.get("thinking")))
                case "tool_use":
                    reply.calls.append(called(block.get("id"), block.get("name"), block.get("input")))
                    self._remember(talk, block)
        if isinstance(message.get("content"), str):
            reply.text.append(message["content"])
        usage = fields(message.get("usage"))
        reply.usage = usage or reply.usage
        reply.written = max(reply.written, count_of(usage.get("output_tokens")) or 0)
        reply.stop, reply.end_ns = message.get("stop_reason") or reply.stop, time or reply.end_ns
        talk.places[word(line.get("uuid"))] = len(talk.session.prompt) + 1

    def _remember(self, talk: _Talk, block: dict[str, Any]) -> None:
        """A call that may start a sub-agent, and by which turn: the one that is being read."""
        call, turn = word(block.get("id")), len(talk.session.turns) + 1
        self._calls[call] = talk.session, turn
        if task := word(fields(block.get("input")).get("prompt")):
            self._tasks[self._draft.keys.of(task)] = talk.session, turn, call

    def _close(self, talk: _Talk) -> None:
        """The reply that was being read is whole."""
        reply, talk.open = talk.open, None
        if reply:
            message = assistant("".join(reply.text), reply.calls)
            if reply.own:
                self._turn(talk, reply, message)
            else:
                talk.session.say(message)
                self._draft.left_out["replies are copies of those of an earlier session"] += 1
            talk.last_ns = reply.end_ns or talk.last_ns
        self._take_waiting(talk)

    def _is_own(self, talk: _Talk, what: str) -> bool:
        """Whether it was in no other session before."""
        return self._seen.setdefault(what, talk.session.name) == talk.session.name

    def _turn(self, talk: _Talk, reply: _Reply, message: Message) -> None:
        usage, reasoning = reply.usage, "".join(reply.reasoning)
        parts = [
            count_of(usage.get(key))
            for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        ]
        written: int | None = reply.written
        size = len(texts(message["content"])) + sum(len(call["function"]["arguments"]) for call in reply.calls)
        if not written or size / 4 > _LEAST_SHARE * written + 16:
            written = None
            self._draft.left_out["replies whose count of tokens is that of their beginning; their length is used"] += 1
        prompt = None if parts[0] is None else sum(part or 0 for part in parts)
        talk.session.turn(
            message,
            Usage(prompt, parts[2] if prompt else None, written),
            Times(_earlier(reply.sent_ns, reply.end_ns), None, reply.end_ns),
            reasoning=reasoning,
            finish=reply.stop,
            model=reply.model,
        )

    def _failed(self, talk: _Talk, line: dict[str, Any], time: int | None) -> None:
        """A request that the API refused, or that broke off; the next attempt waits for `retryInMs`."""
        self._close(talk)
        final = line.get("isApiErrorMessage") is True
        if not (final and talk.failed):  # the message of a failure whose attempts were told
            status = fields(line.get("error")).get("status")
            times = Times(_earlier(talk.last_ns, time), None, time)
            talk.session.turn(None, times=times, status=status, error=kind_of(status))
        talk.last_ns = (time or 0) + (scaled_ns(line.get("retryInMs"), 1e6) or 0) if time else talk.last_ns
        talk.failed = True

    def _compacted(self, talk: _Talk, summary: str, time: int | None) -> None:
        """The summary takes the history's place; the request for it is not in the log, but its size may be."""
        self._close(talk)
        told, talk.boundary = talk.boundary or {}, None
        end, before = told.get("at") or time, count_of(told.get("preTokens"))
        if before and talk.session.turns and self._is_own(talk, f"summary {end}"):
            began = end - (scaled_ns(told.get("durationMs"), 1e6) or 0) if end else None
            talk.session.say({"role": "user", "content": ""})
            talk.session.turn(assistant(summary), Usage(before), Times(began, None, end))
            self._draft.left_out["requests for a summary are made from what the log says of them"] += 1
        del talk.session.prompt[1:]
        talk.session.say({"role": "user", "content": summary})
        talk.places.clear()
        talk.last_ns = time or talk.last_ns


def _earlier(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)
