"""Which tool the simulated model calls next, and with which arguments: what a coding agent would do, roughly.

It goes look round, read, search, edit, run the tests, as far as tools for it are offered (known by words in their
names), repairs while tests fail, and then answers. Arguments follow the tool's JSON schema; paths and lines of code are
taken from the conversation.
"""

import json
import random
import re
from collections.abc import Iterator
from typing import Any

from swarm.simulator.tokens import content_text

_PLAN = ("list", "read", "search", "edit", "test")
_WORDS = {
    "test": ("test", "run", "exec", "bash", "shell", "command", "terminal"),
    "edit": ("edit", "replace", "patch", "write", "create", "update", "insert"),
    "search": ("search", "grep", "find", "query"),
    "list": ("list", "ls", "glob", "tree", "dir"),
    "read": ("read", "view", "open", "cat", "show", "get"),
}
_FAILED = re.compile(r"\bFAILED\b|\bfailed\b|Traceback|AssertionError|\bError:")
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|toml|md|txt|js|ts|json|ya?ml|cfg|go|rs|java|c|h)\b")
_MAX_REPAIRS = 3


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
    done = {kind(name) for name in called}
    for sort in _PLAN:
        if sort in by_kind and sort not in done:
            return rng.choice(by_kind[sort])
    for function in by_kind.get(None, []):
        if function["name"] not in called:
            return function
    if "edit" in by_kind and _FAILED.search(_last_tool_text(messages)):
        repairs = sum(kind(name) == "edit" for name in called)
        if called and kind(called[-1]) == "test" and repairs < _MAX_REPAIRS:
            return rng.choice(by_kind["edit"])
    if called and kind(called[-1]) == "edit" and "test" in by_kind:
        return rng.choice(by_kind["test"])
    return None


def _called_since_user(messages: list[dict[str, Any]]) -> Iterator[str]:
    last_user = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=-1)
    for message in messages[last_user + 1 :]:
        for call in message.get("tool_calls") or ():
            yield call["function"]["name"]


def _last_tool_text(messages: list[dict[str, Any]]) -> str:
    return next((content_text(m.get("content")) for m in reversed(messages) if m["role"] == "tool"), "")


class _Arguments:
    """Values for a JSON schema. What the conversation offers is looked up only when a property asks for it."""

    def __init__(self, messages: list[dict[str, Any]], schema: dict[str, Any], rng: random.Random) -> None:
        self._messages = messages
        self._root = schema
        self._rng = rng
        self._old_text: str | None = None

    def value(self, schema: Any, name: str, depth: int = 0) -> Any:
        """A value that the schema allows, for the property or item `name`."""
        if not isinstance(schema, dict) or depth > 16:
            return None
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._rng.choice(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                variants = [v for v in schema[key] if not (isinstance(v, dict) and v.get("type") == "null")]
                return self.value((variants or schema[key])[0], name, depth + 1)
        if schema.get("allOf"):
            merged: dict[str, Any] = {}
            for part in schema["allOf"]:
                part = self._resolve(part)
                properties = {**merged.get("properties", {}), **part.get("properties", {})}
                required = [*merged.get("required", []), *part.get("required", [])]
                merged = {**merged, **part, "properties": properties, "required": required}
            return self.value(merged, name, depth + 1)
        kinds = schema.get("type")
        sort = next((k for k in kinds if k != "null"), "null") if isinstance(kinds, list) else kinds
        if sort is None:
            sort = "object" if "properties" in schema else "array" if "items" in schema else "string"
        return self._typed(sort, schema, name, depth)

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        for _ in range(16):
            reference = schema.get("$ref")
            if not isinstance(reference, str) or not reference.startswith("#/"):
                break
            found: Any = self._root
            for step in reference[2:].split("/"):
                found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
            if not isinstance(found, dict):
                break
            schema = found
        return schema

    def _typed(self, sort: str, schema: dict[str, Any], name: str, depth: int) -> Any:
        if sort == "object":
            properties = schema.get("properties") or {}
            required = schema.get("required") or ()
            return {
                key: self.value(properties.get(key, {}), key, depth + 1)
                for key in (*properties, *required)
                if key in required
            }
        if sort == "array":
            count = max(schema.get("minItems", 1), 0)
            return [self.value(schema.get("items", {}), name, depth + 1) for _ in range(count)]
        if sort in ("integer", "number"):
            return self._number(sort, schema)
        if sort == "boolean":
            return schema.get("default", self._rng.random() < 0.5)
        if sort == "null":
            return None
        return self._fit(self._text(name.lower()), schema)

    def _number(self, sort: str, schema: dict[str, Any]) -> Any:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        if low is None:
            low = 1 if high is None or high >= 1 else high
        if high is None:
            high = low + 99
        if sort == "number":
            return schema.get("default", (low + high) / 2)
        low = int(-(-low // 1)) + ("exclusiveMinimum" in schema)
        high = int(high // 1) - ("exclusiveMaximum" in schema)
        step = schema.get("multipleOf", 1)
        first = int(-(-low // step) * step)
        return int(first + step * self._rng.randint(0, max(0, int((high - first) // step))))

    def _fit(self, text: str, schema: dict[str, Any]) -> str:
        text = text[: schema.get("maxLength", len(text))]
        return text.ljust(schema.get("minLength", 0), "x")

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
