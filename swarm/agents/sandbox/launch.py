"""How a command of a workspace is started where nothing walls it off: at low priority, in an environment of its own."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from swarm.agents.workspace import Workspace

Launcher = Callable[[Workspace], Sequence[str]]
"""The command that starts another one for a workspace, as `nice` or a sandbox do: it is put before the command."""


def low_priority(_: Workspace) -> Sequence[str]:
    """Test runs must not take the CPU from the load generator and the simulated server."""
    return ("nice", "-n", "5")


def environment(scratch: Path) -> dict[str, str]:
    """All that a test run sees of the environment: nothing of ours, and nothing that differs from run to run."""
    return {
        "PATH": os.defpath,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "COLUMNS": "80",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
