"""From `task.yaml` files to tasks, or to an error that says where a file is wrong and what would be right.

The format is described in `docs/tasks.md`.
"""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from swarm.errors import ScenarioError
from swarm.scenario.units import Duration
from swarm.tasks.calls import ARGUMENTS
from swarm.tasks.model import Expectation, PlannedCall, ReplyLength, ScriptTurn, Task

LIBRARY = Path(__file__).parent / "library"
"""The bundled tasks."""

MAX_BYTES = 1_000_000
KeyPath = tuple[str | int, ...]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
ToolName = Literal["list_files", "read_file", "search", "edit_file", "write_file", "run_tests"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReplySection(_Section):
    median: Annotated[float, Field(ge=1)]
    spread: Annotated[float, Field(ge=1, le=10)]
    min: Annotated[int, Field(ge=1)]
    max: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.median <= self.max:
            raise ValueError(f"expected min <= median <= max, not {self.min}, {self.median:g}, {self.max}")
        return self


class CallSection(_Section):
    tool: ToolName
    arguments: dict[str, Any]
    takes: Duration
    expect: Expectation = "ok"


class TurnSection(_Section):
    say: Text
    calls: list[CallSection] = []
    reply_tokens: ReplySection | None = None
    quick: bool = False


class TaskFile(_Section):
    """What a `task.yaml` says."""

    title: Text
    issue: Text
    reply_tokens: ReplySection
    quick_reply_tokens: ReplySection | None = None
    turns: Annotated[list[TurnSection], Field(min_length=1)]


def load_tasks(selection: Sequence[str] | Path) -> list[Task]:
    """Tasks by the names of bundled kinds ("lru-cache") or variants ("lru-cache/ttl"), or all tasks of a folder.

    A folder holds `<kind>/<variant>/task.yaml` beside `<kind>/<variant>/repo/`. Tasks come in the order of the
    selection, variants in the order of their names, each once. Raises ScenarioError with file, line, key and the
    nearest valid name.
    """
    if isinstance(selection, Path):
        files = sorted(selection.glob("*/*/task.yaml"))
        if not files:
            raise ScenarioError(f"{selection}: no task found; expected files named <kind>/<variant>/task.yaml in it")
    else:
        files = list(dict.fromkeys(file for name in selection for file in _bundled(name)))
    return [load_task(file) for file in files]


def load_task(file: Path) -> Task:
    """One task from its `task.yaml`. Raises ScenarioError."""
    text = _read(file)
    lines = _lines(file, text)
    try:
        task = TaskFile.model_validate(yaml.safe_load(text))
    except ValidationError as invalid:
        raise ScenarioError(
            "\n".join(_explain(file, lines, (), TaskFile, error) for error in invalid.errors())
        ) from None
    mistakes = [*_argument_mistakes(file, lines, task), *_script_mistakes(file, lines, task)]
    if mistakes:
        raise ScenarioError("\n".join(mistakes))
    repository = file.parent / "repo"
    if not repository.is_dir() or not any(repository.iterdir()):
        raise ScenarioError(f"{repository}: expected the task's repository here: a folder with at least one file")
    quick = [turn for turn in task.turns if turn.quick] or task.turns
    return Task(
        kind=file.parent.parent.name,
        variant=file.parent.name,
        title=task.title,
        issue=task.issue,
        repository=repository,
        turns=tuple(_turn(turn, turn.reply_tokens or task.reply_tokens) for turn in task.turns),
        quick_turns=tuple(
            _turn(turn, task.quick_reply_tokens or turn.reply_tokens or task.reply_tokens) for turn in quick
        ),
    )


def _bundled(name: str) -> list[Path]:
    files = sorted(LIBRARY.glob("*/*/task.yaml"))
    found = [file for file in files if name in (_kind(file), f"{_kind(file)}/{file.parent.name}")]
    if not found:
        kinds = sorted({_kind(file) for file in files})
        variants = [f"{_kind(file)}/{file.parent.name}" for file in files]
        raise ScenarioError(f"tasks: no bundled task {name!r}; {_nearest(name, variants if '/' in name else kinds)}")
    return found


def _kind(file: Path) -> str:
    return file.parent.parent.name


def _turn(turn: TurnSection, reply: ReplySection) -> ScriptTurn:
    calls = tuple(PlannedCall(call.tool, call.arguments, call.takes, call.expect) for call in turn.calls)
    return ScriptTurn(turn.say, calls, ReplyLength(reply.median, reply.spread, reply.min, reply.max))


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ScenarioError(f"{file}: cannot read the task: {reason}") from None
    if len(text) > MAX_BYTES:
        raise ScenarioError(f"{file}: a task of {len(text)} characters; the limit is {MAX_BYTES}")
    return text


def _lines(file: Path, text: str) -> dict[KeyPath, int]:
    """The line of every value by its path. Refuses what is not YAML, keys given twice, and aliases."""
    lines: dict[KeyPath, int] = {}
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ScenarioError(f"{file}: aliases (*name) are not supported in a task")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{file}:{line}: not readable as YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ScenarioError(f"{file}: not readable as YAML: {error}") from None
    for path, line in _walk(root, ()) if root else ():
        if path in lines:
            raise ScenarioError(f"{file}:{line}: {_dotted(path)}: given twice (first on line {lines[path]})")
        lines[path] = line
    return lines


def _walk(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*path, index))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = _walk(value, (*path, str(key.value)))
            yield next(below)[0], key.start_mark.line + 1
            yield from below


