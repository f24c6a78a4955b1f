"""`environment.json`: what a run was made with and against, as far as it can be known. Secrets are never in it."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from swarm import __version__
from swarm.client.base import Connection
from swarm.client.target.probe import Probe
from swarm.engine.workloads.in_one_line import workload
from swarm.recording.redaction import Redaction
from swarm.scenario.schema import Scenario

_LIBRARIES = ("aiohttp", "litellm", "msgspec", "hdrhistogram", "tenacity", "pydantic")


def describe_environment(
    scenario: Scenario, started: datetime, targets: Mapping[str, dict[str, Any]], *, predicted: bool = False
) -> dict[str, Any]:
    """Versions, machine, client settings, and what is known of each target (`told` of one that was asked)."""
    return {
        "started_at": started.isoformat(timespec="seconds"),
        "predicted": predicted,
        "workload": workload(scenario),
        "git": commit(),
        "versions": {"swarm": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in _LIBRARIES},
        "machine": {
            "system": platform.platform(),
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        },
        "client": {
            "route": scenario.route,
            "provider": scenario.litellm_provider,
            "executable": sys.implementation.name,
        },
        "targets": dict(targets),
    }


def told(connection: Connection, facts: Probe) -> dict[str, Any]:
    """Everything that a running target reported about itself."""
    secrets = (connection.api_key or "", *connection.headers.values(), *connection.metrics_headers.values())
    found: dict[str, Any] = Redaction(secrets).value({"api_base": connection.api_base} | asdict(facts))
    return found


def commit(file: Path = Path(__file__)) -> str | None:
    """Commit of the checkout that swarm runs from, which `file` is in, with "-dirty" if it was changed.

    None where swarm is installed.
    """
    try:
        if _git(file, "ls-files", "--error-unmatch", file.name) is None:
            return None  # in a repository of somebody else's, such as one with a virtual environment in it
        made = _git(file, "rev-parse", "--short", "HEAD")
        changed = _git(file, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return f"{made}-dirty" if made and changed else made


def _git(file: Path, *arguments: str) -> str | None:
    """Output of git on the checkout, without its lock: somebody may be committing. None: it fails."""
    command = ["git", "--no-optional-locks", "-C", str(file.parent), *arguments]
    told = subprocess.run(command, capture_output=True, text=True, timeout=5)
    return told.stdout.strip() if told.returncode == 0 else None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
