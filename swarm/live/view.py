"""The live view: what every agent is doing, twice a second on a terminal, a line now and then elsewhere.

Drawn with plain escape sequences: a frame must cost the event loop a fraction of a millisecond, and one of
rich.Live costs 16.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from swarm import text
from swarm.clock import Clock
from swarm.recording.recorder import Sink
from swarm.recording.records import AgentEnd, Attempt, ClientSample, Published, ShardLost, Stage
from swarm.recording.redaction import one_line, shown, styled
from swarm.recording.status import AgentStatus
from swarm.recording.timing import TimingError

FRAME_S = 0.5
BAR = 30
"""Characters of the progress bar."""
PLAIN_S = 10.0
_PART_ENDS = re.compile(r"(?<=\S)(?:, |  )")
_COLOURS = {"prefill": "35", "decode": "36", "tool": "33", "back-off": "31", "crashed": "31;1"}


@dataclass(slots=True)
class StageView:
    """The stage on show. Times are on the run's clock, in nanoseconds."""

    label: str
    number: int
    count: int
    window_start_ns: int
    window_end_ns: int
    statuses: Sequence[AgentStatus]
    later_s: float
    """Load that is planned after this stage, in seconds."""
    requests: int = 0
    errors: int = 0
    clients: dict[int, ClientSample] = field(default_factory=dict)
    """The load generator's last look at itself, of each shard."""


