"""Runs of `swarm` that take seconds: small tasks, one simulated model, the installed command."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from swarm.cli import main
from swarm.recording.rotation import parts_of

ROOT = Path(__file__).parents[1]
SWARM = Path(sys.executable).with_name("swarm")
PROFILE = "moe-30b-a3b-awq-1x3090"
REPLY_TOKENS = 8


def swarm(*arguments: object, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SWARM, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, **options
    )


def called(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The same in this process, which saves the seconds of starting one: for commands that put no load on a server."""
    words, out, err = [*map(str, arguments)], io.StringIO(), io.StringIO()
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["swarm", *words]):
        try:
            code = main() or 0
        except SystemExit as end:
            code = end.code or 0
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def until(
    condition: Callable[[], object], limit_s: float = 60.0, process: "subprocess.Popen[str] | None" = None
) -> None:
    """Waits until it is true. `process`: has to live until then."""
    end = time.monotonic() + limit_s
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, "never came true"
        time.sleep(0.05)


def started(project: Path, *arguments: str, out: str, attempts: int = 8) -> "subprocess.Popen[str]":
    """A run of `swarm` that has put so many requests more on record in its directory `out`."""
    before = _attempts(project / out)
    process = subprocess.Popen(
        [SWARM, *arguments], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: _attempts(project / out) >= before + attempts, process=process)
    return process


def _attempts(directory: Path) -> int:
    return sum(part.read_text().count('"type":"attempt"') for part in parts_of(directory / "events.jsonl"))


def shards_of(directory: Path) -> list[dict[str, Any]]:
    """Those that share the agents, as the environment of their run tells of them."""
    return json.loads((directory / "environment.json").read_text())["shards"]


@contextmanager
def served(*options: str) -> Iterator[str]:
    """A simulated vLLM that somebody else runs; its address, with `/v1`."""
    command = [sys.executable, "-m", "swarm.simulator", "--profile", PROFILE, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().removeprefix("listening on ").strip() + "/v1"
        process.terminate()


def write_task(folder: Path, variant: str) -> None:
    """A job of three turns that takes half a second of the simulated server and 40 ms of tools."""
    home = folder / "small" / variant
    (home / "repo").mkdir(parents=True)
    (home / "repo" / "notes.txt").write_text(f"Notes on {variant}.\n" * 8)
    reply = {"median": REPLY_TOKENS, "spread": 1, "min": REPLY_TOKENS, "max": REPLY_TOKENS}
    look = {"tool": "list_files", "arguments": {"path": "."}, "takes": "20ms"}
    read = {"tool": "read_file", "arguments": {"path": "notes.txt"}, "takes": "20ms"}
    script = {
        "title": f"Tidy up {variant}",
        "issue": "The notes are long. Make them short.",
        "reply_tokens": reply,
        "turns": [{"say": "Looking.", "calls": [look]}, {"say": "Reading.", "calls": [read]}, {"say": "Done."}],
    }
    (home / "task.yaml").write_text(yaml.safe_dump(script))


def write_project(folder: Path, **changes: Any) -> Path:
    """Three small tasks and `small.yaml`: one simulated model, 1 and 2 agents, windows of 3.5 s. Returns `folder`."""
    for variant in ("alpha", "beta", "gamma"):
        write_task(folder / "tasks", variant)
    scenario = {
        "targets": [{"name": "moe", "architecture": "moe", "simulate": PROFILE}],
        "route": "direct",
        "client": {"max_lag": "100ms"},  # other tests share this machine
        "agents": {"levels": [1, 2], "system_tokens": 1500, "context": "4k"},
        "tasks": {"path": str(folder / "tasks")},
        "stage": {"warmup": "500ms", "duration": "3500ms", "trials": 1},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(scenario | changes))
    return folder


def results(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "results.json").read_text())


def records(directory: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The lines of events.jsonl, of one type or all."""
    lines = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if kind in (None, line["type"])]
