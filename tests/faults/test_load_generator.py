"""A load generator that does not run: what is stopped, and goes on, is never a valid stage."""

import os
import signal
import time

import pytest
from small_runs import PROFILE, results, started, swarm, write_project

from swarm.recording import rundir

pytestmark = pytest.mark.realtime


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped for a second and a half of its window, while the simulated server went on."""
    project = write_project(tmp_path_factory.mktemp("stopped"), route="direct")
    process = started(
        project, "run", "small.yaml", "--agents", "2", "--duration", "5s", "--out", "out", out="out", attempts=4
    )
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    process.send_signal(signal.SIGCONT)
    stdout, _ = process.communicate(timeout=60)
    return project, process.returncode, stdout


def test_a_run_that_was_stopped_for_a_while_is_invalid_and_says_when_and_for_how_long(stopped):
    project, code, stdout = stopped
    (stage,) = results(project / "out")["targets"][0]["stages"]
    assert code == 3
    assert 1.4 < stage["client"]["frozen_s"] < 3
    (reason,) = (each for each in stage["invalid_reasons"] if each.startswith("the load generator stood still for"))
    assert "of the 5 s window (limit 0.5 s): 1." in reason
    assert "the load generator stood still" in " ".join(stdout.split())


def test_what_was_lost_is_in_the_run_directory_and_reported_again(stopped):
    project, _, _ = stopped
    before = results(project / "out")
    (project / "out" / rundir.RESULTS).unlink()
    assert swarm("report", "out", cwd=project).returncode == 3
    assert results(project / "out") == before


def test_a_server_that_was_stopped_is_seen_too_and_is_not_taken_for_the_load_generator(tmp_path):
    project = write_project(tmp_path, route="direct")
    process = started(
        project, "run", "small.yaml", "--agents", "2", "--duration", "5s", "--out", "out", out="out", attempts=4
    )
    servers = [int(pid) for pid in _children(process.pid) if PROFILE in _command(pid)]
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in servers:
            os.kill(pid, number)
        time.sleep(1.5)
    process.communicate(timeout=60)
    (stage,) = results(project / "out")["targets"][0]["stages"]
    assert stage["client"]["frozen_s"] < 1
    assert max(stage["latency"]["itl_s"]["max"], stage["latency"]["ttft_s"]["max"]) > 1.4
    assert any(reason.startswith("the simulated server could not keep up") for reason in stage["invalid_reasons"])
    assert not any("the load generator stood still" in reason for reason in stage["invalid_reasons"])


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


def _command(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()
