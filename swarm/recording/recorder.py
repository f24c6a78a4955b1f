"""Records go in at one place and reach every sink: files, histograms, the live view."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NoReturn, Protocol, runtime_checkable

from swarm.recording.appender import RecordingError
from swarm.recording.records import Published


class Sink(Protocol):
    """Where records go."""

    def add(self, record: Published) -> None:
        """Takes a record. It runs between two chunks of a stream: microseconds only, the rest is put off."""

    def close(self) -> None:
        """Does what is left to do, and lets go of its file; raises RecordingError."""


@runtime_checkable
class BufferedSink(Sink, Protocol):
    """A sink that puts work off."""

    def flush(self) -> Iterable[None]:
        """The work that `add` put off, in steps of less than 0.5 ms; raises RecordingError."""


class Recorder:
    """Hands each record to all sinks, and lets them work off what they put aside without holding up the event loop."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def publish(self, record: Published) -> None:
        for sink in self._sinks:
            sink.add(record)

    async def run(self, every_s: float = 1.0) -> NoReturn:
        """Flushes once a second until cancelled.

        Raises RecordingError when a sink fails: whoever awaits this ends the stage, says so, and closes the recorder.
        """
        while True:
            await asyncio.sleep(every_s)
            await self.flush()

    async def flush(self) -> None:
        """One pass over the sinks that put work off, a step at a time; finished even if cancelled, or if one fails."""
        failures: list[RecordingError] = []
        for sink in self._sinks:
            if not isinstance(sink, BufferedSink):
                continue
            steps = iter(sink.flush())
            try:
                for _ in steps:
                    await asyncio.sleep(0)
            except RecordingError as failure:
                failures.append(failure)
            except asyncio.CancelledError:
                for _ in steps:
                    pass
                raise
        _raise(failures)

    def close(self) -> None:
        """Closes every sink, also after one of them failed. Raises RecordingError of all that failed."""
        failures: list[RecordingError] = []
        for sink in self._sinks:
            try:
                sink.close()
            except RecordingError as failure:
                failures.append(failure)
        _raise(failures)


def _raise(failures: list[RecordingError]) -> None:
    if failures:
        raise RecordingError("\n".join(str(failure) for failure in failures)) from failures[0]
