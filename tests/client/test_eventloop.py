"""The loop of a run reads running streams by itself, and forgets nothing else meanwhile."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from swarm.client import eventloop

pytestmark = [pytest.mark.realtime, pytest.mark.skipif(sys.platform != "linux", reason="only Linux drains")]

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(4)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


async def test_the_loop_sleeps_on_while_streams_are_read_that_do_not_concern_it(pairs: list[Pair]) -> None:
    drain = eventloop.drain_of(asyncio.get_running_loop())
    assert drain is not None
    (near, far), got = pairs[0], bytearray()
    enough = asyncio.Event()

    def read() -> bool:
        got.extend(near.recv(1))
        if len(got) == 100:
            enough.set()
        return len(got) == 100

    drain.add(near.fileno(), read)
    original, returned = drain.select, 0

    def counting(timeout: float | None = None) -> object:
        nonlocal returned
        returned += 1
        return original(timeout)

    drain.select = counting  # type: ignore[method-assign, assignment]
    far.send(bytes(100))
    await asyncio.wait_for(enough.wait(), 5)
    drain.remove(near.fileno())
    assert len(got) == 100
    assert returned < 10, "it did not wake for each"


async def test_timers_are_kept_while_streams_never_rest(pairs: list[Pair]) -> None:
    loop = asyncio.get_running_loop()
    drain = eventloop.drain_of(loop)
    assert drain is not None
    near, far = pairs[0]
    far.send(b"!")
    drain.add(near.fileno(), lambda: False)  # is never read, so always ready
    began = loop.time()
    await asyncio.sleep(0.05)
    late = loop.time() - began - 0.05
    drain.remove(near.fileno())
    assert 0 <= late < 5


async def test_other_sockets_threads_and_tasks_wake_the_loop(pairs: list[Pair]) -> None:
    loop = asyncio.get_running_loop()
    drain = eventloop.drain_of(loop)
    assert drain is not None
    (quiet, _), (near, far) = pairs[0], pairs[1]
    near.setblocking(False)
    drain.add(quiet.fileno(), lambda: False)
    woken = asyncio.Event()
    threading.Thread(target=lambda: loop.call_soon_threadsafe(woken.set)).start()
    await asyncio.wait_for(woken.wait(), 5)
    asyncio.get_running_loop().call_later(0.01, far.send, b"hello")
    assert await asyncio.wait_for(loop.sock_recv(near, 9), 5) == b"hello"
    drain.remove(quiet.fileno())


async def test_one_flush_has_its_turn_after_each_sweep(pairs: list[Pair]) -> None:
    drain = eventloop.drain_of(asyncio.get_running_loop())
    assert drain is not None
    order, done = [], asyncio.Event()

    def reader(number: int, near: socket.socket) -> bool:
        near.recv(1)
        order.append(f"read {number}")
        drain.flush_soon(lambda: flush(number))
        return False

    def flush(number: int) -> None:
        order.append(f"flush {number}")
        if number == 0 and len(order) < 8:
            pairs[3][1].send(b"!")
        if sum(each.startswith("flush") for each in order) == 4:
            done.set()

    for number, (near, _) in enumerate(pairs):
        drain.add(near.fileno(), lambda number=number, near=near: reader(number, near))  # type: ignore[misc]
    for _, far in pairs[:3]:
        far.send(b"!")
    await asyncio.wait_for(done.wait(), 5)
    for near, _ in pairs:
        drain.remove(near.fileno())
    assert order == ["read 0", "read 1", "read 2", "flush 0", "read 3", "flush 1", "flush 2", "flush 3"]


async def test_a_read_may_end_another_stream_of_the_same_sweep(pairs: list[Pair]) -> None:
    drain = eventloop.drain_of(asyncio.get_running_loop())
    assert drain is not None
    reads = []

    def read(number: int) -> bool:
        reads.append(number)
        for near, _ in pairs:
            with suppress(KeyError):
                drain.remove(near.fileno())
        return True

    for number, (near, _) in enumerate(pairs):
        drain.add(near.fileno(), lambda number=number: read(number))  # type: ignore[misc]
    for _, far in pairs:
        far.send(b"!")
    await asyncio.sleep(0.01)
    assert reads == [0]


def test_it_runs_what_asyncio_runs_and_leaves_nothing_open() -> None:
    async def main() -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
        return await process.wait()

    assert eventloop.run(main()) == 7
    with pytest.raises(ZeroDivisionError):
        eventloop.run(_fails())


def test_other_systems_import_what_only_linux_has_and_run_in_asyncios_loop() -> None:
    elsewhere = """
import asyncio, aiohttp, sys
sys.platform = "darwin"
from swarm.client import eventloop, stamps, wire
async def main():
    return eventloop.drain_of(asyncio.get_running_loop()), 7
print(eventloop.run(main()), hasattr(eventloop, "Drain"))
"""
    done = subprocess.run([sys.executable, "-c", elsewhere], capture_output=True, text=True, check=True)
    assert done.stdout == "(None, 7) False\n"


async def _fails() -> None:
    raise ZeroDivisionError
