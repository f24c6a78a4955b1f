"""When bytes really left and arrived: the one module that reaches into aiohttp's and asyncio's plumbing.

A stamp taken in Python measures Python: while one chunk is parsed, the next 31 wait in the socket and would all be
stamped late, which looks like contention of the server. So the kernel stamps arriving bytes (`SO_TIMESTAMPNS`), the
socket subclass here hands its stamps up, and a `ResponseHandler` subclass passes the body on, inside the read callback,
with the stamp of the read that brought it. One stamp covers all that one read brought. Once a stream runs, its socket
is read by the event loop itself (`swarm.client.eventloop`), its reads wait to be parsed together, for what is stamped
can wait, and those that bring whole chunks, nearly all of them, go past aiohttp's parser.

What is private in here: `TCPConnector._factory` and `ResponseHandler._payload`. When a new aiohttp moves them, or the
loop does not read through Python (uvloop), or the kernel does not stamp (macOS), stamps fall back to user space: the
time at which the bytes came into Python's hands. `Stamper.source` says which.
"""

import asyncio
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from swarm.client import eventloop
from swarm.clock import STAMP_TOLERANCE_NS, Clock

Ancillary = Sequence[tuple[int, int, bytes]]
"""Ancillary data of a read, as `socket.recvmsg` has it: there is room for a stamp alone."""

Read = tuple[bytes, int, int]
"""Body bytes, when they arrived (run time, ns) and how long they waited to be read (ns)."""

Sink = Callable[[list[Read]], None]
"""Takes reads in their order; must not raise."""

READ_BYTES = 64 << 10
"""asyncio asks for 256 KiB at once, which costs a fresh mapping of memory for each read: half of a chunk's CPU."""

_SO_TIMESTAMPNS = 35  # the same number names the option and its message, on every architecture Python is common on
_STAMP = (socket.SOL_SOCKET, _SO_TIMESTAMPNS)
_TIMESPEC = struct.Struct("@qq")
WAITING_READS = 32
"""Reads of a stream that are parsed together: once the interpreter is warm, one costs a fifth of one by itself."""

LARGE_BYTES = 4096
"""A read as large as this does not wait."""

WAITING_NS = 250_000_000
"""The longest that reads wait while others come: the live view counts the tokens of running streams."""

_WHOLE_EVENT = b"}\n\n\r\n"
_END = b"[DONE]"
"""How a read of a running stream ends, and what it does not hold. Any other may end the stream, and is looked at at
once."""

_CHUNK_HEAD = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")
_SIZES = {b"%x" % size: size for size in range(1, 2048)}
"""Sizes of nearly all chunks, by their heads."""
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)
_REFRESH_NS = 1_000_000_000
_SUSPICIOUS_NS = 1_000_000


