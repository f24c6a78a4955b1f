"""OpenAI's chunks, in the form that nearly all servers send and, where that fails, in that of the others."""

import json
from typing import Annotated, Any

import msgspec

from swarm.client import loose_json

MOST_TOKENS = 1 << 27
"""Above any context there is: a count beyond it is none."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class Fragment(msgspec.Struct, gc=False):
    """A part of a tool call."""

    index: Count | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct, gc=False):
    """The new part in a chunk. All names from `reasoning` to `thinking_blocks` are servers' names of the same thing."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Fragment] | None = None
    reasoning_text: str | None = None
    thinking: str | None = None
    reasoning_details: Any = None
    thinking_blocks: Any = None
    refusal: str | None = None
    function_call: Function | None = None
    error: Any = None


class Choice(msgspec.Struct, gc=False):
    delta: Delta | None = None
    finish_reason: str | None = None
    error: Any = None


class PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class Usage(msgspec.Struct, gc=False):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: PromptDetails | None = None


class Chunk(msgspec.Struct, gc=False):
    """The fields read of an OpenAI chunk. One without choices may be an error instead (`failures.error_in`)."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None

    @property
    def usual(self) -> bool:
        """There are choices, and no error in any place."""
        if self.error or not self.choices:
            return False
        return not any(one.error or (one.delta is not None and one.delta.error) for one in self.choices)


decode = msgspec.json.Decoder(Chunk).decode
decode_all = msgspec.json.Decoder(list[Chunk]).decode


def converted(document: Any) -> tuple[Chunk, dict[str, str]]:
    """A chunk with lists of parts, objects or odd counts in the places of texts and numbers; and the counts that cannot
    be, which it has as null, as the server wrote them. Raises msgspec.DecodeError for what is no chunk all the same.
    """
    doubts: dict[str, str] = {}
    if isinstance(document, dict):
        for choice in _dicts(document.get("choices")):
            if isinstance(choice.get("delta"), dict):
                _plain(choice["delta"])
        document["usage"] = _counts(document.get("usage"), doubts)
    return loose_json.convert(document, Chunk), doubts


def said(value: Any, depth: int = 4) -> str:
    """The text of a text, of parts (`{"type": "text", "text": ...}`) or of OpenRouter's and Anthropic's reasoning."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth:
        return "".join(said(part, depth - 1) for part in value)
    if isinstance(value, dict) and depth:
        return next((found for key in _TEXTS if (found := said(value.get(key), depth - 1))), "")
    return ""


def reasoning(delta: Delta) -> str:
    """The reasoning under a name that is not the usual."""
    return delta.reasoning_text or delta.thinking or said(delta.reasoning_details) or said(delta.thinking_blocks)


_TEXTS = ("text", "thinking", "reasoning", "summary", "content", "data")
_REASONING = ("reasoning", "reasoning_content", "reasoning_text", "thinking")


def _plain(delta: dict[str, Any]) -> None:
    """Texts in the places of lists and objects."""
    parts = _dicts(delta.get("content"))
    thoughts = [part for part in parts if part.get("type") in _REASONING]
    if parts:
        delta["content"] = said([part for part in parts if part not in thoughts])
    if thoughts and not any(delta.get(name) for name in _REASONING):
        delta["reasoning"] = said(thoughts)
    for name in ("content", "refusal", *_REASONING):
        if not isinstance(delta.get(name), str | None):
            delta[name] = said(delta[name])
    calls = delta.get("tool_calls")
    delta["tool_calls"] = calls = [calls] if isinstance(calls, dict) else calls
    for call in _dicts(calls):
        index, made = call.get("index"), call.get("id")
        call["index"] = index if type(index) is int and 0 <= index <= MOST_TOKENS else None
        call["id"] = made if isinstance(made, str | None) else str(made)
        _plain_arguments(call.get("function"))
    _plain_arguments(delta.get("function_call"))


def _plain_arguments(function: Any) -> None:
    if isinstance(function, dict) and not isinstance(function.get("arguments"), str | None):
        function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)


def _counts(usage: Any, doubts: dict[str, str]) -> dict[str, Any] | None:
    if not isinstance(usage, dict):
        return None
    counted: dict[str, Any] = {name: _count(usage, name, doubts) for name in ("prompt_tokens", "completion_tokens")}
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict):
        counted["prompt_tokens_details"] = {"cached_tokens": _count(details, "cached_tokens", doubts)}
    return counted


def _count(counts: dict[str, Any], name: str, doubts: dict[str, str]) -> int | None:
    """12.0 is 12; what is no number of tokens is None and a doubt."""
    value = counts.get(name)
    if value is None or (type(value) is int and 0 <= value <= MOST_TOKENS):
        return value
    if isinstance(value, float) and value.is_integer() and 0 <= value <= MOST_TOKENS:
        return int(value)
    doubts[name] = repr(value)[:40]
    return None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
