"""Whole chunks go past aiohttp's parser: the body is the same however its bytes are cut into reads."""

import asyncio
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.client.stamps import Line, Read, StampedHandler, Stamper, unframed
from swarm.clock import Clock

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def framed(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


class NoSocket(asyncio.Transport):
    """What a handler asks of its transport, with no socket behind it."""

    family = -1

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def fileno(self) -> int:
        return -1

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool:
        return False


class Socket:
    """What is read from where there is a drain: the next of `reads`."""

    sent_ns = None
    received_ns = None

    def __init__(self) -> None:
        self.reads: list[bytes] = []

    def fileno(self) -> int:
        return 7

    def recvmsg(self, *_: int) -> tuple[bytes, list[Any], int, None]:
        return self.reads.pop(0), [], 0, None


class InNoHurry:
    """A drain that lets reads wait until it is told to flush."""

    def __init__(self) -> None:
        self.flushes: list[Callable[[], None]] = []
        self.added = self.removed = 0

    def add(self, descriptor: int, read: Callable[[], None]) -> None:
        self.added += 1

    def remove(self, descriptor: int) -> None:
        self.removed += 1

    def flush_soon(self, flush: Callable[[], None]) -> None:
        self.flushes.append(flush)


class Reply:
    """A response as `Line.deliver` takes it."""

    def __init__(self, content: aiohttp.StreamReader, headers: dict[str, str]) -> None:
        self.content = content
        self.headers = headers


async def deliver(reads: list[bytes], headers: dict[str, str], drain: InNoHurry | None = None) -> tuple[bytes, int]:
    """The body that arrives, and how many reads aiohttp's parser was given."""
    parsed = 0
    original = ResponseHandler.data_received

    def counting(self: Any, data: bytes) -> None:
        nonlocal parsed
        parsed += 1
        original(self, data)

    ResponseHandler.data_received = counting  # type: ignore[method-assign]
    try:
        stamper, sock = Stamper(Clock()), Socket()
        handler = StampedHandler(stamper, asyncio.get_running_loop())
        handler.connection_made(NoSocket())
        if drain:
            stamper.drain = drain  # type: ignore[assignment]
            handler._connected = sock  # type: ignore[assignment]
        line = Line(Clock())
        line.bind(handler)
        ResponseHandler.set_response_params(handler, read_until_eof=True)
        handler._line = line
        body, delivery = bytearray(), None

        def take(came: list[Read]) -> None:
            for data, *_ in came:
                body.extend(data)

        for number, read in enumerate(reads):
            if handler._drain:
                sock.reads.append(read)
                handler._read()
            else:
                handler.data_received(read)
            if drain and drain.flushes and number % 5 == 0:
                drain.flushes.pop()()
            if delivery is None and handler._payload is not None:
                reply = Reply(handler._payload, headers)
                delivery = asyncio.create_task(line.deliver(reply, take))  # type: ignore[arg-type]
                await asyncio.sleep(0)
        assert delivery is not None
        await asyncio.wait_for(delivery, 1)
        return bytes(body), parsed
    finally:
        ResponseHandler.data_received = original  # type: ignore[method-assign]


CHUNKED = {"Transfer-Encoding": "chunked"}


@given(
    st.lists(st.binary(min_size=1, max_size=12) | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])),
    st.lists(st.integers(0, 300), max_size=12),
)
@settings(max_examples=150, deadline=None)
def test_the_body_is_the_same_however_it_is_cut(parts: list[bytes], cuts: list[int]) -> None:
    whole = HEAD + framed(*parts) + END
    places = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    reads = [whole[begin:end] for begin, end in pairwise(places)]
    body, _ = asyncio.run(deliver(reads, CHUNKED))
    assert body == b"".join(parts)


EVENTS = st.lists(st.binary(min_size=1, max_size=6).map(lambda data: b"data: {" + data + b"}\n\n"), max_size=40)


@given(EVENTS, st.lists(st.integers(0, 2000), max_size=4))
@settings(max_examples=150, deadline=None)
def test_the_body_is_the_same_when_its_reads_wait(events: list[bytes], cuts: list[int]) -> None:
    pieces = [HEAD, *map(framed, events), END]
    ends = list(accumulate(map(len, pieces)))
    whole = b"".join(pieces)
    places = sorted({0, *ends, *(cut % len(whole) for cut in cuts)})
    reads = [whole[begin:end] for begin, end in pairwise(places)]
    drain = InNoHurry()
    body, _ = asyncio.run(deliver(reads, CHUNKED, drain))
    assert body == b"".join(events)
    assert drain.added == drain.removed, "and its transport reads again after its end"


async def test_a_stream_of_whole_events_is_drained_to_its_end() -> None:
    drain = InNoHurry()
    reads = [HEAD, *(framed(b"data: {%d}\n\n" % number) for number in range(100)), framed(b"data: [DONE]\n\n"), END]
    _, parsed = await deliver(reads, CHUNKED, drain)
    assert (drain.added, drain.removed, parsed) == (1, 1, 2)


async def test_whole_chunks_never_reach_the_parser() -> None:
    reads = [HEAD, framed(b"one"), framed(b"two", b"three"), END]
    assert await deliver(reads, CHUNKED) == (b"onetwothree", 2)


async def test_a_chunk_that_is_cut_goes_through_the_parser_and_so_does_all_after_it() -> None:
    cut = framed(b"two")
    reads = [HEAD, framed(b"one"), cut[:4], cut[4:], framed(b"three"), END]
    assert await deliver(reads, CHUNKED) == (b"onetwothree", 5)


async def test_a_body_that_is_not_chunked_but_looks_so_is_left_as_it_is() -> None:
    looks = framed(b"one")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(looks)
    assert await deliver([head, looks], {"Content-Length": str(len(looks))}) == (looks, 2)


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"3\r\none\r\n", b"one"),
        (b"3\r\none\r\n4\r\nfour\r\n", b"onefour"),
        (b"0A\r\n0123456789\r\n", b"0123456789"),
        (b"0\r\n\r\n", None),
        (b"3\r\none\r\n0\r\n\r\n", None),
        (b"3\r\none", None),
        (b"3\r\noneXX", None),
        (b"3;name=value\r\none\r\n", None),
        (b"0x3\r\none\r\n", None),
        (b"+3\r\none\r\n", None),
        (b"-1\r\none\r\n", None),
        (b"\r\n", None),
        (b"ffffffffffff\r\none\r\n", None),
    ],
)
def test_only_whole_chunks_are_taken_out_of_their_frames(data: bytes, content: bytes | None) -> None:
    assert unframed(data) == content
