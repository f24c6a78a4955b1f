"""A recording in a process of its own: making sense of a long prompt takes milliseconds, in which no token may wait."""

import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

from swarm.proxy.exchange import Exchange
from swarm.proxy.recording import Recording, Totals
from swarm.trace.format import TraceHeader, TraceWriter
from swarm.trace.redact import Redactor
from swarm.trace.secret_rules import Rule

_NICE = 10


class RecordingApart:
    """Hands exchanges over to a recording, in the order in which they come."""

    def __init__(self, path: Path, header: TraceHeader, rules: Sequence[Rule], secrets: Sequence[str]) -> None:
        """Opens a new trace; `secrets` are taken out wherever they stand. Raises RecordingError."""
        self.totals = Totals()
        """As of the last turn that was written."""
        self._bug: BaseException | None = None
        self._process = ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin)
        try:
            self._process.submit(_open, path, header, tuple(rules), tuple(secrets)).result()
        except BaseException:
            self._process.shutdown()
            raise

    def keep(self, exchange: Exchange) -> None:
        """Returns at once; `totals.stopped` says it when nothing is written any more."""
        try:
            self._process.submit(_take, exchange).add_done_callback(self._taken)
        except BrokenProcessPool:
            self._died()

    def close(self) -> None:
        """Waits for what has been kept. Raises RecordingError, and what was a bug of ours."""
        try:
            if self._bug is not None:
                raise self._bug
            self._process.submit(_close).result()
        except BrokenProcessPool:
            self._died()
        finally:
            self._process.shutdown()

    def _taken(self, future: "Future[Totals]") -> None:
        match future.exception():
            case None:
                self.totals = future.result()
            case BrokenProcessPool():
                self._died()
            case bug:
                self._bug = self._bug or bug
                self.totals = replace(self.totals, stopped=f"a bug of swarm's: {type(bug).__name__}: {bug}")

    def _died(self) -> None:
        self.totals = replace(self.totals, stopped="the process that writes it has died")


_recording: Recording


def _begin() -> None:
    """In the new process: signals are its parent's business, the CPU is the proxy's first, and they end together."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(0)


def _open(path: Path, header: TraceHeader, rules: tuple[Rule, ...], secrets: tuple[str, ...]) -> None:
    global _recording
    redactor = Redactor(rules)
    for secret in secrets:
        redactor.learn(secret)
    _recording = Recording(TraceWriter(path, header), redactor, header.content)


def _take(exchange: Exchange) -> Totals:
    return _recording.take(exchange)


def _close() -> None:
    _recording.close()
