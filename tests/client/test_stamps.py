import asyncio
import inspect
import socket
import struct
import sys
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from scripted_server import REPLY, scripted

from swarm.client import stamps
from swarm.client.base import ChatRequest, Connection, Observation
from swarm.client.connect import open_client
from swarm.client.stamps import KernelTime, Stamper
from swarm.clock import Clock

pytestmark = pytest.mark.realtime

EPOCH = 1_700_000_000_000_000_000
MS = 1_000_000
SECOND = 1_000_000_000


class Clocks(Clock):
    """The run's clock and the wall clock, moved by hand; reading either takes 50 ns."""

    def __init__(self) -> None:
        super().__init__(0)
        self.run, self.wall_ahead = 5 * SECOND, EPOCH
        self.interrupt_ns = 0

    def now(self) -> int:
        self.run += 50
        return self.run

    def wall_ns(self) -> int:
        self.run += 50 + self.interrupt_ns
        self.interrupt_ns = 0
        return self.run + self.wall_ahead

    def pass_ns(self, ns: int) -> None:
        self.run += ns


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def kernel(clocks: Clocks) -> KernelTime:
    return KernelTime(clocks)


def received(clocks: Clocks, lag_ns: int) -> tuple[int, int]:
    """The wall time and run time at which bytes arrived, with `lag_ns` gone by since."""
    run = clocks.run
    stamp = run + clocks.wall_ahead
    clocks.pass_ns(lag_ns)
    return stamp, run


def test_a_kernel_stamp_lands_on_the_run_clock(clocks: Clocks, kernel: KernelTime) -> None:
    for lag in (1_000, 100_000, 900_000):
        stamp, run = received(clocks, lag)
        mapped = kernel.on_run_clock(stamp, clocks.run)
        assert mapped is not None
        assert abs(mapped - run) < 200


def test_a_long_lag_is_believed_when_the_clocks_agree(clocks: Clocks, kernel: KernelTime) -> None:
    stamp, run = received(clocks, 300 * MS)
    mapped = kernel.on_run_clock(stamp, clocks.run)
    assert mapped is not None
    assert abs(mapped - run) < 200


@pytest.mark.parametrize("jump", [-3600 * SECOND, -SECOND, -2 * MS, 2 * MS, SECOND, 3600 * SECOND])
def test_a_stamp_from_before_the_wall_clock_was_set_is_refused_and_the_next_is_right(
    clocks: Clocks, kernel: KernelTime, jump: int
) -> None:
    (early, run), (waiting, _) = received(clocks, 10_000), received(clocks, 10_000)
    clocks.wall_ahead += jump
    mapped = kernel.on_run_clock(early, clocks.run)  # nothing tells of the jump yet, and nothing is wrong yet
    assert mapped is not None
    assert abs(mapped - run) < 200
    assert kernel.on_run_clock(received(clocks, 10_000)[0], clocks.run) is None
    assert kernel.on_run_clock(waiting, clocks.run) is None
    stamp, run = received(clocks, 10_000)
    mapped = kernel.on_run_clock(stamp, clocks.run)
    assert mapped is not None
    assert abs(mapped - run) < 200


def test_a_small_jump_is_found_within_a_second(clocks: Clocks, kernel: KernelTime) -> None:
    clocks.wall_ahead += 300_000
    clocks.pass_ns(SECOND)
    stamp, _ = received(clocks, 400_000)
    assert kernel.on_run_clock(stamp, clocks.run) is None
    stamp, run = received(clocks, 400_000)
    mapped = kernel.on_run_clock(stamp, clocks.run)
    assert mapped is not None
    assert abs(mapped - run) < 200


def test_being_interrupted_between_the_two_clocks_is_no_jump(clocks: Clocks, kernel: KernelTime) -> None:
    stamp, run = received(clocks, 2 * MS)
    clocks.interrupt_ns = 10 * MS
    mapped = kernel.on_run_clock(stamp, clocks.run)
    assert mapped is not None
    assert abs(mapped - run) < 200


def test_no_stamp_lies_in_the_future(clocks: Clocks, kernel: KernelTime) -> None:
    assert kernel.on_run_clock(clocks.run + clocks.wall_ahead + 10 * MS, clocks.run) is None
    slightly = kernel.on_run_clock(clocks.run + clocks.wall_ahead + 10_000, clocks.run)
    assert slightly is not None
    assert slightly <= clocks.run


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps received bytes in the kernel")
def test_linux_stamps_with_the_number_and_form_that_this_module_knows() -> None:
    stamper = Stamper(Clock())
    pair = stamper._witness
    assert pair is not None, "this kernel does not stamp: results here will say stamp_source user"
    sender, receiver = pair
    sender.send(b"x")
    _, ancillary, _, _ = receiver.recvmsg(10, 64)
    assert [(level, kind, len(data)) for level, kind, data in ancillary] == [(socket.SOL_SOCKET, 35, 16)]
    seconds, nanoseconds = struct.unpack("@qq", ancillary[0][2])
    stamp = stamper.arrival(ancillary, stamper.clock.now())
    assert 0 <= stamper.clock.now() - stamp < SECOND
    assert 0 <= nanoseconds < SECOND < seconds
    stamper.close()


async def test_this_aiohttp_has_the_private_parts_that_kernel_stamps_build_on() -> None:
    """When it fails, a new aiohttp has moved them: stamps then fall back to user space until stamps.py follows."""
    loop = asyncio.get_running_loop()
    connector = Stamper(Clock()).connector()
    assert stamps.Stamper.hooks_fit(connector, loop)
    made = connector._factory()
    assert isinstance(made, stamps.StampedHandler)
    assert isinstance(made, ResponseHandler)
    await connector.close()
    overridden = ("connection_made", "set_response_params", "data_received", "resume_reading", "connection_lost")
    for name in overridden:
        assert name in {member for base in ResponseHandler.__mro__ for member in vars(base)}, name
    source = inspect.getsource(aiohttp.ClientSession._request)
    assert "set_response_params" in source, "a request's line is bound there, in its own task, before it is written"


async def test_requests_side_by_side_each_get_their_own_bytes_and_times() -> None:
    def script(request: object) -> list[bytes | float | object]:
        return [step for part in REPLY for step in (part, 0.001)]

    async with scripted(script) as server:
        client = open_client("direct", Connection(server.url, "m"), Clock())
        seen = [Observation() for _ in range(20)]
        await asyncio.gather(*(client.complete(ChatRequest([], [], 5, False), each) for each in seen))
        meter = client.meter()
        await client.close()
    assert {(each.content, len(each.stamps), each.failure) for each in seen} == {("Hello world", 2, None)}
    assert all(each.send_ns is not None and each.send_ns < each.stamps[0] <= each.stamps[1] for each in seen)
    assert meter.chunks == 40


async def test_a_send_is_when_the_socket_took_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    sends: list[int] = []
    clock = Clock()
    original: Callable[..., int] = socket.socket.send

    def send(self: socket.socket, *args: object) -> int:
        if isinstance(self, stamps.StampedSocket):
            sends.append(clock.now())
        return original(self, *args)

    monkeypatch.setattr(socket.socket, "send", send, raising=False)
    async with scripted(REPLY) as server:
        client = open_client("direct", Connection(server.url, "m"), clock)
        for _ in range(2):
            seen = Observation()
            before = clock.now()
            await client.complete(ChatRequest([], [], 5, False), seen)
            assert seen.send_ns is not None
            assert before < seen.send_ns <= sends[-1]
            assert sends[-1] - seen.send_ns < 1 * MS
        await client.close()
