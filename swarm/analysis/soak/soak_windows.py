"""A soak in windows (of a minute, if the scenario says nothing else): what happened in each, from one pass.

Memory grows by a row a window, not by a request: values are kept for the windows of the last twenty minutes alone.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from msgspec.structs import replace

from swarm.analysis.plan import SoakPlan
from swarm.analysis.stats.distribution import percentile
from swarm.analysis.trial.standstill import allowed_s
from swarm.analysis.window import Window, tokens_in
from swarm.catalogue import Number, gated
from swarm.recording.observations import is_complete
from swarm.recording.records import (
    FINISHED,
    AnyRecord,
    Attempt,
    ClientSample,
    ErrorKind,
    Job,
    ServerSample,
    Stage,
    StageEnd,
)
from swarm.results import SoakWindow

KEPT_NS = 1200 * 1_000_000_000
"""Longer than a request takes, which tells of its first token at its end."""
SILENCE_S, SILENCE_TIMES = 10.0, 10.0
"""A wait for the next token is a silence when it is longer than this and than so many times the usual longest one."""
STORM_SHARE = 0.2
"""Share of a window's requests: when more fail, its latencies are those of the survivors."""


@dataclass
class Segment:
    """Measurements of one process; a soak that never broke off is one segment."""

    began: Stage
    ended: StageEnd | None = None
    last_ns: int = 0
    """The end of the last thing on record."""

    def add(self, record: AnyRecord) -> None:
        """Any record of the segment but its first."""
        self.last_ns = max(self.last_ns, getattr(record, "end_ns", record.t_ns))
        if isinstance(record, StageEnd):
            self.ended = record

    @property
    def until_ns(self) -> int:
        """Where its part of the soak's window ends."""
        whole = self.ended is not None and self.ended.interrupted is None
        if whole:
            return self.began.window_end_ns
        # One that broke off in its warm-up measured nothing, and its hole begins where the one before it ends.
        return max(self.began.window_start_ns, min(self.began.window_end_ns, self.last_ns + 1))

    @property
    def measured_ns(self) -> int:
        return self.until_ns - self.began.window_start_ns


@dataclass
class ServerView:
    """A server's samples in one window."""

    kv_usage: float = 0.0
    kv_samples: int = 0
    preemptions: tuple[float, float] | None = None
    """The counter's first and last value."""
    resident_bytes: float | None = None
    started_at: set[float] = field(default_factory=set)

    def add(self, metrics: dict[str, float | None]) -> None:
        if (usage := metrics.get("kv_usage")) is not None:
            self.kv_usage += usage
            self.kv_samples += 1
        if (counter := metrics.get("preemptions")) is not None:
            self.preemptions = (self.preemptions[0] if self.preemptions else counter, counter)
        if (resident := metrics.get("resident_bytes")) is not None:
            self.resident_bytes = resident
        if (started := metrics.get("started_at")) is not None:
            self.started_at.add(started)


@dataclass
class Minute:
    """One window."""

    window: Window
    tokens: float = 0.0
    requests: int = 0
    errors: Counter[ErrorKind] = field(default_factory=Counter)
    longest_wait_ns: int = 0
    frozen_ns: Counter[int] = field(default_factory=Counter)
    """Shard -> how long it stood still."""
    rss_bytes: int | None = None
    """The highest, as of `open_files`."""
    open_files: int | None = None
    server: ServerView = field(default_factory=ServerView)
    values: dict[str, "array[int]"] = field(default_factory=lambda: defaultdict(lambda: array("q")))
    """Nanoseconds, of latencies and of the load generator's lag."""
    percentiles: dict[str, float | None] = field(default_factory=dict)
    """Seconds, once `values` are let go."""

    def settle(self) -> None:
        if self.percentiles:
            return
        ordered = {name: sorted(values) for name, values in self.values.items()}
        self.percentiles = {
            number.column: _seconds(ordered.get(number.metric.observation, []), float(number.stat[1:]))
            for number in _watched()
            if number.stat
        }
        self.percentiles["lag_s_p99"] = _seconds(ordered.get("lag", []), 99)
        self.values.clear()


def _watched() -> list[Number]:
    """The percentiles of latencies that gates go by."""
    return [number for number in gated() if number.metric.block == "latency"]


