"""Recorded results of scripted tool calls: they are what the tools say."""

import shutil

import pytest

from swarm.agents import recorded
from swarm.agents.driver import Call
from swarm.tasks import load_tasks
from swarm.tasks.load import LIBRARY, load_task

TASKS = load_tasks(LIBRARY)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_packaged_results_are_those_of_the_task_as_it_is(task):
    """If this fails: python -m swarm.agents.recorded"""
    for script, turns in (("full", task.turns), ("quick", task.quick_turns)):
        results = recorded._on_file(task, script)
        assert results is not None, f"run python -m swarm.agents.recorded: {task.name} has changed"
        expected = [call.expect == "ok" for turn in turns for call in turn.calls]
        assert [result.ok for result in results] == expected


@pytest.fixture
def copy(tmp_path):
    """A task of the user's own, without results on file."""
    home = tmp_path / "lru-cache" / "ttl"
    shutil.copytree(LIBRARY / "lru-cache" / "ttl", home)
    (home / "results.json").unlink()
    return load_task(home / "task.yaml")


async def test_what_is_not_on_file_is_run_and_gives_what_is_on_file(copy):
    bundled = next(task for task in TASKS if task.name == copy.name)
    ran = await recorded.recorded_results([copy], "quick")
    filed = await recorded.recorded_results([bundled], "quick")
    said = [[(r.ok, r.text, r.error) for r in results[t.repository]] for results, t in ((ran, copy), (filed, bundled))]
    assert said[0] == said[1]
    assert not (copy.repository.parent / "results.json").exists()


async def test_results_of_a_task_that_was_changed_since_are_not_used(copy):
    await recorded.record([copy])
    assert recorded._on_file(copy, "quick") is not None
    source = next(copy.repository.glob("*/cache.py"))
    source.write_text(source.read_text() + "# changed\n")
    assert recorded._on_file(copy, "quick") is None


async def test_each_job_gets_the_results_from_the_first_on():
    task = TASKS[0]
    results = await recorded.recorded_results([task], "full")
    tools = recorded.RecordedTools(results)
    for _ in range(2):
        async with tools.open(task.repository) as job:
            said = [await tools.execute(Call("", "any", {}), job) for _ in range(3)]
        assert said == list(results[task.repository][:3])
