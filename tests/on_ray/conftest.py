"""These tests need Ray, 250 MB of it, and a network of their own: only `tests/on_ray/run.sh` lets them be collected."""

import os
import subprocess
import sys

import pytest
from small_runs import PROFILE, write_project

collect_ignore = [] if os.environ.get("SWARM_RAY") else ["test_manifest.py", "test_on_ray.py", "nodes.py"]


@pytest.fixture(scope="session")
def elsewhere():
    """The second network, joined to this one: before anything listens at this one's address."""
    from nodes import another_network

    process = another_network()
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def project(tmp_path_factory, elsewhere):
    """Three small tasks, and a simulated server that both nodes reach."""
    from nodes import FIRST

    command = [sys.executable, "-m", "swarm.simulator", f"--profile={PROFILE}", f"--host={FIRST}", "--port=0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        base = server.stdout.readline().removeprefix("listening on ").strip() + "/v1"
        yield write_project(
            tmp_path_factory.mktemp("project"),
            targets=[{"name": "moe", "architecture": "moe", "api_base": base}],
            agents={"levels": [4], "system_tokens": 1500, "context": "4k"},
            stage={"warmup": "3s", "duration": "3500ms", "trials": 1},
        )
    finally:
        server.terminate()
        server.wait(30)
