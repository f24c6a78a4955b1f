"""`swarm run` with `/metrics`: what ends it before it begins, and what ends its lingering."""

import asyncio
import socket
import time

import pytest
from small_runs import swarm, write_project

from swarm.clock import Clock
from swarm.commands.export import linger
from swarm.engine.stop import Stop
from swarm.exporter.endpoint import Endpoint
from swarm.recording.recorder import Recorder

pytestmark = pytest.mark.realtime


def test_a_taken_port_is_a_usage_error_before_anything_is_started(tmp_path):
    project = write_project(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = swarm("run", "small.yaml", "--prometheus-port", port, "--out", "refused", cwd=project)
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1:{port}" in done.stderr
    assert not (project / "refused").exists()


async def test_a_signal_ends_the_lingering():
    stop = Stop()
    lingering = asyncio.create_task(linger(Endpoint(Clock()), 60.0, Recorder([]), stop))
    await asyncio.sleep(0)
    assert not lingering.done()
    stop.set("SIGINT")
    await asyncio.wait_for(lingering, 5)


async def test_a_run_that_its_budget_has_stopped_lingers_all_the_same():
    stop = Stop()
    stop.set("budget: 5 requests spent")
    began = time.monotonic()
    await linger(Endpoint(Clock()), 0.2, Recorder([]), stop)
    assert time.monotonic() - began >= 0.2
