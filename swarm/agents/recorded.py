"""The results of scripted tool calls without running them: recorded once, handed out in virtual time.

Each bundled task has a `results.json` beside its `task.yaml`, written by `python -m swarm.agents.recorded`; so may any
other task (`python -m swarm.agents.recorded FOLDER`). One that is missing, or older than its task, is made anew for
the run at hand.
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from swarm.agents.driver import Call
from swarm.agents.tools import Toolbox, ToolResult
from swarm.scratch import scratch
from swarm.tasks import ScriptTurn, Task, load_tasks
from swarm.tasks.load import LIBRARY

Script = Literal["full", "quick"]
SCRIPTS: tuple[Script, ...] = ("full", "quick")
Results = tuple[ToolResult, ...]
"""The results of all calls of a script, in their order."""


class RecordedTools:
    """The tools of agents that follow scripts; `recorded` holds each repository's results."""

    def __init__(self, recorded: Mapping[Path, Results]) -> None:
        self._recorded = recorded

    @asynccontextmanager
    async def open(self, repository: Path) -> AsyncIterator[Iterator[ToolResult]]:
        """A job's results; each call takes the next one."""
        yield iter(self._recorded[repository])

    async def execute(self, call: Call, workspace: Iterator[ToolResult]) -> ToolResult:
        return next(workspace)


async def recorded_results(tasks: Sequence[Task], script: Script) -> dict[Path, Results]:
    """By repository. What is not on file is run, each script once; nothing is written."""
    found = {task.repository: _on_file(task, script) for task in tasks}
    made = await _run_all([task for task in tasks if found[task.repository] is None], script)
    return {repository: results for repository, results in (found | made).items() if results is not None}


async def run_script(tools: Toolbox, task: Task, script: Script) -> Results:
    """Really carries out a script's calls, one after the other."""
    async with tools.open(task.repository) as workspace:
        calls = (call for turn in _turns(task, script) for call in turn.calls)
        return tuple([await tools.execute(Call("", call.tool, call.arguments), workspace) for call in calls])


async def record(tasks: Sequence[Task]) -> None:
    """Writes the `results.json` of each task."""
    found = {script: await _run_all(tasks, script) for script in SCRIPTS}
    for task in tasks:
        results = {script: [_entry(result) for result in found[script][task.repository]] for script in SCRIPTS}
        text = json.dumps({"digest": digest(task)} | results, indent=1, ensure_ascii=False)
        _file(task).write_text(f"{text}\n", encoding="utf-8")


async def _run_all(tasks: Sequence[Task], script: Script) -> dict[Path, Results]:
    with scratch() as root:
        tools = Toolbox(root)
        results = await asyncio.gather(*(run_script(tools, task, script) for task in tasks))
    return dict(zip((task.repository for task in tasks), results, strict=True))


def digest(task: Task) -> str:
    """Hash of everything that a script's results depend on but swarm itself: `task.yaml` and the repository."""
    home = task.repository.parent
    files = [path for path in sorted(task.repository.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    sha = hashlib.sha256()
    for path in [home / "task.yaml", *files]:
        data = path.read_bytes()
        sha.update(f"{path.relative_to(home).as_posix()}\0{len(data)}\0".encode() + data)
    return sha.hexdigest()


def _on_file(task: Task, script: Script) -> Results | None:
    """None: there is none, it is not current, or it cannot be read."""
    try:
        recorded = json.loads(_file(task).read_text("utf-8"))
        if recorded["digest"] != digest(task):
            return None
        results = tuple(ToolResult(bool(ok), str(text), error) for ok, text, error in recorded[script])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    planned = sum(len(turn.calls) for turn in _turns(task, script))
    return results if len(results) == planned else None


def _file(task: Task) -> Path:
    return task.repository.parent / "results.json"


def _entry(result: ToolResult) -> list[Any]:
    return [result.ok, result.text, result.error]


def _turns(task: Task, script: Script) -> tuple[ScriptTurn, ...]:
    return task.quick_turns if script == "quick" else task.turns


if __name__ == "__main__":
    asyncio.run(record(load_tasks(Path(sys.argv[1]) if len(sys.argv) > 1 else LIBRARY)))
