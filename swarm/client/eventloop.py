"""An event loop that reads the sockets of running streams by itself, all that are ready in one sweep.

An engine sends a token to every stream at each step. Were each to go through asyncio, its handle, transport and
protocol would cost several times what receiving the bytes does, most of all where tokens come one by one. So such
sockets are read while the loop waits, and it goes on waiting until something concerns it.
"""

import asyncio
import select
import selectors
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

if sys.platform == "linux":  # as kernel stamps are

    class Drain(selectors.EpollSelector):
        """The loop's selector, which also reads our sockets, next to what the loop waits for."""

        def __init__(self) -> None:
            super().__init__()
            self._epoll = select.epoll()
            self._epoll.register(self.fileno(), select.EPOLLIN)
            self._flushes: deque[Callable[[], None]] = deque()
            self._reads: dict[int, Callable[[], bool]] = {}

        def add(self, descriptor: int, read: Callable[[], bool]) -> None:
            """From now on `read` is called whenever the socket has something; it must not raise.

            It tells whether the loop may have got something to do by it.
            """
            self._reads[descriptor] = read
            self._epoll.register(descriptor, select.EPOLLIN)

        def remove(self, descriptor: int) -> None:
            del self._reads[descriptor]
            self._epoll.unregister(descriptor)

        def flush_soon(self, flush: Callable[[], None]) -> None:
            """Calls `flush` when its turn has come: one after each sweep, so that none delays reading long."""
            self._flushes.append(flush)

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if not self._reads and not self._flushes:
                return super().select(timeout)
            until = None if timeout is None else time.monotonic() + timeout
            while not self._sweep(until):
                pass
            return super().select(0)

        def _sweep(self, until: float | None) -> bool:
            """Waits and reads; True when it is the loop's turn."""
            left = None if until is None else max(0.0, until - time.monotonic())
            its_turn = left == 0
            for descriptor, _ in self._epoll.poll(0 if self._flushes else left):
                read = self._reads.get(descriptor)  # None: the loop's, or one that a read before it has ended
                if read is None or read():
                    its_turn = True
            if self._flushes:
                self._flushes.popleft()()
                its_turn = True
            return its_turn

        def close(self) -> None:
            self._epoll.close()
            super().close()

    class DrainingLoop(asyncio.SelectorEventLoop):
        def __init__(self) -> None:
            self.drain = Drain()
            super().__init__(self.drain)


def new() -> asyncio.AbstractEventLoop:
    """A loop that drains where that can be."""
    return DrainingLoop() if sys.platform == "linux" else asyncio.new_event_loop()


def drain_of(loop: asyncio.AbstractEventLoop) -> "Drain | None":
    return loop.drain if sys.platform == "linux" and isinstance(loop, DrainingLoop) else None


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in such a loop."""
    with asyncio.Runner(loop_factory=new) as runner:
        return runner.run(main)