class KernelTime:
    """Maps the kernel's stamps (CLOCK_REALTIME) onto the run's clock, and notices when the wall clock was set.

    Only a set clock moves the two against each other (both are slewed alike). So the offset is read again each second,
    and compared at once when a stamp lies in the future or over a millisecond back: one taken across a jump is refused.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._set_ns = -(1 << 62)  # when the wall clock was last found to have been set
        self._refresh()

    def on_run_clock(self, real_ns: int, read_ns: int) -> int | None:
        """The run time of a kernel stamp that was read at `read_ns`; None when the wall clock was set around it."""
        stamp = real_ns - self._offset_ns
        if self._set_ns <= stamp and read_ns < self._fresh_until_ns and 0 <= read_ns - stamp < _SUSPICIOUS_NS:
            return stamp
        if self._was_set():
            self._set_ns = self._clock.now()
            return None
        if stamp < self._set_ns:
            return None  # it waited, in its socket or here, while the wall clock was set
        stamp = real_ns - self._offset_ns
        return min(stamp, read_ns) if stamp <= read_ns + STAMP_TOLERANCE_NS else None

    def _was_set(self) -> bool:
        """Whether the wall clock was set since the last look; a quick comparison mostly answers it."""
        now = self._clock.now()
        apart = self._clock.wall_ns() - now
        if now < self._fresh_until_ns and abs(apart - self._offset_ns) <= STAMP_TOLERANCE_NS:
            return False
        before = self._offset_ns
        self._refresh()
        return abs(self._offset_ns - before) > STAMP_TOLERANCE_NS

    def _refresh(self) -> None:
        """Takes the tightest of a few readings, so that being interrupted between the two clocks does not count."""
        readings = []
        for _ in range(5):
            before = self._clock.now()
            real = self._clock.wall_ns()
            after = self._clock.now()
            readings.append((after - before, real - (before + after) // 2))
        self._offset_ns = min(readings)[1]
        self._fresh_until_ns = self._clock.now() + _REFRESH_NS


class StampedSocket(socket.socket):
    """A socket that knows when its last bytes arrived (`received_ns`) and when it first sent since it was asked."""

    received_ns: int | None = None
    sent_ns: int | None = None
    stamper: "Stamper"

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        data, ancillary, _, _ = self.recvmsg(min(bufsize, READ_BYTES), _ANCILLARY_BYTES, flags)
        if data:
            self.received_ns = self.stamper.arrival(ancillary, self.stamper.clock.now())
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer)[: min(nbytes or READ_BYTES, READ_BYTES)]
        count, ancillary, _, _ = self.recvmsg_into([view], _ANCILLARY_BYTES, flags)
        if count:
            self.received_ns = self.stamper.arrival(ancillary, self.stamper.clock.now())
        return count

    def send(self, data: Any, flags: int = 0) -> int:
        if self.sent_ns is None:
            self.sent_ns = self.stamper.clock.now()
        return super().send(data, flags)

    def sendmsg(self, buffers: Any, *args: Any) -> int:
        if self.sent_ns is None:
            self.sent_ns = self.stamper.clock.now()
        return super().sendmsg(buffers, *args)


class Line:
    """One request's side of its connection: when it was sent, and the way of its reply's body to a sink."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._handler: StampedHandler | None = None
        self._bound_ns: int | None = None
        self._sent_ns: int | None = None
        self._sink: Sink | None = None
        self._early: list[Read] = []  # what came before there was a sink
        self._taken = 0  # body bytes handed on
        self._draining = False
        self.skips_parser = False
        """Whole chunks of the body may be taken out of their frames here: there is a sink, and nothing to unpack."""
        self.lost: BaseException | None = None
        """The error that broke the connection, if one did."""

    @property
    def sent_ns(self) -> int | None:
        """First request byte handed to the socket, run time; None: not yet."""
        sent_ns = self._handler.sent_ns if self._handler is not None else None
        return self._sent_ns or sent_ns or self._bound_ns

    async def deliver(self, response: aiohttp.ClientResponse, sink: Sink) -> None:
        """Hands the whole body to `sink`, soon after it came; returns at its end and raises what broke it."""
        content = response.content
        if self._handler is None:  # the protocol is not ours
            async for data in content.iter_any():
                sink([(data, self._clock.now(), 0)])
            return
        self._sent_ns = self.sent_ns  # at the end of the body the connection may send another's request
        if self._early:
            sink(self._early)
            self._early = []
        self._sink = sink
        self.skips_parser = (
            response.headers.get("Transfer-Encoding") == "chunked" and "Content-Encoding" not in response.headers
        )
        broken = content.exception()
        if broken is not None:
            raise broken
        if self.skips_parser:
            self._handler.drain()
        try:
            await content.wait_eof()
        finally:
            self.flush()
            self._sink = None
        if self.lost is not None:  # a body that lasts as long as its connection ends in good order for aiohttp
            raise self.lost

    def flush(self) -> None:
        """Hands on what has come and still waits."""
        if self._handler is not None:
            self._handler.flush()

    def bind(self, handler: "StampedHandler") -> None:
        """The request is about to be written to this connection."""
        self._bound_ns = self._clock.now()
        self._handler = handler

    def take(self, reads: list[Read]) -> None:
        """Body bytes that went past aiohttp's parser."""
        if self._sink is not None:
            self._sink(reads)

    def arrived(self, content: aiohttp.StreamReader, stamp_ns: int, lag_ns: int) -> None:
        """Takes what a read has put into `content`. Draining may make it parse more, hence the loop and its guard.

        Until the head of the reply is whole, `content` is still that of the reply before, and empty.
        """
        if self._draining:
            return
        self._draining = True
        try:
            while content.total_bytes > self._taken and content.exception() is None:
                data = content.read_nowait()
                if not data:
                    return
                self._taken += len(data)
                if self._sink is None:
                    self._early.append((data, stamp_ns, lag_ns))
                else:
                    self._sink([(data, stamp_ns, lag_ns)])
        finally:
            self._draining = False


_line: ContextVar[Line | None] = ContextVar("swarm_line", default=None)


