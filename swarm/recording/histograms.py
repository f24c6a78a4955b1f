"""Distributions of every stage as an HdrHistogram interval log, one line per second and metric.

A value costs the load path nothing but a queue entry; once a second the queued values are counted by bucket, and each
metric's counts are encoded by the library, all in steps of less than 0.5 ms. Merging the lines of a tag is exact.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hdrh.histogram import HdrHistogram

from swarm.clock import Clock
from swarm.recording.appender import Appender
from swarm.recording.observations import observations
from swarm.recording.records import Attempt, Job, Published, Record, Stage, Tool, WindowEnd

LOWEST_NS, HIGHEST_NS, DIGITS = 1_000, 3_600_000_000_000, 3
COUNTED_PER_STEP = 200
"""Values put into buckets at once: about 0.3 ms."""
RECORDED_PER_STEP = 50
"""Buckets handed to the library at once: about 0.2 ms."""

_UNIT_BITS = LOWEST_NS.bit_length() - 1
_BUCKET_BITS = (2 * 10**DIGITS).bit_length()

StageKey = tuple[str, int, int]
"""Target, agents, trial."""


def new_histogram() -> HdrHistogram:
    return HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)


def release(histogram: HdrHistogram) -> None:
    """Frees its 190 KB at once: the library makes each histogram a cycle, which only the garbage collector undoes."""
    histogram.encoder = None


def bucket(value_ns: int) -> int:
    """The lowest value that the histograms cannot tell from `value_ns`: within 0.1%, or 0.5 us if that is more."""
    shift = _shift(value_ns)
    return value_ns >> shift << shift


def _shift(value_ns: int) -> int:
    shift = value_ns.bit_length() - _BUCKET_BITS
    return shift if shift > _UNIT_BITS else _UNIT_BITS


def middle_of(lowest_ns: int) -> int:
    """The middle value of the bucket that begins at `lowest_ns`: stands for its values in means."""
    return lowest_ns + (1 << _shift(lowest_ns)) // 2


def highest_of(lowest_ns: int) -> int:
    """The highest value of the bucket that begins at `lowest_ns`: what HdrHistogram reports as a percentile."""
    return lowest_ns + (1 << _shift(lowest_ns)) - 1


class Histograms:
    """A sink that keeps the distribution of each metric of each stage, of what ends in the stage's window.

    Values outside 1 us .. 1 h are counted in a comment, `#[OutOfRange: tag count]`, and never left out unseen.
    """

    def __init__(self, path: Path, clock: Clock, every_s: float = 0.0, part_bytes: int | None = None) -> None:
        """`every_s`: the shortest interval of the log; encoding its lines is what a short one costs."""
        self._file = Appender(path, part_bytes)
        self._clock = clock
        self._every_ns = round(every_s * 1e9)
        self._flushed_ns = clock.now()
        self._waiting: deque[Record] = deque()
        self._windows: dict[StageKey, tuple[int, int]] = {}
        self._counts: dict[StageKey, dict[str, dict[int, int]]] = {}
        """Counts of this interval: stage -> metric -> bucket -> count."""
        began = clock.wall() - clock.now() / 1e9
        for line in (
            "#[Histogram log format version 1.3]",
            f"#[StartTime: {began:.3f} (seconds since epoch), {datetime.fromtimestamp(began, UTC).isoformat()}]",
            f"#[BaseTime: {began:.3f} (seconds since epoch)]",
            '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
        ):
            self._file.add(line.encode())

    def add(self, record: Published) -> None:
        if isinstance(record, Stage):
            self._windows[_stage(record)] = (record.window_start_ns, record.window_end_ns)
        elif isinstance(record, WindowEnd):
            start, _ = self._windows[_stage(record)]
            self._windows[_stage(record)] = (start, record.t_ns)
        elif isinstance(record, Attempt | Job | Tool):
            self._waiting.append(record)

    def flush(self) -> Iterator[None]:
        yield from self._count()
        if self._clock.now() - self._flushed_ns >= self._every_ns:
            yield from self._encode()
        yield from self._file.flush()

    def close(self) -> None:
        for step in (self._count(), self._encode()):
            for _ in step:
                pass
        self._file.close()

    def _count(self) -> Iterator[None]:
        done = 0
        while self._waiting:
            record = self._waiting.popleft()
            stage = _stage(record)
            start, end = self._windows[stage]
            counts = self._counts.setdefault(stage, defaultdict(lambda: defaultdict(int)))
            for metric, value, end_ns in observations(record):
                if start <= end_ns < end:
                    counts[metric][bucket(value)] += 1
                done += 1
                if done % COUNTED_PER_STEP == 0:
                    yield

    def _encode(self) -> Iterator[None]:
        """A line of the log for each tag that has counts."""
        start, self._flushed_ns = self._flushed_ns, self._clock.now()
        interval = f"{start / 1e9:.3f},{(self._flushed_ns - start) / 1e9:.3f}"
        counted, self._counts = self._counts, {}
        for stage, metrics in counted.items():
            for metric, counts in metrics.items():
                yield from self._encode_line(":".join(map(str, (*stage, metric))), interval, counts)

    def _encode_line(self, tag: str, interval: str, counts: dict[int, int]) -> Iterator[None]:
        histogram = new_histogram()
        outside = 0
        for done, (value, count) in enumerate(counts.items(), 1):
            if not histogram.record_value(value, count):  # the library's way to say that it is out of range
                outside += count
            if done % RECORDED_PER_STEP == 0:
                yield
        yield
        if histogram.get_total_count():
            highest_ms = histogram.get_max_value() / 1e6
            self._file.add(f"Tag={tag},{interval},{highest_ms:.3f},{histogram.encode().decode()}".encode())
        if outside:
            self._file.add(f"#[OutOfRange: {tag} {outside}]".encode())
        release(histogram)
        yield


def _stage(record: Record) -> StageKey:
    return record.target, record.agents, record.trial
