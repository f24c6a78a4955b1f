"""Why a run ends before its plan: a signal, a spent budget, a lost server, a failed sink. The first reason wins."""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from swarm.errors import ExitCode
from swarm.recording.appender import RecordingError
from swarm.recording.recorder import Sink
from swarm.recording.records import SIGNALS, Attempt, Published
from swarm.scenario.units import format_duration


class Stop:
    """Set once, looked at everywhere."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.signalled = asyncio.Event()
        """Set by the first signal, whatever has stopped the run before it."""
        self.reason: str | None = None
        self.unreachable = False
        """Whether the reason is that a target could no longer be reached."""
        self.failure: RecordingError | None = None
        """The error because of which nothing can be written any more, if that is the reason."""

    def set(self, reason: str, *, unreachable: bool = False) -> None:
        if self.reason is None:
            self.reason, self.unreachable = reason, unreachable
            self._event.set()

    def fail(self, failure: RecordingError) -> None:
        if self.reason is None:
            self.failure = failure
        self.set(str(failure))

    async def wait(self) -> None:
        await self._event.wait()

    @property
    def by_signal(self) -> bool:
        return self.reason in SIGNALS


@contextmanager
def on_signals(stop: Stop) -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP stops, saves and reports; the second leaves at once, if it is no SIGHUP."""
    loop = asyncio.get_running_loop()

    def received(number: signal.Signals) -> None:
        if number.name == "SIGHUP":
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # a terminal that is gone says so twice, by the kernel and the shell
        elif stop.signalled.is_set():
            os._exit(ExitCode.INTERRUPTED)
        stop.signalled.set()
        stop.set(number.name)

    handled = _handled()
    for number in handled:
        with suppress(NotImplementedError):  # not on Windows
            loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in handled:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)


def _handled() -> list[signal.Signals]:
    """The signals that end a run: SIGHUP too, unless it is ignored, as `nohup` has it."""
    known = [number for number in signal.Signals if number.name in SIGNALS]
    return [number for number in known if number.name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def first_signal_kept() -> Iterator[None]:
    """For what is still to be written when the load is over: the first SIGINT or SIGTERM is let pass, as is every
    SIGHUP; the second acts as it would have without this."""
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in _handled()}

    def restore(*_: object) -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, signal.SIG_IGN if number.name == "SIGHUP" else restore)
    try:
        yield
    finally:
        restore()


class BudgetSink(Sink):
    """Counts what the run has used, and stops it when a budget is spent."""

    def __init__(
        self, stop: Stop, tokens: int | None, requests: int | None, used: Mapping[str, int] | None = None
    ) -> None:
        """`used`: tokens and requests that count already."""
        self._stop = stop
        self._limits = {"tokens": tokens, "requests": requests}
        self.used = {"tokens": 0, "requests": 0} | dict(used or {})

    def add(self, record: Published) -> None:
        if isinstance(record, Attempt):
            self.used["requests"] += 1
            self.used["tokens"] += (record.prompt_tokens or 0) + (record.completion_tokens or 0)
            for name, limit in self._limits.items():
                if limit is not None and self.used[name] >= limit:
                    self._stop.set(f"budget: {limit} {name} spent")

    def close(self) -> None: ...


class GiveUpSink(Sink):
    """Stops a run that has not got a connection for any of its requests for `after_s` seconds."""

    def __init__(self, stop: Stop, after_s: float) -> None:
        self._stop = stop
        self._after_s = after_s
        self._since_ns: int | None = None
        """When the first request was sent that found nobody, since one last did."""

    def add(self, record: Published) -> None:
        if not isinstance(record, Attempt) or record.aborted:
            return
        if record.error != "refused":
            self._since_ns = None
            return
        self._since_ns = record.t_ns if self._since_ns is None else self._since_ns
        if record.end_ns - self._since_ns >= self._after_s * 1e9:
            since = format_duration(self._after_s)
            reason = f"client.give_up: no request has reached {record.target} for {since}: {record.message}"
            self._stop.set(reason, unreachable=True)

    def close(self) -> None: ...
