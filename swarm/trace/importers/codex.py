"""The logs of Codex under `~/.codex/sessions`: a rollout for each session, lines of `timestamp`, `type` and `payload`.

`response_item` lines are the history in the form of the Responses API; `token_count` events tell the usage of each
reply when it has ended; `compacted` puts another history in the place of the old one; a sub-agent's `session_meta`
names the thread that spawned it. Described by openai/codex, codex-rs/protocol/src/protocol.rs (`RolloutItem`).
"""

import json
import re
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
    result,
    texts,
    word,
)

NOTES = (
    "it says when items were written down: a request is taken to be sent when its last item was there, and its first "
    "token is unknown",
)
_CALLS = {"function_call": "arguments", "custom_tool_call": "input", "local_shell_call": "action"}
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})
_WAITS = frozenset({"wait", "wait_agent"})
"""Calls that give the results of sub-agents."""
_THREAD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FAILURES = frozenset({"error", "stream_error"})


@dataclass
class _Reply:
    """Items of one reply so far."""

    text: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    end_ns: int | None = None


@dataclass
class _Thread:
    session: Session
    open: _Reply | None = None
    last_ns: int | None = None
    model: Any = None
    counted: Any = None
    """The whole usage as it was told last: a repeated count is that of no new reply."""
    names: dict[str, str] = field(default_factory=dict)
    """Call -> the tool's name."""
    compacted: bool = False


