"""The first signal always stops, saves and reports, whatever has stopped the run before; only the second forces."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_runs import SWARM, results, until, write_project

from swarm.clock import Clock
from swarm.commands.export import linger
from swarm.engine.stop import Stop, first_signal_kept, on_signals
from swarm.errors import ExitCode
from swarm.exporter.endpoint import Endpoint
from swarm.recording.appender import RecordingError
from swarm.recording.recorder import Recorder

pytestmark = pytest.mark.realtime

EARLIER = {
    "nothing": lambda stop: None,
    "a budget": lambda stop: stop.set("budget: 5 requests spent"),
    "a lost server": lambda stop: stop.set("client.give_up: no request has reached it", unreachable=True),
    "a full disk": lambda stop: stop.fail(RecordingError("no space left")),
}
TWICE = """
import asyncio, os, signal, sys
from swarm.engine.stop import Stop, on_signals
async def main():
    stop = Stop()
    with on_signals(stop):
        if sys.argv[1]:
            stop.set(sys.argv[1])
        os.kill(os.getpid(), signal.SIGINT)
        await stop.signalled.wait()
        print("saving", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(30)
asyncio.run(main())
"""


@pytest.mark.parametrize("earlier", EARLIER.values(), ids=EARLIER)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_forces_nothing_and_keeps_the_reason_that_came_before(earlier, number):
    stop = Stop()
    with on_signals(stop):
        earlier(stop)
        before = stop.reason
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.signalled.wait(), 5)
    assert stop.reason == (before or number.name)


@pytest.fixture
def hangup() -> Iterator[None]:
    """SIGHUP as it was before the test."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup")
async def test_a_terminal_that_is_gone_stops_a_run_and_forces_nothing_however_often_it_says_so():
    stop = Stop()
    with on_signals(stop):
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(stop.signalled.wait(), 5)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGHUP)  # and while the results are written
    assert (stop.reason, stop.by_signal) == ("SIGHUP", True)


@pytest.mark.usefixtures("hangup")
async def test_a_run_under_nohup_is_not_stopped_by_its_terminal():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    with on_signals(stop), first_signal_kept():
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
    assert stop.reason is None
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("hangup")
def test_a_terminal_that_goes_while_results_are_written_breaks_nothing_off():
    received = []
    signal.signal(signal.SIGHUP, lambda *_: received.append(1))
    with first_signal_kept():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
    assert received == []


@pytest.mark.parametrize("reason", ["", "budget: 5 requests spent"])
def test_the_second_signal_leaves_at_once(reason):
    done = subprocess.run([sys.executable, "-c", TWICE, reason], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (ExitCode.INTERRUPTED, "saving\n")


async def test_a_signal_ends_the_lingering_of_a_run_that_its_budget_has_stopped():
    stop = Stop()
    stop.set("budget: 5 requests spent")
    with on_signals(stop):
        lingering = asyncio.create_task(linger(Endpoint(Clock()), 60.0, Recorder([]), stop))
        await asyncio.sleep(0)
        assert not lingering.done()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(lingering, 5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_does_not_break_off_what_is_written_after_the_load(number):
    received = []
    before = signal.signal(number, lambda *_: received.append(number))
    try:
        with first_signal_kept():
            os.kill(os.getpid(), number)
            assert received == []
            os.kill(os.getpid(), number)
            assert received == [number]
        os.kill(os.getpid(), number)
        assert received == [number] * 2
    finally:
        signal.signal(number, before)


def lingering(project: Path, *options: str) -> "subprocess.Popen[str]":
    """A run of one agent whose load is over, and which waits for scrapes that never come."""
    command = [SWARM, "run", "small.yaml", "--agents", "1", "--prometheus-port", "0", "--linger", "60s", *options]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    events = project / "out" / "events.jsonl"
    until(lambda: events.exists() and '"type":"stage_end"' in events.read_text(), process=process)
    return process


def test_a_signal_while_a_run_stopped_by_its_budget_lingers_still_writes_the_results(tmp_path):
    project = write_project(tmp_path)
    process = lingering(project, "--set", "budget.requests=4", "--out", "out")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert process.returncode == ExitCode.INVALID, stderr
    assert stdout.splitlines()[-1] == "out"
    (stage,) = results(project / "out")["targets"][0]["stages"]
    assert stage["invalid_reasons"][0].startswith("interrupted by budget: 4 requests spent")
    assert (project / "out" / "report.html").exists()
