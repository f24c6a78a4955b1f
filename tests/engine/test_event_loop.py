"""What a run works in: a loop that drains the sockets of running streams by itself, where that can be."""

import asyncio
import sys

import pytest
from small_runs import write_project

from swarm.client import eventloop
from swarm.commands.run import Parts, run_scenario
from swarm.errors import BackendError
from swarm.scenario.load import load_scenario

pytestmark = pytest.mark.realtime


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drains")
def test_a_run_works_in_a_loop_that_drains(tmp_path):
    drains = []

    async def probe(reach):
        drains.append(eventloop.drain_of(asyncio.get_running_loop()))
        raise BackendError("enough is known")

    target = {"name": "mine", "architecture": "moe", "api_base": "http://127.0.0.1:1/v1"}
    scenario = load_scenario(write_project(tmp_path, targets=[target]) / "small.yaml")
    with pytest.raises(BackendError, match="enough is known"):
        run_scenario(scenario, tmp_path / "run", None, parts=Parts(probe=probe))
    assert isinstance(drains[0], eventloop.Drain)