def _argument_mistakes(file: Path, lines: dict[KeyPath, int], task: TaskFile) -> Iterator[str]:
    """A script's calls are checked as a model's are: the same models parse both."""
    for number, turn in enumerate(task.turns):
        for index, call in enumerate(turn.calls):
            model, path = ARGUMENTS[call.tool], ("turns", number, "calls", index, "arguments")
            try:
                model.model_validate(call.arguments)
            except ValidationError as invalid:
                yield from (_explain(file, lines, path, model, error) for error in invalid.errors())


def _script_mistakes(file: Path, lines: dict[KeyPath, int], task: TaskFile) -> Iterator[str]:
    *before, last = task.turns
    for number, turn in enumerate(before):
        if not turn.calls:
            yield f"{_where(file, lines, ('turns', number))}: has no calls; only the last turn, the answer, has none"
    end = ("turns", len(before))
    if last.calls:
        yield f"{_where(file, lines, end)}: expected a last turn without calls: the answer that ends the script"
    if any(turn.quick for turn in before) and not last.quick:
        yield f"{_where(file, lines, end)}: expected `quick: true`: the quick script ends with the last turn too"


def _explain(file: Path, lines: dict[KeyPath, int], above: KeyPath, model: type[BaseModel], error: Any) -> str:
    path = (*above, *error["loc"])
    message = error["msg"]
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
    elif error["type"] == "extra_forbidden":
        message = f"unknown key; {_nearest(str(path[-1]), _keys(model, error['loc'][:-1]))}"
    elif error["type"] == "missing":
        message = "missing; this key has no default"
    elif error["type"] == "literal_error":
        names = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        message = f"{error['input']!r} is not known; {_nearest(str(error['input']), names)}"
    elif error["type"].endswith("_type"):
        message = f"{message.replace('Input should be', 'expected')}, not {error['input']!r}"
    return f"{_where(file, lines, path)}: {message}"


def _where(file: Path, lines: dict[KeyPath, int], path: KeyPath) -> str:
    known = next(path[:end] for end in range(len(path), -1, -1) if path[:end] in lines or end == 0)
    return f"{file}:{lines.get(known, 1)}: {_dotted(path) or 'task'}"


def _keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that are valid below `path`."""
    sections: dict[str, type[BaseModel]] = {
        "turns": TurnSection,
        "calls": CallSection,
        "reply_tokens": ReplySection,
        "quick_reply_tokens": ReplySection,
    }
    names = [step for step in path if isinstance(step, str)]
    return list((sections[names[-1]] if names else model).model_fields)


def _nearest(given: str, names: list[str]) -> str:
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(names)}"


def _dotted(path: KeyPath) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
