"""Which tool the simulated model calls next, and with which arguments: what a coding agent would do, roughly.

It goes look round, read, search, edit, run the tests, as far as tools for it are offered (known by words in their
names), repairs while tests fail, and then answers. Arguments follow the tool's JSON schema; paths and lines of code are
taken from the conversation.
"""

import json
import math
import random
import re
from collections.abc import Iterator
from typing import Any

from swarm.simulator.tokens import content_text

_PLAN = ("list", "read", "search", "edit", "test")
_WORDS = {
    "test": ("test", "run", "exec", "bash", "shell", "command", "terminal"),
    "edit": ("edit", "replace", "patch", "update", "insert"),
    "write": ("write", "create"),
    "search": ("search", "grep", "find", "query"),
    "list": ("list", "ls", "glob", "tree", "dir"),
    "read": ("read", "view", "open", "cat", "show", "get"),
}
_FAILED = re.compile(r"\bFAILED\b|\bfailed\b|Traceback|AssertionError|\bError:")
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|toml|md|txt|js|ts|json|ya?ml|cfg|go|rs|java|c|h)\b")
_MAX_EDITS = 3
_MAX_ITEMS, _MAX_LENGTH, _MAX_VALUES = 64, 4096, 4096  # of what a schema demands
_MAX_DEPTH = 16
_NUMBER = (int, float)


def kind(name: str) -> str | None:
    """What sort of step a tool of that name is, by the words in it; None: no idea."""
    words = [word.lower() for word in re.findall(r"[A-Za-z][a-z]*", name)]
    for sort, known in _WORDS.items():
        if any(word in known or word.rstrip("s") in known for word in words):
            return sort
    return None


def choose_call(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], tool_choice: str | dict[str, Any], rng: random.Random
) -> tuple[str, str] | None:
    """Name and JSON arguments of the next call; None: it is time for the answer (never when a call is demanded)."""
    functions = [tool["function"] for tool in tools]
    if isinstance(tool_choice, dict):
        named = tool_choice["function"]["name"]
        function = next(f for f in functions if f["name"] == named)
    else:
        chosen = _next_function(messages, functions, rng)
        if chosen is None and tool_choice == "required":
            chosen = rng.choice(functions)
        if chosen is None:
            return None
        function = chosen
    schema = function.get("parameters") or {"type": "object"}
    value = _Arguments(messages, schema, rng).value(schema, function["name"])
    return function["name"], json.dumps(value if isinstance(value, dict) else {}, separators=(", ", ": "))


def _next_function(
    messages: list[dict[str, Any]], functions: list[dict[str, Any]], rng: random.Random
) -> dict[str, Any] | None:
    called = list(_called_since_user(messages))
    by_kind: dict[str | None, list[dict[str, Any]]] = {}
    for function in functions:
        by_kind.setdefault(kind(function["name"]), []).append(function)
    if "edit" not in by_kind and "write" in by_kind:  # who can edit does not write files anew
        by_kind["edit"] = by_kind["write"]
    called_kinds = ["edit" if kind(name) == "write" else kind(name) for name in called]
    for sort in _PLAN:
        if sort in by_kind and sort not in called_kinds:
            return rng.choice(by_kind[sort])
    for function in by_kind.get(None, []):
        if function["name"] not in called:
            return function
    if called_kinds[-1:] == ["test"] and "edit" in by_kind and _FAILED.search(_last_tool_text(messages)):
        return rng.choice(by_kind["edit"]) if called_kinds.count("edit") < _MAX_EDITS else None
    if called_kinds[-1:] == ["edit"] and "test" in by_kind:
        return rng.choice(by_kind["test"])
    return None


def _called_since_user(messages: list[dict[str, Any]]) -> Iterator[str]:
    last_user = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=-1)
    for message in messages[last_user + 1 :]:
        for call in message.get("tool_calls") or ():
            yield call["function"]["name"]


def _said(schema: dict[str, Any], key: str, kind: Any, default: Any) -> Any:
    """What a schema says under a key, if it is of the kind that belongs there."""
    value = schema.get(key)
    return value if isinstance(value, kind) and not isinstance(value, bool) else default


def _type(schema: dict[str, Any]) -> str:
    sort = schema.get("type")
    if isinstance(sort, list):
        sort = next((one for one in sort if one != "null"), "null")
    if isinstance(sort, str):
        return sort
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _last_tool_text(messages: list[dict[str, Any]]) -> str:
    return next((content_text(m.get("content")) for m in reversed(messages) if m["role"] == "tool"), "")


