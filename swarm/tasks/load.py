"""From `task.yaml` files to tasks, or to an error that says where a file is wrong and what would be right.

The format is described in `docs/tasks.md`.
"""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from swarm.errors import ScenarioError
from swarm.scenario.document import Document, explain, read_document, validate
from swarm.scenario.units import Duration
from swarm.tasks.calls import ARGUMENTS
from swarm.tasks.folder import check_folder
from swarm.tasks.model import Expectation, PlannedCall, ReplyLength, ScriptTurn, Task

LIBRARY = Path(__file__).parent / "library"
"""The bundled tasks."""

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
    """The contents of a `task.yaml`."""

    title: Text
    issue: Text
    reply_tokens: ReplySection
    quick_reply_tokens: ReplySection | None = None
    turns: Annotated[list[TurnSection], Field(min_length=1)]


def load_tasks(selection: Sequence[str] | Path) -> list[Task]:
    """Tasks by the names of bundled kinds ("lru-cache") or variants ("lru-cache/ttl"), or all tasks of a folder.

    A folder holds `<kind>/<variant>/task.yaml` beside `<kind>/<variant>/repo/`. Tasks come in the order of the
    selection, variants in that of their names, each once. Raises ScenarioError with file, line, key and nearest name.
    """
    if isinstance(selection, Path):
        files = sorted(selection.glob("*/*/task.yaml"))
        if not files:
            raise ScenarioError(f"{selection}: no task found; expected files named <kind>/<variant>/task.yaml in it")
        check_folder(selection)
    else:
        files = list(dict.fromkeys(file for name in selection for file in _bundled(name)))
    return [load_task(file) for file in files]


def load_task(file: Path) -> Task:
    """One task from its `task.yaml`. Raises ScenarioError."""
    if not file.is_file():
        raise ScenarioError(f"{file}: is not a regular file")
    document = read_document(file)
    task = validate(document, TaskFile)
    mistakes = [*_argument_mistakes(document, task), *_script_mistakes(document, task)]
    if mistakes:
        raise ScenarioError("\n".join(mistakes))
    repository = file.parent / "repo"
    if not repository.is_dir() or not any(repository.iterdir()):
        raise ScenarioError(f"{repository}: expected the task's repository here: a folder with at least one file")
    check_folder(repository)
    quick = [turn for turn in task.turns if turn.quick] or task.turns
    return Task(
        kind=_kind(file),
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
        known = [f"{_kind(file)}/{file.parent.name}" for file in files] if "/" in name else kinds
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
        raise ScenarioError(f"tasks: no bundled task {name!r}; {hint}")
    return found


def _kind(file: Path) -> str:
    return file.parent.parent.name


def _turn(turn: TurnSection, reply: ReplySection) -> ScriptTurn:
    calls = tuple(PlannedCall(call.tool, call.arguments, call.takes, call.expect) for call in turn.calls)
    return ScriptTurn(turn.say, calls, ReplyLength(reply.median, reply.spread, reply.min, reply.max))


def _argument_mistakes(document: Document, task: TaskFile) -> Iterator[str]:
    """A script's calls are checked as a model's are: the same models parse both."""
    for number, turn in enumerate(task.turns):
        for index, call in enumerate(turn.calls):
            model = ARGUMENTS[call.tool]
            try:
                model.model_validate(call.arguments)
            except ValidationError as invalid:
                yield from explain(document, model, invalid, ("turns", number, "calls", index, "arguments"))


def _script_mistakes(document: Document, task: TaskFile) -> Iterator[str]:
    *before, last = task.turns
    for number, turn in enumerate(before):
        if not turn.calls:
            yield document.mistake(("turns", number), "no calls, which ends a script; only the last turn has none")
    end = ("turns", len(before))
    if last.calls:
        yield document.mistake(end, "expected a last turn without calls: the answer that ends the script")
    if any(turn.quick for turn in before) and not last.quick:
        yield document.mistake(end, "expected `quick: true`: the quick script ends with the last turn too")