class LiveView(Sink):
    """A sink of records and a drawer of frames; `draw` is called by whoever has the event loop."""

    def __init__(self, out: TextIO, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._terminal = out.isatty()
        self._colour = self._terminal and "NO_COLOR" not in os.environ
        self._drawn = 0
        self._next_plain_ns = 0
        self._began_ns: int | None = None
        """When the first stage came on show: servers and libraries start before it."""
        self._stage: StageView | None = None

    @property
    def period_s(self) -> float:
        return FRAME_S if self._terminal else 1.0

    def begin(self, stage: StageView) -> None:
        self._stage = stage
        self._next_plain_ns = 0
        if self._began_ns is None:
            self._began_ns = self._clock.now()

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self._erase()
        self._out.write(shown(line) + "\n")
        self._out.flush()

    def add(self, record: Published) -> None:
        stage = self._stage
        if stage is None:
            return
        if isinstance(record, Stage):  # which may have waited for other shards, or for the server
            stage.window_start_ns, stage.window_end_ns = record.window_start_ns, record.window_end_ns
        elif isinstance(record, Attempt):
            stage.requests += 1
            stage.errors += record.error is not None
        elif isinstance(record, ClientSample):
            stage.clients[record.shard] = record
        elif isinstance(record, ShardLost):
            agents = f"{len(record.numbers)} agent{'s' * (len(record.numbers) != 1)}"
            self.say(f"{record.name} was lost with {agents}: {record.reason}")
        elif isinstance(record, AgentEnd) and record.crash:
            self.say(f"agent {record.agent} crashed: {one_line(record.crash)}")

    def draw(self) -> None:
        if self._stage is None:
            return
        now = self._clock.now()
        if self._terminal:
            size = shutil.get_terminal_size()
            lines = [
                _fitting(shown(line), size.columns - 1)
                for line in _frame(self._stage, now, size.lines, self._progress(now))
            ]
            self._erase()
            styled(self._out, "\n".join(map(_coloured, lines) if self._colour else lines) + "\n")
            self._drawn = len(lines)
        elif now >= self._next_plain_ns:
            self._next_plain_ns = now + round(PLAIN_S * 1e9)
            parts = [_headline(self._stage, now), self._progress(now)[1], _totals(self._stage)]
            parts += _itself(self._stage)
            self._out.write(shown("  ".join(parts)) + "\n")
        self._out.flush()

    def _progress(self, now: int) -> tuple[float, str]:
        """The share of the run's load that is over, and that in words, with the time left."""
        assert self._stage is not None
        assert self._began_ns is not None
        gone_s = max(0, now - self._began_ns) / 1e9
        left_s = max(0, self._stage.window_end_ns - now) / 1e9 + self._stage.later_s
        share = gone_s / max(1e-9, gone_s + left_s)
        return share, f"{share:.0%} of the run, {text.left(left_s)} left"

    def close(self) -> None:
        self._erase()
        self._out.flush()
        self._stage = None

    def _erase(self) -> None:
        if self._drawn:
            styled(self._out, f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0


def _frame(stage: StageView, now: int, height: int, progress: tuple[float, str]) -> list[str]:
    rows = [_row(status) for status in stage.statuses]
    room = max(1, height - 6)
    if len(rows) > room:
        rows = [*rows[: room - 1], f"  ... and {len(rows) - room + 1} more agents"]
    head = "  agent  state     turn   tok/s  context  jobs  task"
    share, told = progress
    ends = (f"  {line}" for line in (_totals(stage), *_itself(stage)))
    return [_headline(stage, now), f"{_bar(share)} {told}", head, *rows, *ends]


def _row(status: AgentStatus) -> str:
    shown = status.state if status.state != "model" else "decode" if status.stream else "prefill"
    doing = f"{status.task}  {status.tool if status.state == 'tool' else ''}".rstrip()
    rate = _output_rate(status)
    return (
        f"  {status.agent:>5}  {shown:<8}  {status.turn:>4}  {'-' if rate is None else f'{rate:.1f}':>6}"
        f"  {status.context_tokens:>7}  {status.jobs:>4}  {doing}"
    )


def _fitting(line: str, width: int) -> str:
    """As much of a line as there is room for, without the parts that would be cut: they end at ", " or a gap."""
    if len(line) <= width:
        return line
    ends = [end.start() for end in _PART_ENDS.finditer(line) if end.start() <= width]
    return line[: ends[-1] if ends else width]


def _coloured(line: str) -> str:
    for state, colour in _COLOURS.items():
        if f"  {state} " in line[:20]:
            return line.replace(state, f"\x1b[{colour}m{state}\x1b[0m", 1)
    return line


def _headline(stage: StageView, now: int) -> str:
    if now < stage.window_start_ns:
        phase, rest = "warm-up", stage.window_start_ns - now
    elif now < stage.window_end_ns:
        phase, rest = "measuring", stage.window_end_ns - now
    else:
        phase, rest = "finishing", 0
    return f"stage {stage.number}/{stage.count}  {stage.label}  {phase}, {text.left(rest / 1e9)} left"


def _bar(share: float) -> str:
    full = round(share * BAR)
    return f"[{'#' * full}{'-' * (BAR - full)}]"


def _totals(stage: StageView) -> str:
    rates = [rate for status in stage.statuses if (rate := _output_rate(status)) is not None]
    running = sum(status.state == "model" for status in stage.statuses)
    mean = f"{sum(rates) / len(rates):.1f} tok/s per agent" if rates else "no reply yet"
    return f"{running} in flight, {stage.requests} requests, {stage.errors} errors, {mean}"


def _itself(stage: StageView) -> list[str]:
    """Whether swarm is in the way: a line, once it has looked at itself."""
    samples = list(stage.clients.values())
    if not samples:
        return []
    timing, cpu_ns = TimingError.of(samples), sum(sample.cpu_ns for sample in samples)
    busiest = max(sample.cpu_ns / (sample.end_ns - sample.t_ns) for sample in samples)
    error, lag = timing.p99_s(), timing.lag_p99_s()
    who = "load generator" if len(samples) == 1 else f"busiest of {len(samples)} shards"
    parts = [f"{who}: {busiest:.0%} of a core"]
    if lag is not None:
        parts.append(f"lag {lag * 1000:.1f} ms")
    if error is not None:
        parts.append(f"timing error {text.milliseconds(error, 2)} ({'kernel' if timing.by_kernel else 'user'} stamps)")
        parts.append(f"{cpu_ns / timing.chunks / 1000:.0f} us per chunk")
        parts.append(f"{timing.coalesced / timing.chunks:.1%} coalesced")
    return [", ".join(parts)]


def _output_rate(status: AgentStatus) -> float | None:
    return status.output_tokens / (status.serving_ns / 1e9) if status.serving_ns and status.output_tokens else None
