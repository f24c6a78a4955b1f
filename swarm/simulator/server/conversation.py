"""Facts in a conversation that the next tool call can use: files, lines of code, and how the last call went."""

import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from swarm.simulator.server.tokens import content_text

_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|toml|md|txt|js|ts|json|ya?ml|cfg|go|rs|java|c|h)\b")
_PATH_WORDS = {"path", "file", "filename", "filepath", "paths", "files", "target"}
_NUMBERED = re.compile(r"^\s*\d+(?:\t|[|:] ?)(.*)$")
_CODE = re.compile(r"\s*(return|def|class|if|for|import|from)\b")
_FAILED = re.compile(r"\bFAILED\b|\bfailed\b|Traceback|AssertionError|\bError:")


@dataclass(frozen=True, slots=True)
class Step:
    """A call of the conversation, and its result."""

    tool: str
    arguments: dict[str, Any]
    result: str

    @property
    def failed(self) -> bool:
        return _FAILED.search(self.result) is not None


class Conversation:
    """The last message of the user, and everything since."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        last_user = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=0)
        self.request = content_text(messages[last_user].get("content")) if messages else ""
        self.steps = list(_steps(messages[last_user + 1 :]))

    def paths(self) -> list[str]:
        """All that are named: code first, and of that what the request names, then what the last steps do."""
        texts = [self.request, *(step.result for step in reversed(self.steps))]
        found = list(dict.fromkeys(path for text in texts for path in _PATH.findall(text)))
        return sorted(found, key=_rank)

    def shown(self, tools: Iterable[str]) -> "Shown | None":
        """The file that one of `tools` (those that read) showed last."""
        for step in reversed(self.steps):
            if step.tool in tools and not step.result.startswith("Error"):
                path = next((value for key, value in step.arguments.items() if is_path(key)), None)
                if isinstance(path, str):
                    return Shown(path, step.result)
        return None


@dataclass(frozen=True)
class Shown:
    """A file as a tool showed it."""

    path: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """Without the numbers that the tool put before them."""
        lines = self.text.splitlines()
        numbered = [match[1] for match in map(_NUMBERED.match, lines) if match]
        return numbered or lines

    def line(self, rng: random.Random) -> str | None:
        """One that is there once, of code if there is any, so that an edit of it applies."""
        body = "\n".join(self.lines)
        unique = [line for line in self.lines if line.strip() and body.count(line) == 1 and not line.endswith("\\")]
        code = [line for line in unique if _CODE.match(line)]
        return rng.choice(code or unique) if unique else None

    def name(self) -> str | None:
        """Name of the first thing that it defines."""
        found = re.search(r"\b(?:def|class) (\w+)", self.text)
        return found and found[1]


def words(name: str) -> list[str]:
    """The words in the name of a tool or a parameter, in small letters."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]


def is_path(parameter: str) -> bool:
    return not _PATH_WORDS.isdisjoint(words(parameter))


def _rank(path: str) -> int:
    name = path.rpartition("/")[2]
    return 2 if not path.endswith(".py") else 1 if "test" in path or name == "__init__.py" else 0


def _steps(messages: list[dict[str, Any]]) -> Iterator[Step]:
    results = {str(m.get("tool_call_id")): content_text(m.get("content")) for m in messages if m["role"] == "tool"}
    for message in messages:
        for call in message.get("tool_calls") or ():
            function = call["function"]
            yield Step(function["name"], _object(function["arguments"]), results.get(str(call.get("id")), ""))


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
