"""Reads the sockets of running streams in sweeps: all that are ready in one callback of the event loop, not one each.

An engine sends a token to every stream at each step, so that dozens of sockets become ready at once. A callback of
asyncio, its transport and its protocol for each of them costs more than receiving the bytes.
"""

import asyncio
import select
from collections import deque
from collections.abc import Callable


class Drain:
    """An epoll of its own, itself watched by the event loop. Linux only, as kernel stamps are."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._flushes: deque[Callable[[], None]] = deque()
        self._reads: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._sweep)

    def add(self, descriptor: int, read: Callable[[], None]) -> None:
        """From now on `read` is called whenever the socket has something; it must not raise."""
        self._reads[descriptor] = read
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        del self._reads[descriptor]
        self._epoll.unregister(descriptor)

    def flush_soon(self, flush: Callable[[], None]) -> None:
        """Calls `flush` when its turn has come: one of them between two sweeps, so that none delays reading long."""
        self._flushes.append(flush)
        if len(self._flushes) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushes.popleft()()
        if self._flushes:
            self._loop.call_soon(self._flush)

    def _sweep(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            if read := self._reads.get(descriptor):  # one that was read before it may have ended this one
                read()

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
