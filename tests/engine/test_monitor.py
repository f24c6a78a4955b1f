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

pytestmark = [
    pytest.mark.realtime,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells by /proc"),
]


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


class Machine(Clock):
    """Time passes by sleeping alone; `stops`: probe -> how late it wakes, and for how long the machine slept then."""

    def __init__(self, stops):
        super().__init__(origin_ns=0)
        self.t_ns = self.probes = self.slept_ns = 0
        self.over = asyncio.Event()
        self.stops = stops

    def now(self):
        return self.t_ns

    def slept(self):
        return self.slept_ns

    async def sleep_until(self, t_ns):
        if self.t_ns >= 1_500_000_000:
            self.over.set()
            await asyncio.Event().wait()
        late, slept = self.stops.get(self.probes, (0, 0))
        self.probes += 1
        self.t_ns, self.slept_ns = t_ns + late, self.slept_ns + slept


@pytest.mark.parametrize(
    ("stops", "frozen"),
    [
        ({}, []),
        ({5: (49_000_000, 0)}, []),  # a lag, as the percentiles tell
        ({5: (10_000_000_000, 0)}, [(120_000_000, 10_120_000_000, 0)]),  # stopped and continued
        ({5: (0, 3_600_000_000_000)}, [(120_000_000, 120_000_000, 3_600_000_000_000)]),  # a laptop's sleep
        (
            {5: (60_000_000, 0), 7: (0, -1), 9: (70_000_000, 0)},
            [(120_000_000, 180_000_000, 0), (260_000_000, 330_000_000, 0)],
        ),
    ],
)
async def test_every_time_in_which_the_process_stood_still_is_on_record_at_once(stops, frozen):
    samples = asyncio.Queue()
    header = {"run": "r", "target": "t", "agents": 1, "trial": 1}
    clock = Machine(stops)
    watching = asyncio.create_task(watch_client(Idle(), clock, header, samples.put_nowait, str))
    await clock.over.wait()
    watching.cancel()
    found = [samples.get_nowait() for _ in range(samples.qsize())]
    assert [each for sample in found for each in sample.frozen] == frozen
    assert all(sample.frozen == [] or sample.end_ns == sample.frozen[-1][1] for sample in found)


def test_the_clock_that_goes_on_in_suspension_keeps_pace_with_the_other_while_awake():
    clock = Clock()
    before = clock.slept()
    assert abs(clock.slept() - before) < 20_000_000


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
