"""Which tool the simulated model calls next, and with which arguments: what a coding agent would do, roughly.

It goes look round, read, search, edit, run the tests, as far as tools for it are offered (known by words in their
names), repairs while tests fail, and then answers. Arguments follow the tool's JSON schema; paths and lines of code are
taken from the conversation.
"""

import json
import random
from typing import Any

from swarm.simulator.server.arguments import Arguments
from swarm.simulator.server.conversation import Conversation, is_path, words

_PLAN = ("list", "read", "search", "edit", "test")
_WORDS = {
    "test": ("test", "run", "exec", "bash", "shell", "command", "terminal"),
    "edit": ("edit", "replace", "patch", "update", "insert"),
    "write": ("write", "create"),
    "search": ("search", "grep", "find", "query"),
    "list": ("list", "ls", "glob", "tree", "dir"),
    "read": ("read", "view", "open", "cat", "show", "get"),
}
_MAX_EDITS = 3


def kind(name: str) -> str | None:
    """The kind of step that a tool of that name does, by the words in it; None: no idea."""
    said = words(name)
    for sort, known in _WORDS.items():
        if any(word in known or word.rstrip("s") in known for word in said):
            return sort
    return None


def choose_call(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], tool_choice: str | dict[str, Any], rng: random.Random
) -> tuple[str, str] | None:
    """Name and JSON arguments of the next call; None: it is time for the answer (never when a call is demanded)."""
    functions = {tool["function"]["name"]: tool["function"] for tool in tools}
    conversation = Conversation(messages)
    if isinstance(tool_choice, dict):
        name: str | None = tool_choice["function"]["name"]
    else:
        name = _next_tool(conversation, list(functions), rng)
        if name is None and tool_choice == "required":
            name = _harmless(list(functions), rng)
    if name is None:
        return None
    schema = functions[name].get("parameters") or {}
    texts = _Texts(conversation, name, list(functions), rng)
    value = Arguments(schema, texts.of, rng).value({**schema, "type": "object"}, name)
    return name, json.dumps(value if isinstance(value, dict) else {}, separators=(", ", ": "))


def _next_tool(conversation: Conversation, names: list[str], rng: random.Random) -> str | None:
    called = [step.tool for step in conversation.steps]
    by_kind: dict[str | None, list[str]] = {}
    for name in names:
        by_kind.setdefault(kind(name), []).append(name)
    if "edit" not in by_kind and "write" in by_kind:  # who can edit does not write files anew
        by_kind["edit"] = by_kind["write"]
    called_kinds = ["edit" if kind(name) == "write" else kind(name) for name in called]
    for sort in _PLAN:
        if sort in by_kind and sort not in called_kinds:
            return rng.choice(by_kind[sort])
    for name in by_kind.get(None, []):
        if name not in called:
            return name
    if called_kinds[-1:] == ["test"] and "edit" in by_kind and conversation.steps[-1].failed:
        return rng.choice(by_kind["edit"]) if called_kinds.count("edit") < _MAX_EDITS else None
    if called_kinds[-1:] == ["edit"] and "test" in by_kind:
        return rng.choice(by_kind["test"])
    return None


def _harmless(names: list[str], rng: random.Random) -> str:
    """A tool that writes no file anew, if there is any: nothing is left to do, but a call is demanded."""
    return rng.choice([name for name in names if kind(name) != "write"] or names)


class _Texts:
    """Texts for the parameters of a call of the tool `name`, from the conversation where it has one."""

    def __init__(self, conversation: Conversation, name: str, names: list[str], rng: random.Random) -> None:
        self._conversation = conversation
        self._kind = kind(name)
        self._shown = conversation.shown([name for name in names if kind(name) == "read"])
        self._line = self._shown and self._shown.line(rng)

    def of(self, parameter: str) -> str:
        said = set(words(parameter))
        if is_path(parameter):
            return self._path()
        if said & {"dir", "directory", "folder", "cwd", "root"}:
            return "."
        if said & {"command", "cmd", "script"}:
            return "python -m pytest -q"
        if said & {"old", "search", "find", "before", "original"}:
            return self._line or "pass"
        if said & {"new", "replace", "replacement", "after"}:
            return (self._line or "pass") + "  # reviewed"
        if said & {"content", "contents", "text", "code", "body", "source"}:
            return '"""Written by the simulated model."""\n'
        if said & {"pattern", "query", "regex", "glob"}:
            return (self._shown and self._shown.name()) or "def"
        return "value"

    def _path(self) -> str:
        """Path of the file that this step is about; where a step is about the whole repository, its root."""
        if self._kind in ("list", "search"):
            return "."
        if self._kind in ("edit", "write") and self._shown:
            return self._shown.path
        paths = self._conversation.paths()
        if self._kind == "test":
            paths = [path for path in paths if "test" in path] or paths
        read = {
            value for step in self._conversation.steps for value in step.arguments.values() if isinstance(value, str)
        }
        return next((path for path in paths if path not in read), (paths or ["README.md"])[0])
