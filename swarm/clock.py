"""One time line for a run: integer nanoseconds since the run began, never wall-clock time.

Everything that takes a time takes it from a `Clock`, so that a run in virtual time differs in nothing but the clock
and the event loop that it is given.
"""

import asyncio
import time

STAMP_TOLERANCE_NS = 50_000
"""How far a kernel's stamp may be off on this time line: the wall clock that it was read from may have been set by less
without being noticed."""


class Clock:
    """The real time line; its origin is a reading of `time.perf_counter_ns()`."""

    def __init__(self, origin_ns: int | None = None) -> None:
        self.origin_ns = time.perf_counter_ns() if origin_ns is None else origin_ns

    @classmethod
    def going_on(cls, t_ns: int) -> "Clock":
        """A time line that another process began, at `t_ns` of it."""
        return cls(time.perf_counter_ns() - t_ns)

    def now(self) -> int:
        """Nanoseconds since the run began."""
        return time.perf_counter_ns() - self.origin_ns

    def wall(self) -> float:
        """Seconds since the epoch: a label, never a duration."""
        return time.time()

    def slept(self) -> int:
        """How far a clock that goes on while the machine is suspended is ahead of this one: nanoseconds, of which only
        the growth means anything. Where a system has none the wall clock stands in, and setting that looks the same."""
        boottime = getattr(time, "CLOCK_BOOTTIME", None)  # Linux's
        going_on = time.time_ns() if boottime is None else time.clock_gettime_ns(boottime)
        return going_on - time.perf_counter_ns()

    def wall_ns(self) -> int:
        """The wall clock that the kernel stamps with, in nanoseconds since the epoch."""
        return time.clock_gettime_ns(time.CLOCK_REALTIME)

    async def sleep_until(self, t_ns: int) -> None:
        """Returns at `t_ns` or as soon after it as the event loop allows; at once when it has passed."""
        await asyncio.sleep(max(0, t_ns - self.now()) / 1e9)


class VirtualClock(Clock):
    """The time of a virtual-time event loop (such as `async_solipsism.EventLoop`), in which sleeping takes no time."""

    def __init__(self, wall_s: float = 0.0) -> None:
        super().__init__(origin_ns=0)
        self._wall_s = wall_s

    def now(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    def wall(self) -> float:
        return self._wall_s + self.now() / 1e9

    def wall_ns(self) -> int:
        return round(self._wall_s * 1e9) + self.now()