def _seconds(ascending: list[int], percent: float) -> float | None:
    value = percentile(ascending, percent)
    return None if value is None else value / 1e9


class Minutes:
    """Takes a soak's records in the order of its files, and then its server's samples."""

    def __init__(self, plan: SoakPlan) -> None:
        self.plan = plan
        self.segments: list[Segment] = []
        self._width_ns = round(plan.window_s * 1e9)
        self._minutes: list[dict[int, Minute]] = []
        """By segment: its minutes, by their number in it."""
        self._settled = 0

    @property
    def window(self) -> Window | None:
        """All that was measured, of all segments; None before the first."""
        if not self.segments:
            return None
        borders = [(segment.until_ns, after.began.window_start_ns) for segment, after in self._pairs()]
        return Window(self.segments[0].began.window_start_ns, self.segments[-1].began.window_end_ns, tuple(borders))

    def _pairs(self) -> Iterator[tuple[Segment, Segment]]:
        return zip(self.segments, self.segments[1:], strict=False)

    def add(self, record: AnyRecord) -> None:
        if isinstance(record, Stage):
            self.segments.append(Segment(record, last_ns=record.t_ns))
            self._minutes.append({})
            self._settled = 0
        if not self.segments:
            return
        self.segments[-1].add(record)
        end_ns = getattr(record, "end_ns", record.t_ns)
        match record:
            case Attempt():
                self._add_attempt(record)
            case Job() if record.outcome in FINISHED:
                self._observe("job", end_ns - record.t_ns, end_ns)
            case ClientSample():
                self._add_client(record)
        self._settle(end_ns - KEPT_NS)

    def add_sample(self, sample: ServerSample) -> None:
        for number, segment in enumerate(self.segments):
            if segment.began.window_start_ns <= sample.t_ns < segment.until_ns:
                minute = self._at(sample.t_ns, number)
                if minute is not None:
                    minute.server.add(sample.metrics)

    def _at(self, t_ns: int, segment: int = -1) -> Minute | None:
        """The window of a time; None outside of what the segment measures."""
        began = self.segments[segment].began
        if not began.window_start_ns <= t_ns < began.window_end_ns:
            return None
        return self._numbered((t_ns - began.window_start_ns) // self._width_ns, segment)

    def _numbered(self, number: int, segment: int) -> Minute:
        began, minutes = self.segments[segment].began, self._minutes[segment]
        if number not in minutes:
            start = began.window_start_ns + number * self._width_ns
            minutes[number] = Minute(Window(start, min(start + self._width_ns, began.window_end_ns)))
        return minutes[number]

    def _add_attempt(self, attempt: Attempt) -> None:
        began = self.segments[-1].began
        for touched in self._over(max(attempt.t_ns, began.window_start_ns), attempt.end_ns):
            touched.tokens += tokens_in(attempt, touched.window) or 0
        if minute := self._at(attempt.end_ns):
            minute.requests += is_complete(attempt)
            if attempt.error:
                minute.errors[attempt.error] += 1
        first, last, chunks = attempt.first_token_ns, attempt.last_token_ns, attempt.chunks
        if first is None or last is None:
            return
        self._observe("ttft", first - attempt.t_ns, first)
        if chunks and (minute := self._at(first)) is not None and minute.window.holds(last):
            minute.values["itl"].extend(chunks[1:])  # nearly always, and 20 times as fast as one by one
            self._waited(max(chunks[1:], default=0), last)
        elif chunks:
            at = attempt.t_ns + chunks[0]
            for gap in chunks[1:]:
                at += gap
                self._observe("itl", gap, at)

    def _over(self, start_ns: int, end_ns: int) -> Iterator[Minute]:
        """The windows of a stretch of time that begins in the segment's window."""
        while start_ns <= end_ns and (minute := self._at(start_ns)) is not None:
            yield minute
            start_ns = minute.window.stop_ns

    def _observe(self, metric: str, value_ns: int, end_ns: int) -> None:
        if minute := self._at(end_ns):
            minute.values[metric].append(value_ns)
            if metric != "job":
                self._waited(value_ns, end_ns)

    def _waited(self, wait_ns: int, end_ns: int) -> None:
        """A wait for a token is told of in every window that a long one touches."""
        start = end_ns if wait_ns < SILENCE_S * 1e9 else max(self.segments[-1].began.window_start_ns, end_ns - wait_ns)
        for minute in self._over(start, end_ns):
            minute.longest_wait_ns = max(minute.longest_wait_ns, wait_ns)

    def _add_client(self, sample: ClientSample) -> None:
        if minute := self._at(sample.end_ns):
            minute.values["lag"].extend(sample.lag_ns)
            minute.rss_bytes = max(minute.rss_bytes or 0, sample.rss_bytes or 0) or None
            minute.open_files = max(minute.open_files or 0, sample.open_files or 0) or None
        for since, until, slept in sample.frozen:
            for touched in self._over(max(since, self.segments[-1].began.window_start_ns), until):
                touched.frozen_ns[sample.shard] += touched.window.overlap(since, until) + slept * touched.window.holds(
                    until
                )

    def _settle(self, before_ns: int) -> None:
        minutes = self._minutes[-1]
        while (minute := minutes.get(self._settled)) and minute.window.stop_ns <= before_ns:
            minute.settle()
            self._settled += 1

    def rows(self, max_lag_s: float) -> list[SoakWindow]:
        """A row per window, in the order of time; one that broke off and was measured again is there twice."""
        rows = []
        for segment_number, segment in enumerate(self.segments):
            first = segment.began.done_ns // self._width_ns
            before: Minute | None = None
            for number in range(-(-segment.measured_ns // self._width_ns)):
                minute = self._numbered(number, segment_number)
                rows.append(self._row(first + number, minute, before, segment))
                before = minute
        usual_wait_s = median(row.longest_wait_s for row in rows) if rows else 0.0
        return [replace(row, disturbed=_disturbed(row, usual_wait_s, max_lag_s)) for row in rows]

    def _row(self, number: int, minute: Minute, before: Minute | None, segment: Segment) -> SoakWindow:
        minute.settle()
        stop_ns = min(minute.window.stop_ns, segment.until_ns)
        seconds = (stop_ns - minute.window.start_ns) / 1e9
        failed = minute.errors.total()
        ended, server = minute.requests + failed, minute.server
        counters = None if server.preemptions is None else list(server.preemptions)
        restarted = len(server.started_at) > 1
        if before and before.server.preemptions and counters:
            counters[0] = before.server.preemptions[1]
            restarted = restarted or before.server.started_at.isdisjoint(server.started_at)
        levels = self.plan.levels
        return SoakWindow(
            number=number,
            t_s=minute.window.start_ns / 1e9,
            agents=levels[min(number, len(levels) - 1)],
            whole=stop_ns - minute.window.start_ns == self._width_ns,
            output_tokens_per_s=minute.tokens / seconds if seconds else None,
            requests=minute.requests,
            errors=dict(sorted(minute.errors.items())),
            error_share=failed / ended if ended else None,
            **minute.percentiles,
            longest_wait_s=minute.longest_wait_ns / 1e9,
            kv_usage=server.kv_usage / server.kv_samples if server.kv_samples else None,
            preemptions=max(0.0, counters[1] - counters[0]) if counters and not restarted else None,
            client_rss_bytes=minute.rss_bytes,
            client_open_files=minute.open_files,
            server_rss_bytes=server.resident_bytes,
            disturbed="the server restarted" if restarted else _stood_still(minute, seconds),
        )


def _stood_still(minute: Minute, seconds: float) -> str | None:
    lost = max(minute.frozen_ns.values(), default=0) / 1e9
    return f"the load generator stood still for {lost:.3g} s" if lost > allowed_s(seconds) else None


def _disturbed(row: SoakWindow, usual_wait_s: float, max_lag_s: float) -> str | None:
    """The event that a window's numbers are about instead of the load; None: there was none."""
    lag, share, wait = row.lag_s_p99, row.error_share, row.longest_wait_s
    if row.disturbed:
        return row.disturbed
    if not row.whole:
        return "cut short"
    if wait > max(SILENCE_S, SILENCE_TIMES * usual_wait_s):
        return f"silence of {wait:.1f} s"
    if share is not None and share > STORM_SHARE:
        return f"{share * 100:.0f}% of the requests failed"
    if not row.requests:
        return "nothing was answered"
    if lag is not None and lag > max_lag_s:
        return f"the load generator was {lag * 1000:.0f} ms late (p99)"
    return None