class StampedHandler(ResponseHandler):
    """aiohttp's protocol, passing each body on from within the read that brought it."""

    _line: Line | None = None
    _connected: StampedSocket | None = None
    _between_chunks = False
    """Where aiohttp's parser stands. It may be left there: whole chunks that it never sees are none to it."""
    _drain: "eventloop.Drain | None" = None
    """Who reads the socket, in the place of its transport."""
    _broken: Exception | None = None
    """The error of reading it, if there was one."""

    def __init__(self, stamper: "Stamper", loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._stamper = stamper
        self._waiting: list[tuple[bytes, Ancillary, int]] = []  # what was read, and when
        self._together = 1  # how many
        self._due = False  # their turn is coming

    @property
    def sent_ns(self) -> int | None:
        """First byte of the last request handed to the socket, run time; None: not yet, or not known."""
        return self._connected.sent_ns if self._connected else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connected = self._stamper.socket_of(transport)

    def set_response_params(self, **params: Any) -> None:
        """Called by aiohttp in the task of a request, just before it writes it."""
        self._line = _line.get()
        self._together = 1  # the first tokens show at once
        if self._connected is not None:
            self._connected.sent_ns = None
        if self._line is not None:
            self._line.bind(self)
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        self.flush()
        stamp = self._stamper.taken(self._connected)
        self._received([(data, stamp, self._stamper.clock.now() - stamp)])

    def _received(self, reads: Iterable[Read]) -> None:
        """Hands on what has been read, whole chunks without the parser, as many as there are together."""
        whole: list[Read] = []
        for data, stamp, lag in reads:
            line = self._line
            if self._between_chunks and line is not None and line.skips_parser and (body := unframed(data)) is not None:
                whole.append((body, stamp, lag))
                continue
            if whole and line is not None:
                line.take(whole)
                whole = []
            self._parse(data, stamp, lag)
        if whole and self._line is not None:
            self._line.take(whole)

    def _parse(self, data: bytes, stamp: int, lag: int) -> None:
        line = self._line
        if self._payload is None or self._payload.is_eof():  # the head of a reply is due
            _, ended, after = data.partition(b"\r\n\r\n")
            whole = data.startswith(b"HTTP/1.") and bool(ended)
            self._between_chunks = whole and (not after or unframed(after) is not None)
        else:
            self._between_chunks = self._between_chunks and unframed(data) is not None
        if not self._between_chunks:
            self._stop_draining()
        super().data_received(data)
        content = self._payload
        if line is not None and content is not None:
            line.arrived(content, stamp, lag)

    def drain(self) -> None:
        """The body's next reads are made by the drain, if there is one and the parser is where it can be left."""
        transport, drain = self.transport, self._stamper.drain
        if transport is None or drain is None or self._connected is None or self._reading_paused:
            return
        if self._between_chunks and transport.get_extra_info("sslcontext") is None:
            transport.pause_reading()
            drain.add(self._connected.fileno(), self._read)
            self._drain = drain

    def _stop_draining(self) -> None:
        """Gives the socket back to its transport, which reads its end too."""
        if self._drain is not None and self._connected is not None:
            self._drain.remove(self._connected.fileno())
            self._drain = None
            if self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    def _read(self) -> bool:
        """One read, as the drain asks for it: no more is done with it now than has to be."""
        connected, drain, waiting = self._connected, self._drain, self._waiting
        assert connected is not None
        assert drain is not None
        try:
            data, ancillary, _, _ = connected.recvmsg(READ_BYTES, _ANCILLARY_BYTES)
            now = self._stamper.clock.now()
            waiting.append((data, ancillary, now))
            waits = data.endswith(_WHOLE_EVENT) and _END not in data and len(data) <= LARGE_BYTES
            if not (waits and self._stamper.may_wait):
                self.flush()
                return True
            if not self._due and (len(waiting) >= self._together or now - waiting[0][2] > WAITING_NS):
                self._due = True
                drain.flush_soon(self._flush_in_turn)
        except (BlockingIOError, InterruptedError):
            pass
        except Exception as error:
            self._break(error)
            return True
        return False

    def _flush_in_turn(self) -> None:
        self._due = False
        self._together = min(2 * self._together, WAITING_READS)
        try:
            self.flush()
        except Exception as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        """As asyncio has it: what goes wrong in a read breaks its connection, and is told there."""
        self._stop_draining()
        self._broken = error
        if self.transport is not None:
            self.transport.abort()

    def flush(self) -> None:
        """Hands on the reads that wait."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            ended = not waiting[-1][0]
            self._received(self._stamper.stamped(waiting[:-1] if ended else waiting))
            if ended:
                self._stop_draining()  # its transport reads the end once more

    def resume_reading(self, *args: Any, **kwargs: Any) -> None:
        """Draining calls this each time, and aiohttp would run its parser each time."""
        if self._reading_paused:
            super().resume_reading(*args, **kwargs)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._drain is not None:
            self.flush()
            self._stop_draining()
        content, broken, exc = self._payload, self.exception(), exc or self._broken
        super().connection_lost(exc)
        if self._line is not None:
            self._line.lost = broken if isinstance(broken, HttpProcessingError) else exc
        # After bytes that are no HTTP, aiohttp 3.14 leaves whoever waits for the body waiting for ever.
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection was closed inside the body"))


def unframed(data: bytes) -> bytes | None:
    """The content of one or more whole chunks (RFC 9112, 7.1), none of them the last; None: something else."""
    first, _, rest = data.partition(b"\r\n")
    if _SIZES.get(first) == len(rest) - 2 and rest.endswith(b"\r\n"):
        return rest[:-2]  # nearly always: one
    place, parts = 0, []
    while place < len(data):
        head = _CHUNK_HEAD.match(data, place)
        if head is None:
            return None
        begin = head.end()
        end = begin + int(head[1], 16)
        if end == begin or data[end : end + 2] != b"\r\n":
            return None
        parts.append(data[begin:end])
        place = end + 2
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Stamper:
    """Makes connectors whose connections stamp, and keeps count of how."""

    def __init__(self, clock: Clock, may_wait: bool = True) -> None:
        """`may_wait`: reads of a running stream may be handed on later, with their stamps, as its sink only counts."""
        self.clock = clock
        self.may_wait = may_wait
        self._witness = _stamping_pair() if sys.platform == "linux" else None
        self._kernel_time = KernelTime(clock) if self._witness else None
        self._sockets: WeakValueDictionary[int, StampedSocket] = WeakValueDictionary()
        self.drain: eventloop.Drain | None = None
        self._can_stamp = False
        self._kernel_stamps = 0
        self._user_stamps = 0

    @property
    def source(self) -> Literal["kernel", "user"]:
        """Where stamps come from; a few that were refused because the wall clock was set do not count."""
        return "kernel" if self._can_stamp and 100 * self._user_stamps <= self._kernel_stamps else "user"

    def connector(self, **options: Any) -> aiohttp.TCPConnector:
        """An aiohttp connector whose connections stamp what they send and receive."""
        connector = aiohttp.TCPConnector(socket_factory=self._socket, **options)
        loop = asyncio.get_running_loop()
        if self.hooks_fit(connector, loop):
            connector._factory = partial(StampedHandler, self, loop)  # type: ignore[assignment]
            self._can_stamp = self._kernel_time is not None
            self.drain = eventloop.drain_of(loop) if self._can_stamp else None
        return connector

    @staticmethod
    def hooks_fit(connector: aiohttp.TCPConnector, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this aiohttp has the private parts that this module builds on."""
        handler = ResponseHandler(loop)
        return hasattr(connector, "_factory") and hasattr(handler, "_payload") and hasattr(handler, "_reading_paused")

    def close(self) -> None:
        """After this, the machine may stop stamping."""
        for each in self._witness or ():
            each.close()

    @contextmanager
    def line(self) -> Iterator[Line]:
        """The `Line` of the request that the body of the with statement makes."""
        line = Line(self.clock)
        token = _line.set(line)
        try:
            yield line
        finally:
            _line.reset(token)

    def socket_of(self, transport: asyncio.BaseTransport) -> StampedSocket | None:
        """The stamping socket under a transport, TLS or not."""
        return self._sockets.get(transport.get_extra_info("socket").fileno())

    def taken(self, connected: StampedSocket | None) -> int:
        """The run time at which the bytes just read arrived; the loop may have read them without asking the socket."""
        if connected is None or connected.received_ns is None:
            return self.arrival((), self.clock.now())
        return connected.received_ns

    def arrival(self, ancillary: Ancillary, read_ns: int) -> int:
        """When bytes that came with this arrived, run time; without a kernel's stamp to trust, when they were read."""
        return self.stamped([(b"", ancillary, read_ns)])[0][1]

    def stamped(self, reads: Iterable[tuple[bytes, Ancillary, int]]) -> list[Read]:
        """Bytes, what came with them, and the run times at which they were read: with when they arrived."""
        kernel_time, found = self._kernel_time, []
        for data, ancillary, read_ns in reads:
            stamp = None
            if kernel_time is not None and ancillary and ancillary[0][:2] == _STAMP:
                seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
                stamp = kernel_time.on_run_clock(seconds * 1_000_000_000 + nanoseconds, read_ns)
            if stamp is None:
                self._user_stamps += 1
                found.append((data, read_ns, 0))
            else:
                self._kernel_stamps += 1
                found.append((data, stamp, read_ns - stamp))
        return found

    def _socket(self, address: tuple[Any, ...]) -> StampedSocket:
        family, kind, protocol, _, _ = address
        made = StampedSocket(family, kind, protocol)
        made.stamper = self
        if self._kernel_time is not None:
            with suppress(OSError):
                made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sockets[made.fileno()] = made
        return made


def _stamping_pair() -> tuple[socket.socket, socket.socket] | None:
    """Two connected sockets that have been seen to stamp; None: this kernel does not.

    A machine begins to stamp some time after the first socket asks, and stops after the last one has gone; so they are
    kept for as long as stamps are wanted.
    """
    with suppress(OSError), socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        for _ in range(50):
            sender.send(b"?")
            if receiver.recvmsg(1, _ANCILLARY_BYTES)[1]:
                return sender, receiver
            time.sleep(0.001)
        sender.close()
        receiver.close()
    return None
