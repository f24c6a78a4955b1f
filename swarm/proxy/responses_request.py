"""Requests in the words of OpenAI's Responses API, read as chat completions: the trace knows one form.

After https://platform.openai.com/docs/api-reference/responses/create. A prompt there is a list of items: a model's
reasoning, text and calls are items of their own and become one message, as chat templates show them. What a server does
for itself (a search of the web, say) has no place in a chat; it is left out of prompts and replies alike.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from swarm.client import loose_json
from swarm.client.base import ToolCall
from swarm.proxy.exchange import BOUNDS, UnreadableError


@dataclass(frozen=True)
class Prompt:
    """A request in the form of a chat completion."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    model: str
    passing: int = 0
    """So many of the first messages hold for this response, and not for those that go on from it."""
    stored: bool = False
    """The server is to keep the response, so that a later request may go on from it."""


class _Request(msgspec.Struct):
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    model: str = ""
    tools: list[dict[str, Any]] | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None


@dataclass(frozen=True)
class _Response:
    messages: list[dict[str, Any]]
    items: tuple[str, ...]
    size: int


class Stored:
    """The responses that a server keeps, as far as they have gone by: what requests go on from by their ids."""

    def __init__(self, most_bytes: int = BOUNDS.stored) -> None:
        self._most_bytes = most_bytes
        self._responses: OrderedDict[str, _Response] = OrderedDict()
        self._items: dict[str, dict[str, Any]] = {}
        self._size = 0

    def prompt(self, request: bytes) -> Prompt:
        """Raises msgspec.DecodeError for what is no request, and UnreadableError."""
        asked = loose_json.decode(request, _Request)
        if asked.conversation is not None or asked.prompt is not None:
            raise UnreadableError("conversations and prompts with ids are the server's own")
        instructions = [{"role": "system", "content": asked.instructions}] if asked.instructions else []
        items = [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else asked.input
        return Prompt(
            [*instructions, *self._before(asked.previous_response_id), *_messages(self._whole(items))],
            [function for tool in asked.tools or () for function in _functions(tool)],
            asked.model,
            passing=len(instructions),
            stored=asked.store is not False,
        )

    def keep(
        self, name: str, items: Sequence[dict[str, Any]], prompt: Prompt, reply: dict[str, Any], size: int
    ) -> None:
        """A response, and the items that it is made of; `size` bytes went by for it."""
        if not prompt.stored or name in self._responses:
            return
        named = {item["id"]: item for item in items if isinstance(item.get("id"), str)}
        messages = [*prompt.messages[prompt.passing :], reply]
        self._responses[name] = _Response(messages, tuple(named), size)
        self._items |= named
        self._size += size
        while self._size > self._most_bytes:
            _, oldest = self._responses.popitem(last=False)
            self._size -= oldest.size
            for item in oldest.items:
                self._items.pop(item, None)

    def _before(self, name: str | None) -> list[dict[str, Any]]:
        if name is None:
            return []
        try:
            return self._responses[name].messages
        except KeyError:
            raise UnreadableError("the response before has not gone by here") from None

    def _whole(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items, in the place of those that are named by their ids too."""
        try:
            return [self._items[item["id"]] if _is_named(item) else item for item in items]
        except (KeyError, TypeError):
            raise UnreadableError("an item that is named has not gone by here") from None


def _is_named(item: dict[str, Any]) -> bool:
    return item.get("type") == "item_reference" or item.get("type") is item.get("role") is None


def _messages(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for message in filter(None, map(_message, items)):
        if messages and messages[-1]["role"] == message["role"] == "assistant":
            messages[-1] = _joined(messages[-1], message)
        else:
            messages.append(message)
    return messages


def _message(item: dict[str, Any]) -> dict[str, Any] | None:
    kind = str(item.get("type") or "message")
    if kind == "message":
        role, content = str(item.get("role")), item.get("content")
        return {"role": role, "content": text(content) or None if role == "assistant" else _content(content)}
    if kind == "reasoning":
        said = text(item.get("content")) or text(item.get("summary"))
        return {"role": "assistant", "content": None, "reasoning_content": said} if said else None
    if kind.endswith("_output"):
        answers = item.get("call_id") or item.get("id")
        return {"role": "tool", "tool_call_id": str(answers), "content": _output(item.get("output"))}
    if made := call(item):
        function = {"name": made.name, "arguments": made.arguments}
        calls = [{"id": made.id, "type": "function", "function": function}]
        return {"role": "assistant", "content": None, "tool_calls": calls}
    return None


def _joined(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Two messages of the assistant's as the one that they are parts of."""
    joined = before | after
    for name in ("content", "reasoning_content", "tool_calls"):
        if before.get(name) and after.get(name):
            joined[name] = before[name] + after[name]
        elif before.get(name):
            joined[name] = before[name]
    return joined


def call(item: dict[str, Any]) -> ToolCall | None:
    """The call that an item is; None: it is none that the client answers. The API's own tools go by their types."""
    kind, call_id = str(item.get("type")), item.get("call_id")
    if not kind.endswith("_call") or not isinstance(call_id, str):
        return None
    name = _in_namespace(item.get("namespace"), str(item.get("name") or kind.removesuffix("_call")))
    if kind == "custom_tool_call":
        return ToolCall(call_id, name, as_arguments(str(item.get("input") or "")))
    arguments = next((item[field] for field in ("arguments", "action", "operation") if item.get(field)), "")
    return ToolCall(call_id, name, arguments if isinstance(arguments, str) else _json(arguments))


def as_arguments(given: str) -> str:
    """Arguments of a custom tool, whose input is no JSON: `input` holds it, as vLLM shows it to its models."""
    return _json({"input": given})


def _json(value: Any) -> str:
    return loose_json.dumps(value)


def _in_namespace(namespace: Any, name: str) -> str:
    return f"{namespace}__{name}" if namespace else name


def text(content: Any) -> str:
    """The text in the content of a message, of reasoning or of a summary of it."""
    if isinstance(content, list):
        return "".join(_text_of(part) or "" for part in content)
    return content if isinstance(content, str) else ""


def _text_of(part: Any) -> str | None:
    found = (part.get("text") or part.get("refusal")) if isinstance(part, dict) else None
    return found if isinstance(found, str) else None


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    parts = [_part(part) for part in content]
    return parts[0]["text"] if len(parts) == 1 and "text" in parts[0] else parts


def _part(part: Any) -> dict[str, Any]:
    if (said := _text_of(part)) is not None or not isinstance(part, dict):
        return {"type": "text", "text": said or ""}
    if part.get("type") == "input_image" and part.get("image_url"):
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    if part.get("type") in ("input_image", "input_file"):
        return {"type": "file", "file": {name: value for name, value in part.items() if name != "type"}}
    return part


def _output(output: Any) -> Any:
    """A tool's output: a text, parts of a message, or else JSON."""
    if isinstance(output, list) and all(isinstance(part, dict) and "type" in part for part in output):
        return _content(output)
    return output if isinstance(output, str) else _json(output)


_ONE_TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def _functions(tool: dict[str, Any], namespace: Any = None) -> Iterable[dict[str, Any]]:
    """A tool as functions: one that has no schema, as it is the API's own, goes by its type."""
    kind, name = str(tool.get("type")), str(tool.get("name") or tool.get("type"))
    if kind == "namespace" and isinstance(inner := tool.get("tools"), list):
        for each in inner:
            if isinstance(each, dict):
                yield from _functions(each, tool.get("name"))
        return
    function = {"name": _in_namespace(namespace, name)} | ({"parameters": _ONE_TEXT} if kind == "custom" else {})
    function |= {field: tool[field] for field in ("description", "parameters", "strict") if tool.get(field) is not None}
    yield {"type": "function", "function": function}
