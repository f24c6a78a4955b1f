"""The page on tasks shows a task that works, and names the tasks that there are."""

import re
from pathlib import Path

import pytest

from swarm.agents.driver import Call
from swarm.agents.tools import Toolbox
from swarm.tasks import load_tasks
from swarm.tasks.load import LIBRARY

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()


@pytest.mark.parametrize("script", ["turns", "quick_turns"])
async def test_the_example_works_as_shown(tmp_path, script):
    shown = re.findall(r"^`(my-tasks/\S+)`\n\n```\w+\n(.*?)^```", PAGE, re.M | re.S)
    assert len(shown) == 3
    for path, text in shown:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (task,) = load_tasks(tmp_path / "my-tasks")
    assert task.name == "greeting/hello"
    (tmp_path / "root").mkdir()
    toolbox = Toolbox(tmp_path / "root")
    async with toolbox.open(task.repository) as workspace:
        for turn in getattr(task, script):
            for call in turn.calls:
                result = await toolbox.execute(Call("", call.tool, call.arguments), workspace)
                assert result.ok == (call.expect == "ok"), result.text
    assert (task.repository / "hello.py").read_text().endswith('return "Hello, " + name\n')


def test_the_table_names_every_bundled_task():
    table = {
        kind: re.findall(r"`(\S+?)`", rest)
        for kind, rest in re.findall(r"^\| `([\w-]+)` \| [^|`]* \| (.*) \|$", PAGE, re.M)
    }
    there = {kind.name: sorted(path.parent.name for path in kind.glob("*/task.yaml")) for kind in LIBRARY.iterdir()}
    assert {kind: sorted(variants) for kind, variants in table.items()} == there
