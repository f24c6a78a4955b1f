"""What the load generator says of itself and its machine, beside the times of its requests."""

import asyncio
import sys
from array import array
from contextlib import asynccontextmanager

import pytest

from swarm.client.base import Meter
from swarm.clock import Clock
from swarm.engine.monitor import watch_client

BURN = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
"""Uses a fifth of a second of CPU time, says so, and waits for a line."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells by /proc")


class Idle:
    def meter(self):
        return Meter(array("q"), 0, 0, "user")


@asynccontextmanager
async def watched(*companions):
    """The samples as they come, ten a second."""
    samples = asyncio.Queue()
    header = {"run": "r", "target": "t", "agents": 1, "trial": 1}
    watching = asyncio.create_task(
        watch_client(Idle(), Clock(), header, samples.put_nowait, str, 0.1, companions=companions)
    )
    await asyncio.sleep(0)
    yield samples
    watching.cancel()


async def burn():
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-c", BURN, stdin=pipe, stdout=pipe)


async def test_the_cpu_time_of_companions_is_swarms_own():
    process = await burn()
    async with watched(process.pid) as samples, asyncio.timeout(30):
        used = 0
        while used < 0.1e9:
            used += (await samples.get()).companions_ns
    await process.communicate(b"\n")


async def test_another_process_is_a_stranger_and_a_tool_is_swarms_own_once_it_has_ended():
    async with watched() as samples, asyncio.timeout(30):
        process = await burn()
        await process.stdout.readline()
        sample = await samples.get()
        assert sample.companions_ns == 0
        assert sample.cores >= 1
        await process.communicate(b"\n")
        while not sample.companions_ns:
            sample = await samples.get()
        assert sample.companions_ns >= 0.2e9