class Codex:
    """Reads the lines of all files of an import, a file after the other."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        draft.dated = True
        draft.notes += NOTES
        self._thread: _Thread | None = None
        self._spawned: list[tuple[Session, str]] = []
        """Sub-agents, and the threads that spawned them."""
        self._ended: dict[str, list[tuple[int, int]]] = {}
        """Session -> when its turns with calls ended, and their numbers."""
        self._named: dict[tuple[str, str], int] = {}
        """Session and a thread that a call's output of it names -> the turn that made the call."""

    def add(self, line: Any) -> None:
        line = fields(line)
        payload, time = fields(line.get("payload")), iso_ns(line.get("timestamp"))
        kind = line.get("type")
        if kind == "session_meta":
            self._begin(payload)
        thread = self._thread
        if thread is None:
            if kind not in ("response_item", "turn_context", "event_msg"):
                return
            thread = self._thread = _Thread(self._draft.new_session("codex"))
        match kind:
            case "turn_context":
                thread.model = payload.get("model") or thread.model
            case "response_item":
                self._item(thread, payload, time)
            case "compacted":
                self._compacted(thread, payload, time)
            case "event_msg":
                self._event(thread, payload, time)

    def end_file(self) -> None:
        """A rollout is over."""
        if self._thread:
            self._close(self._thread)
        self._thread = None

    def end(self) -> None:
        self.end_file()
        for session, spawner in self._spawned:
            began = session.turns[0].t_ns if session.turns else None
            named = self._named.get((spawner, session.name))
            before = [turn for end, turn in self._ended.get(spawner, ()) if began is None or end <= began]
            if named or before:
                session.parent = Parent(session=spawner, turn=named or max(before))
            else:
                self._draft.left_out[
                    "sub-agents are sessions of their own, as the calls that started them are missing"
                ] += 1

    def _begin(self, meta: dict[str, Any]) -> None:
        if self._thread and self._thread.session.prompt:
            return  # a fork repeats the head of the thread that it began as
        thread = self._thread = _Thread(self._draft.new_session(word(meta.get("id")) or "codex"))
        source = fields(meta.get("source"))
        spawn = fields(fields(source.get("subagent")).get("thread_spawn"))
        if spawner := word(spawn.get("parent_thread_id")) or word(meta.get("parent_thread_id")):
            self._spawned.append((thread.session, spawner))
        told = texts(meta.get("base_instructions")) or word(meta.get("instructions"))
        group = f"codex {meta.get('cli_version')} {self._draft.keys.of(told)}"
        thread.session.prompt.append(self._draft.unseen(group))

    def _item(self, thread: _Thread, item: dict[str, Any], time: int | None) -> None:
        kind = word(item.get("type"))
        if kind in _OUTPUTS:
            self._output(thread, item, time)
        elif kind == "message" and item.get("role") != "assistant":
            self._close(thread)
            role = "user" if item.get("role") == "user" else "developer"
            thread.session.say({"role": role, "content": texts(item.get("content"))})
            thread.last_ns = time or thread.last_ns
        elif kind in ("message", "reasoning") or kind in _CALLS:
            reply = thread.open = thread.open or _Reply()
            reply.end_ns = time or reply.end_ns
            if kind == "message":
                reply.text += texts(item.get("content"))
            elif kind == "reasoning":
                reply.reasoning += texts(item.get("content")) or texts(item.get("summary"))
            else:
                call = called(item.get("call_id"), item.get("name") or kind, item.get(_CALLS[kind]))
                thread.names[call["id"]] = call["function"]["name"]
                reply.calls.append(call)

    def _output(self, thread: _Thread, item: dict[str, Any], time: int | None) -> None:
        self._close(thread)
        identity = str(item.get("call_id"))
        output = item.get("output")
        said = result(identity, output if isinstance(output, str | list) else json.dumps(output))
        threads = _THREAD.findall(said["content"])
        name, number = thread.names.get(identity), len(thread.session.turns)
        for other in threads:
            self._named.setdefault((thread.session.name, other), number)
        thread.session.say(said, threads if name in _WAITS else ())
        thread.last_ns = time or thread.last_ns

    def _event(self, thread: _Thread, event: dict[str, Any], time: int | None) -> None:
        kind = word(event.get("type"))
        if kind == "token_count":
            info = fields(event.get("info"))
            total = info.get("total_token_usage")
            if total and total == thread.counted:
                return
            thread.counted = total
            if thread.open:
                thread.open.end_ns = time or thread.open.end_ns
                self._close(thread, fields(info.get("last_token_usage")))
        elif kind in _FAILURES:
            self._close(thread)
            times = Times(thread.last_ns, None, time)
            thread.session.turn(
                None, times=times, model=thread.model, error="cut" if kind == "stream_error" else "in_band"
            )
            thread.last_ns = time or thread.last_ns

    def _close(self, thread: _Thread, usage: dict[str, Any] | None = None) -> None:
        reply, thread.open = thread.open, None
        if reply is None:
            return
        counted = usage or {}
        session = thread.session
        session.turn(
            assistant(reply.text, reply.calls),
            Usage(*(count_of(counted.get(key)) for key in ("input_tokens", "cached_input_tokens", "output_tokens"))),
            Times(thread.last_ns, None, reply.end_ns),
            reasoning=reply.reasoning,
            model=thread.model,
        )
        if reply.calls and reply.end_ns is not None:
            self._ended.setdefault(session.name, []).append((reply.end_ns, len(session.turns)))
        thread.last_ns = reply.end_ns or thread.last_ns

    def _compacted(self, thread: _Thread, payload: dict[str, Any], time: int | None) -> None:
        """The request for the summary is not in the log."""
        self._close(thread)
        del thread.session.prompt[1:]
        said = [message for item in items(payload.get("replacement_history")) if (message := _message(fields(item)))]
        for message in said or [{"role": "user", "content": word(payload.get("message"))}]:
            thread.session.say(message)
        thread.last_ns = time or thread.last_ns
        self._draft.left_out["compactions: the history is replaced, and the request for the summary is not told"] += 1


def _message(item: dict[str, Any]) -> Message | None:
    """An item of a history that was put in another's place; what is encrypted is as long as it stands there."""
    if item.get("type") == "compaction":
        return {"role": "user", "content": word(item.get("encrypted_content"))}
    if "role" not in item:
        return None
    role = word(item["role"]) if item["role"] in ("user", "assistant") else "developer"
    return {"role": role, "content": texts(item.get("content"))}
