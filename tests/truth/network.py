"""A network in virtual time: bytes arrive when a test says, and carry the kernel's stamp of that moment.

The loop is the one that a run uses, with a drain; only what lies under a socket is made up here. What arrives while the
process is frozen waits in its socket, and comes with one read and one stamp, as from a kernel.
"""

import asyncio
import heapq
import json
import math
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from swarm.client.eventloop import DrainingLoop
from swarm.clock import VirtualClock

WALL_S = 1_760_000_000
CLOSE = ConnectionError("closed in good order")
"""In the place of bytes: the end of what a server sends (FIN)."""
RESET = ConnectionResetError(104, "Connection reset by peer")

Arrival = tuple[int, bytes | Exception]
"""Nanoseconds after the request, and what arrives then."""
Respond = Callable[[dict[str, Any], int], Sequence[Arrival]]
"""Takes a request's body and when it came; returns what the server answers."""


class NetworkLoop(DrainingLoop):
    """Its time stands still while anything can run, and then jumps to the next timer or arrival."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.respond: Respond = lambda body, at: [(0, RESET)]
        self.refusing = False
        """Nobody listens."""
        self._coming: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self.open: set[Connection] = set()
        self.drain = Drain(self)
        asyncio.SelectorEventLoop.__init__(self, self.drain)

    def time(self) -> float:
        return self.now_ns / 1e9

    def at(self, t_ns: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._coming, (t_ns, next(self._numbers), act))

    def freeze(self, t_ns: int, for_ns: int) -> None:
        """Stops the process at `t_ns`, as SIGSTOP does."""

        def stopped() -> None:
            self.now_ns += for_ns

        self.at(t_ns, stopped)

    def die(self, t_ns: int, for_ns: int) -> None:
        """Resets every connection of the server at `t_ns`, and lets nobody listen for a while."""

        def dies() -> None:
            self.refusing = True
            for connection in self.open:
                connection.reset()

        def is_back() -> None:
            self.refusing = False

        self.at(t_ns, dies)
        self.at(t_ns + for_ns, is_back)

    def next_at(self) -> float:
        return self._coming[0][0] if self._coming else math.inf

    def arrive(self) -> None:
        while self.next_at() <= self.now_ns:
            heapq.heappop(self._coming)[2]()

    async def sock_connect(self, sock: Any, address: Any) -> None:
        if self.refusing:
            raise ConnectionRefusedError(111, "Connection refused")

    async def create_connection(self, factory: Any, *_: Any, sock: Any, **__: Any) -> Any:
        protocol = factory()
        return Connection(self, sock, protocol), protocol


class Drain(selectors.EpollSelector):
    """Reads as `swarm.client.eventloop.Drain` does: sockets that are its own in one sweep, then one flush."""

    def __init__(self, loop: NetworkLoop) -> None:
        super().__init__()
        self._loop = loop
        self.reads: dict[int, Callable[[], bool]] = {}
        self._flushes: deque[Callable[[], None]] = deque()

    def add(self, descriptor: int, read: Callable[[], bool]) -> None:
        self.reads[descriptor] = read

    def remove(self, descriptor: int) -> None:
        del self.reads[descriptor]

    def flush_soon(self, flush: Callable[[], None]) -> None:
        self._flushes.append(flush)

    def select(self, timeout: float | None = None) -> list[Any]:
        loop = self._loop
        limit = math.inf if timeout is None else loop.now_ns + round(timeout * 1e9)
        while not self._sweep() and loop.now_ns < limit:
            due = loop.now_ns if any(one.readable for one in loop.open) else min(limit, loop.next_at())
            assert due < math.inf, "nothing will ever happen again"
            loop.now_ns = max(loop.now_ns, int(due))
            loop.arrive()
        return []

    def _sweep(self) -> bool:
        its_turn = False
        for connection in [one for one in self._loop.open if one.readable]:
            read = self.reads.get(connection.descriptor)
            if read is None:
                self._loop.call_soon(connection.read)
                its_turn = True
            elif read():
                its_turn = True
        if self._flushes:
            self._flushes.popleft()()
            its_turn = True
        return its_turn


class Connection(asyncio.Transport):
    """Both ends of one: what the client writes is answered by the loop's `respond`."""

    def __init__(self, loop: NetworkLoop, sock: Any, protocol: Any) -> None:
        super().__init__({"socket": sock, "peername": ("127.0.0.1", 80)})
        self._loop, self._sock, self._protocol = loop, sock, protocol
        self.descriptor = sock.fileno()
        sock.recvmsg = self._recvmsg
        self._came: deque[tuple[int, bytes]] = deque()
        self._end: Exception | None = None
        self._asked = b""
        self._paused = self._closing = False
        loop.open.add(self)
        protocol.connection_made(self)

    @property
    def readable(self) -> bool:
        mine = self.descriptor in self._loop.drain.reads
        return bool(self._came or self._end) and (mine or not (self._paused or self._closing))

    def read(self) -> None:
        """As asyncio's transport does, when its socket is readable."""
        if not self.readable or self.descriptor in self._loop.drain.reads:
            return
        try:
            data = self._sock.recv(256 << 10)
        except ConnectionError as error:
            self._lose(error)
            return
        if data:
            self._protocol.data_received(data)
        elif not self._protocol.eof_received():
            self.close()

    def _recvmsg(self, size: int, *_: int) -> tuple[bytes, list[Any], int, None]:
        if not self._came:
            if self._end is None:
                raise BlockingIOError
            if self._end is not CLOSE:
                raise self._end
            return b"", [], 0, None
        data, stamp = b"", 0
        while self._came and len(data) < size:
            stamp, part = self._came.popleft()
            if len(data) + len(part) > size:
                self._came.appendleft((stamp, part[size - len(data) :]))
                part = part[: size - len(data)]
            data += part
        seconds, rest = divmod(stamp + WALL_S * 1_000_000_000, 1_000_000_000)
        return data, [(socket.SOL_SOCKET, 35, struct.pack("@qq", seconds, rest))], 0, None

    def write(self, data: Any) -> None:
        now = self._loop.now_ns
        if self._sock.sent_ns is None:
            self._sock.sent_ns = now
        self._asked += bytes(data)
        head, whole, body = self._asked.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:")
        if whole and len(body) >= length:
            self._asked = b""
            for after_ns, what in self._loop.respond(json.loads(body), now):
                self._loop.at(now + after_ns, lambda at=now + after_ns, what=what: self._arrived(at, what))

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def _arrived(self, t_ns: int, what: bytes | Exception) -> None:
        if self._end is not None:
            return
        if isinstance(what, bytes):
            self._came.append((t_ns, what))
        else:
            self._end = what

    def reset(self) -> None:
        self._end = self._end or RESET

    def close(self) -> None:
        self._lose(None)

    def abort(self) -> None:
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._loop.open.discard(self)
            self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)
        self._sock.close()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None: ...


def clock() -> VirtualClock:
    return VirtualClock(WALL_S)
