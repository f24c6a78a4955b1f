"""One recorder, many sinks: every record reaches all of them, and no failure is silent."""

import asyncio
from collections.abc import Iterator

import pytest
from synthetic import Run

from swarm.errors import ExitCode
from swarm.recording.appender import RecordingError
from swarm.recording.recorder import Recorder
from swarm.recording.records import Published


class Plain:
    """A sink of two methods."""

    def __init__(self) -> None:
        self.got: list[Published] = []
        self.closed = 0

    def add(self, record: Published) -> None:
        self.got.append(record)

    def close(self) -> None:
        self.closed += 1


class Buffered(Plain):
    """A sink that works records off one a step."""

    def __init__(self, failing: str | None = None) -> None:
        super().__init__()
        self.worked = 0
        self.failing = failing

    def flush(self) -> Iterator[None]:
        while self.worked < len(self.got):
            if self.failing:
                raise RecordingError(self.failing)
            self.worked += 1
            yield

    def close(self) -> None:
        super().close()
        if self.failing:
            raise RecordingError(self.failing)


def some(count: int) -> list[Published]:
    stage = Run().stage()
    return [stage.attempt(second) for second in range(count)]


def test_every_record_reaches_every_sink_in_order() -> None:
    sinks, records = [Plain(), Buffered()], some(3)
    recorder = Recorder(sinks)
    for record in records:
        recorder.publish(record)
    assert [sink.got for sink in sinks] == [records, records]


async def test_a_flush_lets_the_event_loop_turn_between_its_steps() -> None:
    sink, seen = Buffered(), []
    recorder = Recorder([Plain(), sink])
    for record in some(5):
        recorder.publish(record)

    async def beside() -> None:
        while sink.worked < 5:
            seen.append(sink.worked)
            await asyncio.sleep(0)

    await asyncio.gather(recorder.flush(), beside())
    assert seen == [1, 2, 3, 4]


async def test_a_failing_sink_is_told_and_the_others_are_flushed_all_the_same() -> None:
    bad, good = Buffered(failing="events.jsonl: disk full"), Buffered()
    recorder = Recorder([bad, good])
    for record in some(2):
        recorder.publish(record)
    with pytest.raises(RecordingError, match=r"events\.jsonl: disk full") as error:
        await recorder.flush()
    assert error.value.exit_code is ExitCode.INVALID
    assert good.worked == 2


async def test_running_ends_with_the_failure_of_a_sink() -> None:
    recorder = Recorder([Buffered(failing="gone")])
    recorder.publish(some(1)[0])
    with pytest.raises(RecordingError, match="gone"):
        await asyncio.wait_for(recorder.run(every_s=0), timeout=5)


async def test_cancelling_the_recorder_finishes_the_pass_that_it_is_in() -> None:
    sink = Buffered()
    recorder = Recorder([sink])
    for record in some(100):
        recorder.publish(record)
    running = asyncio.create_task(recorder.run(every_s=0))
    for _ in range(5):
        await asyncio.sleep(0)
    assert 0 < sink.worked < 100
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sink.worked == 100


def test_closing_closes_all_sinks_and_then_tells_what_failed() -> None:
    sinks = [Buffered(failing="first"), Plain(), Buffered(failing="second")]
    with pytest.raises(RecordingError, match="first\nsecond"):
        Recorder(sinks).close()
    assert [sink.closed for sink in sinks] == [1, 1, 1]
