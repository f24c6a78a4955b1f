"""Every bundled script really works: the failing test fails, the edit applies, the test then passes."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from swarm.agents.driver import Call
from swarm.agents.prompt import opening, rendered_schemas, system_prompt
from swarm.agents.tools import Toolbox, ToolResult
from swarm.tasks import PlannedCall, ScriptTurn, Task, load_tasks

pytestmark = pytest.mark.slow

TASKS = load_tasks(["lru-cache", "merge-sort", "cron-tests", "flask-layers", "rate-limiter"])
Played = list[tuple[PlannedCall, ToolResult]]


@dataclass(frozen=True)
class Runs:
    full: Played
    quick: Played
    again: Played
    """The full script once more, without the test runs that pass."""


async def play(task: Task, script: tuple[ScriptTurn, ...], toolbox: Toolbox, *, all_runs: bool = True) -> Played:
    calls = [call for turn in script for call in turn.calls]
    async with toolbox.open(task.repository) as workspace:
        return [
            (call, await toolbox.execute(Call("", call.tool, call.arguments), workspace))
            for call in calls
            if all_runs or call.tool != "run_tests" or call.expect == "fail"
        ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Runs]:
    """All scripts at once, so that the slots for tests are never idle."""

    async def everything(root: Path) -> list[Runs]:
        toolbox = Toolbox(root)
        other = root / "a-directory-with-another-and-longer-name"
        other.mkdir()
        elsewhere = Toolbox(other)

        async def one(task: Task) -> Runs:
            full, quick, again = await asyncio.gather(
                play(task, task.turns, toolbox),
                play(task, task.quick_turns, toolbox),
                play(task, task.turns, elsewhere, all_runs=False),
            )
            return Runs(full, quick, again)

        return await asyncio.gather(*(one(task) for task in TASKS))

    played = asyncio.run(everything(tmp_path_factory.mktemp("scripts")))
    return {task.name: runs for task, runs in zip(TASKS, played, strict=True)}


def differing(played: Played) -> list[str]:
    return [
        f"{call.tool} {call.arguments}: {result.text}" for call, result in played if result.ok != (call.expect == "ok")
    ]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_call_of_the_full_script_ends_as_expected(task, runs):
    assert differing(runs[task.name].full) == []


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_call_of_the_quick_script_ends_as_expected(task, runs):
    assert differing(runs[task.name].quick) == []


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_results_are_the_same_bytes_in_every_run(task, runs):
    expected = [
        (call.tool, result.text)
        for call, result in runs[task.name].full
        if call.tool != "run_tests" or call.expect == "fail"
    ]
    assert [(call.tool, result.text) for call, result in runs[task.name].again] == expected
    assert len(expected) > 5


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_results_name_no_place_of_this_machine(task, runs, tmp_path_factory):
    base = str(tmp_path_factory.getbasetemp().parent)
    for call, result in runs[task.name].full + runs[task.name].quick:
        assert base not in result.text, call
        assert "job-" not in result.text, call
        assert "site-packages" not in result.text, call


def tokens(task: Task, script: tuple[ScriptTurn, ...], played: Played) -> float:
    """What the script adds to a conversation, at 4 bytes per token."""
    texts = [opening(task, "agent-00 job-000"), *(turn.say for turn in script)]
    texts += [json.dumps(call.arguments) for call, _ in played] + [result.text for _, result in played]
    return sum(len(text.encode()) for text in texts) / 4


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_full_script_ends_at_seven_to_nine_thousand_tokens(task, runs):
    start = len((system_prompt(3000, "0" * 16) + rendered_schemas()).encode()) / 4
    assert 6900 <= start + tokens(task, task.turns, runs[task.name].full) <= 8100


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_quick_script_adds_about_a_thousand_tokens(task, runs):
    assert 850 <= tokens(task, task.quick_turns, runs[task.name].quick) <= 1500


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_reading_gives_results_of_the_size_that_agents_see(task, runs):
    whole = [
        len(result.text.encode()) / 4
        for call, result in runs[task.name].full
        if call.tool == "read_file" and call.arguments["end_line"] is None
    ]
    assert len(whole) >= 2
    assert all(180 <= size <= 900 for size in whole)
    assert sum(whole) / len(whole) >= 290


def test_a_test_run_that_passes_says_how_many_tests_did(runs):
    last = [result.text for call, result in runs["lru-cache/capacity"].full if call.tool == "run_tests"][-1]
    assert last.splitlines()[-1] == "14 passed"


def test_the_bundled_repositories_are_left_as_they_were(runs):
    for task in TASKS:
        assert not [path for path in task.repository.rglob("*") if path.name in {"DESIGN.md", ".pytest_cache"}]