class _Arguments:
    """Values for a JSON schema, as far as one can be met by construction (`pattern` and `not`, for instance, cannot).

    Whatever a schema says in a form that JSON schema does not know is as if it were not there.
    """

    def __init__(self, messages: list[dict[str, Any]], root: dict[str, Any], rng: random.Random) -> None:
        self._messages = messages
        self._root = root
        self._rng = rng
        self._old_text: str | None = None
        self._values_left = _MAX_VALUES

    def value(self, schema: Any, name: str, depth: int = 0) -> Any:
        """A value that the schema allows, for the property or item `name`."""
        self._values_left -= 1
        if not isinstance(schema, dict) or depth > _MAX_DEPTH or self._values_left < 0:
            return None
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if choices := _said(schema, "enum", list, []):
            return self._rng.choice(choices)
        for key in ("anyOf", "oneOf"):
            if variants := _said(schema, key, list, []):
                forms = [v for v in variants if isinstance(v, dict)] or [{}]
                chosen = next((v for v in forms if v.get("type") != "null"), forms[0])
                return self.value({**schema, key: None} | chosen, name, depth + 1)
        if parts := _said(schema, "allOf", list, []):
            return self.value(self._merged(schema, parts), name, depth + 1)
        return self._of_type(_type(schema), schema, name, depth)

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Follows `$ref` into the schema's own definitions."""
        for _ in range(_MAX_DEPTH):
            reference = schema.get("$ref")
            if not isinstance(reference, str) or not reference.startswith("#"):
                break
            found: Any = self._root
            for step in reference.split("/")[1:]:
                found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
            if not isinstance(found, dict):
                break
            schema = found
        return schema

    def _merged(self, schema: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
        merged = {**schema, "allOf": None}
        for part in parts:
            if isinstance(part, dict):
                part = self._resolve(part)
                properties = _said(merged, "properties", dict, {}) | _said(part, "properties", dict, {})
                required = [*_said(merged, "required", list, []), *_said(part, "required", list, [])]
                merged |= part | {"properties": properties, "required": required}
        return merged

    def _of_type(self, sort: str, schema: dict[str, Any], name: str, depth: int) -> Any:
        if sort == "object":
            properties = _said(schema, "properties", dict, {})
            required = [key for key in _said(schema, "required", list, []) if isinstance(key, str)]
            keys = dict.fromkeys([*(key for key in properties if key in required), *required])
            return {key: self.value(properties.get(key, {}), str(key), depth + 1) for key in keys}
        if sort == "array":
            return self._array(schema, name, depth)
        if sort in ("integer", "number"):
            return self._number(sort, schema)
        if sort == "boolean":
            return self._rng.random() < 0.5
        if sort == "null":
            return None
        text = self._text(name.lower())[: _said(schema, "maxLength", int, None)]
        return text.ljust(min(_said(schema, "minLength", int, 0), _MAX_LENGTH), "x")

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        usual = 1 if depth < 4 else 0  # a schema that contains itself comes to an end
        count = min(_said(schema, "minItems", int, usual), _said(schema, "maxItems", int, _MAX_ITEMS), _MAX_ITEMS)
        items: list[Any] = []
        for _ in range(8 * count):
            if len(items) == count:
                break
            item = self.value(schema.get("items", {}), name, depth + 1)
            if not (schema.get("uniqueItems") is True and item in items):
                items.append(item)
        return items

    def _number(self, sort: str, schema: dict[str, Any]) -> Any:
        above, below = (_said(schema, key, _NUMBER, None) for key in ("exclusiveMinimum", "exclusiveMaximum"))
        lows = [bound for bound in (above, _said(schema, "minimum", _NUMBER, None)) if bound is not None]
        highs = [bound for bound in (below, _said(schema, "maximum", _NUMBER, None)) if bound is not None]
        low = max(lows) if lows else min([1, *(bound - 99 for bound in highs)])
        high = min(highs) if highs else low + 99
        if sort == "number":
            return (low + high) / 2
        first = math.floor(low) + 1 if low == above else math.ceil(low)
        last = math.ceil(high) - 1 if high == below else math.floor(high)
        step = max(1, _said(schema, "multipleOf", int, 1))
        first = -(-first // step) * step
        return first + step * self._rng.randint(0, max(0, (last - first) // step))

    def _text(self, name: str) -> str:
        """A text for a parameter of that name, from the conversation where it has one."""
        words = set(re.findall(r"[a-z]+", name))
        if words & {"path", "file", "filename", "filepath", "paths", "files", "target"}:
            return self._path()
        if words & {"dir", "directory", "folder", "cwd", "root"}:
            return "."
        if words & {"command", "cmd", "script"}:
            return "python -m pytest -q"
        if words & {"old", "search", "find", "before", "original"}:
            self._old_text = self._code_line()
            return self._old_text
        if words & {"new", "replace", "replacement", "after"}:
            return (self._old_text or self._code_line()) + "  # reviewed"
        if words & {"content", "contents", "text", "code", "body", "source"}:
            return '"""Written by the simulated model."""\n'
        if words & {"pattern", "query", "regex", "glob"}:
            return "def"
        return "value"

    def _path(self) -> str:
        """The path named last in the conversation, preferring code that is not a test."""
        paths: list[str] = []
        for message in reversed(self._messages):
            if message["role"] in ("user", "tool"):
                paths += _PATH.findall(content_text(message.get("content")))
            if len(paths) >= 8:
                break
        code = [path for path in paths if path.endswith(".py") and "test" not in path]
        return (code or paths or ["README.md"])[0]

    def _code_line(self) -> str:
        """A line that is found once in the last tool result that shows code, so that an edit of it applies."""
        for message in reversed(self._messages):
            if message["role"] == "tool":
                text = content_text(message.get("content"))
                for line in text.splitlines():
                    line = re.sub(r"^\s*\d+[\t|:] ?", "", line)  # a line number that the tool put before it
                    if re.match(r"\s*(return|def|class|if|for|import|from)\b", line) and text.count(line) == 1:
                        return line
        return "pass"
