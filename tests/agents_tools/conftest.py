import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swarm.agents.driver import Call
from swarm.agents.tools import Toolbox, ToolResult
from swarm.agents.workspace import Workspace, open_workspace


@dataclass
class Bench:
    """A workspace with a few files, and beside it a file that no tool may reach."""

    workspace: Workspace
    toolbox: Toolbox
    outside: Path
    """A directory that holds `secret.txt`."""

    @property
    def root(self) -> Path:
        return self.workspace.repository

    def put(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    async def call(self, name: str, arguments: dict[str, Any] | str | None = None, **more: Any) -> ToolResult:
        given = more if arguments is None else arguments
        return await asyncio.wait_for(self.toolbox.execute(Call("", name, given), self.workspace), 60)


@pytest.fixture
async def bench(tmp_path):
    outside, source, root = tmp_path / "outside", tmp_path / "source", tmp_path / "root"
    for directory in (outside, source / "pkg", root):
        directory.mkdir(parents=True)
    (outside / "secret.txt").write_text("SECRET\n")
    (source / "README.md").write_text("# A repository\nSee pkg.\n")
    (source / "pkg" / "code.py").write_text("def f():\n    return 1\n")
    async with open_workspace(source, root) as workspace:
        yield Bench(workspace, Toolbox(root), outside)
    assert list(root.iterdir()) == []
