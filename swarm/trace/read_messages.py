"""Conversations in OpenAI's form, a document for each, as public corpora of coding agents have them.

`messages` is a list, or the text of one in JSON; `trajectory` is the same under the name that SWE-agent and its
descendants use, whose messages may say `text` and role `ai`. `tools` may stand beside it. Each message of the assistant
is a turn, whose prompt is all that comes before it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from swarm.errors import UsageError
from swarm.trace.documents import Lost, documents
from swarm.trace.format import (
    Keys,
    Trace,
    TraceHeader,
    TraceMessage,
    TraceReply,
    TraceTools,
    TraceTurn,
    calls_of,
    message_of,
    tools_of,
)

CONVERSATION = ("messages", "trajectory")
_NAMES = ("traj_id", "instance_id", "id", "uuid", "session_id", "conversation_id")
_ROLES = {"ai": "assistant", "human": "user", "developer": "system", "function": "tool"}
_ALLOWED = frozenset({"system", "user", "assistant", "tool"})
_NOTES = (
    "it has no times: tools and thinking take none",
    "it has no token counts: how long prompts and replies are is what the target's tokenizer makes of the texts",
)


def read_messages(path: Path) -> Trace:
    """Raises UsageError with the number of a line that is no conversation; one that is damaged is left out."""
    keys, names, changed = Keys(), Counter[str](), Counter[str]()
    turns: list[TraceTurn] = []
    lost = Lost()
    for number, entry in documents(path, lost):
        try:
            turns += _session(entry, number, keys, names, changed)
        except RecursionError:
            raise UsageError(f"{path}:{number}: nested too deeply") from None
        except ValueError as error:
            raise UsageError(f"{path}:{number}: no conversation: {error}") from None
    changed["damaged lines are left out"] += lost.lines
    notes = _NOTES + tuple(f"{count} {what}" for what, count in changed.items() if count)
    return Trace(TraceHeader(source="messages", content=True, notes=notes), tuple(turns))


def _session(
    entry: Any, number: int, keys: Keys, names: "Counter[str]", changed: "Counter[str]"
) -> Iterator[TraceTurn]:
    """The turns of a line. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError("expected an object")
    messages = _listed(next((entry[key] for key in CONVERSATION if entry.get(key)), []), "messages")
    named = next((entry[key] for key in _NAMES if isinstance(entry.get(key), str | int)), None)
    session = f"conversation-{number}" if named is None else str(named)[:190]
    names[session] += 1
    if names[session] > 1:
        session = f"{session}#{names[session]}"
    tools = _tools(entry.get("tools"), keys)
    added: list[TraceMessage] = []
    before, turn = 0, 0
    for message in plain_messages(messages, changed):
        line = message_of(message, keys)
        if message["role"] == "assistant" and (before or added):
            turn += 1
            yield TraceTurn(
                session=session,
                number=turn,
                kept=before,
                added=tuple(added),
                tools=tools if turn == 1 else None,
                reply=TraceReply(key=line.key, bytes=line.bytes, calls=calls_of(message), content=message),
            )
            before, added = before + len(added), []
        added.append(line)


def _listed(value: Any, what: str) -> list[Any]:
    """A list, or the JSON text of one."""
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, list):
        raise ValueError(f"`{what}` is no list")
    return value


def _tools(given: Any, keys: Keys) -> TraceTools | None:
    schemas = [json.loads(tool) if isinstance(tool, str) else tool for tool in _listed(given or [], "tools")]
    known = [schema for schema in schemas if isinstance(schema, dict) and isinstance(schema.get("function"), dict)]
    return tools_of(known, keys) if known else None


def plain_messages(messages: Iterable[Any], changed: "Counter[str]") -> Iterator[dict[str, Any]]:
    """The messages with nothing but what OpenAI's API takes, calls and results bound together by ids.

    `changed` counts what was put right. Raises ValueError for what is no message.
    """
    open_ids: list[str] = []
    for at, raw in enumerate(messages):
        if not isinstance(raw, dict):
            raise ValueError(f"message {at + 1} is no object")
        role = _ROLES.get(str(raw.get("role")), str(raw.get("role")))
        if role not in _ALLOWED:
            raise ValueError(f"message {at + 1} has the role {role[:40]!r}")
        message: dict[str, Any] = {"role": role, "content": _text(raw, changed)}
        if role == "assistant":
            open_ids = []
            if calls := [_call(call, f"call_{at}_{index}", changed) for index, call in enumerate(_raw_calls(raw))]:
                message["tool_calls"] = calls
                open_ids = [call["id"] for call in calls]
        elif role == "tool":
            given = raw.get("tool_call_id") or next(iter(raw.get("tool_call_ids") or []), None)
            answered = given if given in open_ids else next(iter(open_ids), None)
            if answered is None:
                changed["tool results that answer no call are sent as messages of the user"] += 1
                message["role"] = "user"
            else:
                open_ids.remove(answered)
                message["tool_call_id"] = answered
        yield message


def _text(raw: dict[str, Any], changed: "Counter[str]") -> str:
    content = next((raw[key] for key in ("content", "text", "system_prompt") if raw.get(key)), "")
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        changed["parts of messages that are no text (images) are left out"] += len(content) - len(texts)
        return "".join(texts)
    return content if isinstance(content, str) else json.dumps(content)


def _raw_calls(raw: dict[str, Any]) -> list[dict[str, Any]]:
    calls = raw.get("tool_calls") or []
    functions = [call for call in calls if isinstance(call, dict) and isinstance(call.get("function"), dict)]
    if len(functions) != len(calls):
        raise ValueError("a tool call without `function`")
    return functions


def _call(call: dict[str, Any], spare_id: str, changed: "Counter[str]") -> dict[str, Any]:
    """vLLM parses the arguments in a history, and refuses a request where one is no JSON object."""
    function = call["function"]
    given = function.get("arguments")
    try:
        arguments = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        changed["calls have arguments that are no JSON object; they are sent with none"] += 1
        arguments, given = {}, "{}"
    text = given if isinstance(given, str) else json.dumps(arguments)
    identity = call.get("id")
    return {
        "id": identity if isinstance(identity, str) and 0 < len(identity) <= 256 else spare_id,
        "type": "function",
        "function": {"name": str(function.get("name") or "unnamed")[:64], "arguments": text},
    }
