"""A sandbox with short limits on a small repository, and beside it what nothing inside may reach."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from swarm.agents.driver import Call
from swarm.agents.sandbox.bubblewrap import Sandbox, SandboxLimits, open_sandbox
from swarm.agents.sandbox.launch import environment
from swarm.agents.sandbox.process import Finished, run_bounded
from swarm.agents.tools import Toolbox, ToolLimits, ToolResult
from swarm.agents.workspace import Workspace, open_workspace
from swarm.errors import UsageError

LIMITS = SandboxLimits(memory_bytes=256 << 20, file_bytes=1 << 20, disk_bytes=2 << 20, processes=32, open_files=64)

PRELUDE = """
import errno, json, os, resource, signal, socket, subprocess, sys, threading, time
FACTS = json.loads(sys.argv[1])

def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""


@dataclass
class Cell:
    """A sandbox around a copy of a repository. `outside` holds `secret.txt`, and a socket that listens."""

    sandbox: Sandbox
    workspace: Workspace
    root: Path
    outside: Path
    facts: dict[str, object]
    """What an attacker may have guessed: it is told to the code."""
    listeners: list[socket.socket]

    async def run(self, code: str, *, wall_s: float = 20.0, **limits: int) -> Finished:
        """Python code inside, which finds `FACTS` and `attempt` ready."""
        sandbox = replace(self.sandbox, limits=replace(self.sandbox.limits, **limits))
        return await run_bounded(
            [*sandbox(self.workspace), sys.executable, "-I", "-c", PRELUDE + code, json.dumps(self.facts)],
            cwd=self.workspace.repository,
            env=environment(self.workspace.scratch),
            wall_s=wall_s,
            keep_bytes=8000,
            flood_bytes=100_000,
        )

    async def test(self, code: str, **limits: float) -> ToolResult:
        """`code` as a test of the repository, by the tool `run_tests`."""
        (self.workspace.repository / "test_it.py").write_text(code)
        toolbox = Toolbox(self.root, limits=ToolLimits(**limits), launcher=self.sandbox)
        return await toolbox.execute(Call("", "run_tests", {"path": "test_it.py"}), self.workspace)

    def untouched(self) -> bool:
        """Whether all outside is as it was, and nobody called."""
        for listener in self.listeners:
            listener.setblocking(False)
            try:
                listener.accept()
            except BlockingIOError:
                continue
            return False
        secret = self.outside / "secret.txt"
        return secret.read_text() == "SECRET\n" and sorted(os.listdir(self.outside)) == ["secret.txt", "socket"]

    def alive(self) -> bool:
        """Whether a process with the token on its command line still runs; one that was killed may take a moment."""
        token, deadline = str(self.facts["token"]).encode(), time.monotonic() + 10
        while time.monotonic() < deadline:
            if not any(token in command for command in _commands()):
                return False
            time.sleep(0.01)
        return True


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    try:
        return open_sandbox(LIMITS)
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture
async def cell(sandbox, tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_TEST_API_KEY", "do-not-tell")
    outside, source, root = tmp_path / "outside", tmp_path / "source", tmp_path / "root"
    for directory in (outside, source / "pkg", root):
        directory.mkdir(parents=True)
    (outside / "secret.txt").write_text("SECRET\n")
    (source / "pkg" / "code.py").write_text("def f():\n    return 1\n")
    with listening(outside) as (listeners, facts):
        facts |= {"outside": str(outside), "pid": os.getpid(), "home": str(Path.home())}
        async with open_workspace(source, root) as workspace:
            facts |= {"repository": str(workspace.repository), "token": f"token-{os.urandom(8).hex()}"}
            made = Cell(sandbox, workspace, root, outside, facts, listeners)
            yield made
            assert not made.alive()
    assert list(root.iterdir()) == []


@contextmanager
def listening(outside: Path) -> Iterator[tuple[list[socket.socket], dict[str, object]]]:
    """Sockets of this process that wait for a caller: of the network, of a file, and of an abstract name."""
    name = f"swarm-test-{os.urandom(8).hex()}"
    here = os.open(outside, os.O_RDONLY)  # the name of a socket may have 108 bytes only
    sockets = [socket.socket(socket.AF_INET), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    try:
        for made, address in zip(sockets, (("127.0.0.1", 0), f"/proc/self/fd/{here}/socket", f"\0{name}"), strict=True):
            made.bind(address)
            made.listen()
        yield sockets, {"port": sockets[0].getsockname()[1], "abstract": name}
    finally:
        os.close(here)
        for made in sockets:
            made.close()


def _commands() -> Iterator[bytes]:
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            yield Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
