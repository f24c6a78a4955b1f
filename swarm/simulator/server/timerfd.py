"""A callback at an absolute time, as exactly as the operating system can: asyncio's own timers are whole milliseconds.

On Linux a timerfd wakes the event loop within some 50 us of its time; elsewhere `loop.call_at` has to do.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

_CLOCK_MONOTONIC = 1  # the clock of `loop.time()`
_TFD_NONBLOCK_CLOEXEC = 0o2004000
_TFD_TIMER_ABSTIME = 1


class _TimerSpec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """Calls `callback` once after each `set`; a later `set` replaces an earlier one. Times: `loop.time()` seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._fd: int | None = None
        # Only asyncio's own loop is known to run on the monotonic clock (others may run on a virtual one).
        if sys.platform == "linux" and type(loop) is asyncio.SelectorEventLoop:
            self._libc = ctypes.CDLL(None, use_errno=True)
            fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
            if fd >= 0:
                self._fd = fd
                self._spec = _TimerSpec()
                loop.add_reader(fd, self._fired)

    @property
    def exact(self) -> bool:
        return self._fd is not None

    def set(self, when: float) -> None:
        if self._fd is None:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_at(when, self._callback)
            return
        nanoseconds = max(1, round(when * 1e9))  # 0 would disarm it
        self._spec.value_s, self._spec.value_ns = divmod(nanoseconds, 1_000_000_000)
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _fired(self) -> None:
        assert self._fd is not None
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set anew between the wake-up and this call
        self._callback()
