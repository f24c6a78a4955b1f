"""Activity of each agent over time, and whom it waited for: a part of a stage's window, short enough to look at."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Literal

from swarm.analysis.read import Notes, read_events, read_server
from swarm.analysis.window import Window, completion_tokens
from swarm.recording.records import Attempt, ServerSample, Stage, Tool, WindowEnd

Kind = Literal["prefill", "decode", "stall", "tool", "failed"]
"""`prefill` is all of the time before the first token, the server's queue included: a client cannot tell them apart."""

SHOWN_AGENT_S = 480.0
"""Agent-seconds of one stage that fit on a page: eight agents are shown for a minute, 64 for ten seconds."""
SHORTEST_S, LONGEST_S = 10.0, 60.0
MOST_STEPS = 1000
"""In which the tokens of a reply without chunks are spread out: a server may claim any number of them."""
BUCKETS = 60
"""Number of parts of the window, for rates over time; none is shorter than a second."""
STALL_FACTOR, STALL_NS = 3, 20_000_000
"""A gap is a stall when it exceeds the attempt's median gap by more than this many times that, and than this."""


@dataclass(frozen=True, slots=True)
class Span:
    """Something that an agent did from `start_ns` to `end_ns`, on the run's time line."""

    kind: Kind
    start_ns: int
    end_ns: int
    note: str = ""
    """A tool's name, a failure's kind, a prompt's tokens."""
    behind: tuple[tuple[int, float], ...] = ()
    """During a stall: the agents whose prompts were being prefilled, and the seconds that each of them cost."""


@dataclass(frozen=True)
class Timeline:
    """One trial of a stage. `shown` is the part of its window that `lanes`, `waits` and `server` are about."""

    target: str
    agents: int
    trial: int
    window: Window
    shown: Window
    lanes: dict[int, list[Span]]
    """Agent -> what it did, in the order of time; between two spans it neither waited for a reply nor ran a tool."""
    waits: dict[tuple[int, int], float]
    """(agent, other): seconds that the replies of `agent` stood still while the prompt of `other` was prefilled."""
    rates: dict[int, list[float]]
    """Agent -> output tokens per second of each bucket of the whole window."""
    bucket_s: float
    server: list[ServerSample]


def read_timelines(directory: Path, notes: Notes) -> list[Timeline]:
    """The timeline of the first trial of every stage that began, in the order in which they ran."""
    stages: dict[tuple[str, int], _Stage] = {}
    for record in read_events(directory, notes):
        key = (record.target, record.agents)
        if isinstance(record, Stage):
            stages.setdefault(key, _Stage(record))
        elif (
            isinstance(record, Attempt | Tool | WindowEnd) and key in stages and record.trial == stages[key].began.trial
        ):
            stages[key].add(record)
    for sample in read_server(directory, notes):
        stage = stages.get((sample.target, sample.agents))
        if stage and sample.trial == stage.began.trial and stage.shown.holds(sample.t_ns):
            stage.server.append(sample)
    return [stage.timeline() for stage in stages.values()]


class _Stage:
    """A timeline as its records come in."""

    def __init__(self, began: Stage) -> None:
        self.began = began
        self.window = Window(began.window_start_ns, began.window_end_ns)
        length_s = (self.window.stop_ns - self.window.start_ns) / 1e9
        shown_s = min(length_s, max(SHORTEST_S, min(LONGEST_S, SHOWN_AGENT_S / began.agents)))
        self.shown = Window(began.window_start_ns, began.window_start_ns + round(shown_s * 1e9))
        self.bucket_s = max(1.0, length_s / BUCKETS)
        self.buckets = max(1, round(length_s / self.bucket_s))
        self.attempts: list[Attempt] = []
        self.tools: list[Tool] = []
        self.server: list[ServerSample] = []
        self.tokens: dict[int, list[float]] = {agent: [0.0] * self.buckets for agent in range(began.agents)}

    def add(self, record: Attempt | Tool | WindowEnd) -> None:
        if isinstance(record, WindowEnd):
            self.window = Window(self.window.start_ns, min(self.window.stop_ns, record.t_ns))
            return
        if self.shown.overlap(record.t_ns, record.end_ns):
            (self.attempts if isinstance(record, Attempt) else self.tools).append(record)  # type: ignore[arg-type]
        if isinstance(record, Attempt):
            self._add_tokens(record)

    def _add_tokens(self, attempt: Attempt) -> None:
        buckets = self.tokens.setdefault(attempt.owner or 0, [0.0] * self.buckets)
        stamps, so_far = _arrivals(attempt)
        at, behind = (bisect_left(stamps, edge) for edge in (self.window.start_ns, self.window.stop_ns))
        while at < behind:
            place = max(0, min(int((stamps[at] - self.window.start_ns) / 1e9 / self.bucket_s), self.buckets - 1))
            edge = self.window.start_ns + (place + 1) * self.bucket_s * 1e9
            upto = max(at + 1, bisect_left(stamps, edge, at, behind)) if place + 1 < self.buckets else behind
            buckets[place] += so_far[upto] - so_far[at]
            at = upto

    def timeline(self) -> Timeline:
        prefills = _Prefills(self.attempts)
        shown = Window(self.shown.start_ns, min(self.shown.stop_ns, self.window.stop_ns))
        buckets = max(1, round((self.window.stop_ns - self.window.start_ns) / 1e9 / self.bucket_s))
        lanes: dict[int, list[Span]] = {agent: [] for agent in range(self.began.agents)}
        waits: dict[tuple[int, int], float] = defaultdict(float)
        for tool in self.tools:
            note = tool.name if tool.ok else f"{tool.name}: failed"
            lanes.setdefault(tool.agent or 0, []).append(Span("tool", tool.t_ns, tool.end_ns, note))
        for attempt in self.attempts:
            agent = attempt.agent or 0
            spans = [span for span in _spans(attempt, prefills) if self._is_shown(span)]
            lanes.setdefault(agent, []).extend(spans)
            for span in spans:
                for other, waited_s in span.behind:
                    waits[agent, other] += waited_s
        return Timeline(
            self.began.target,
            self.began.agents,
            self.began.trial,
            self.window,
            shown,
            {agent: sorted(spans, key=_start) for agent, spans in sorted(lanes.items())},
            dict(waits),
            {
                agent: [count / self.bucket_s for count in counts[:buckets]]
                for agent, counts in sorted(self.tokens.items())
            },
            self.bucket_s,
            self.server,
        )

    def _is_shown(self, span: Span) -> bool:
        return self.shown.overlap(span.start_ns, span.end_ns) > 0


def _start(span: Span) -> int:
    return span.start_ns


def _arrivals(attempt: Attempt) -> tuple[list[int], list[float]]:
    """When completion tokens came, by chunk, or evenly from first to last where none was recorded; and how many had
    come before each of these times, and in all."""
    total = completion_tokens(attempt)
    first, last = attempt.first_token_ns, attempt.last_token_ns
    if not total or first is None or last is None:
        return [], [0]
    steps = min(total, MOST_STEPS) - 1
    gaps = attempt.chunks or [first - attempt.t_ns, *[(last - first) // max(1, steps)] * steps]
    known = attempt.chunk_tokens
    tokens = known if known is not None and len(known) == len(gaps) else [total / len(gaps)] * len(gaps)
    return [*accumulate(gaps, initial=attempt.t_ns)][1:], [*accumulate(tokens, initial=0)]


@dataclass
class _Prefills:
    """The times before a first token, of all agents."""

    attempts: Sequence[Attempt]
    times: list[tuple[int, int, int]] = field(init=False)
    """Send, first token (or end), agent; by send."""
    longest_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self.times = sorted((one.t_ns, one.first_token_ns or one.end_ns, one.agent or 0) for one in self.attempts)
        self.longest_ns = max((end - start for start, end, _ in self.times), default=0)

    def behind(self, start_ns: int, end_ns: int, agent: int, excess_ns: float) -> tuple[tuple[int, float], ...]:
        """The others before a first token in `start_ns .. end_ns`; `excess_ns` is shared out by overlap, in seconds."""
        overlaps: dict[int, int] = defaultdict(int)
        low = bisect_left(self.times, (start_ns - self.longest_ns,))
        high = bisect_right(self.times, (end_ns,))
        for start, end, other in self.times[low:high]:
            if other != agent and (overlap := min(end, end_ns) - max(start, start_ns)) > 0:
                overlaps[other] += overlap
        seconds = excess_ns / 1e9 / max(1, sum(overlaps.values()))
        return tuple((other, overlaps[other] * seconds) for other in sorted(overlaps, key=overlaps.__getitem__)[::-1])


def _spans(attempt: Attempt, prefills: _Prefills) -> Iterator[Span]:
    """Prefill, then decode broken by stalls."""
    first = attempt.first_token_ns
    if first is None:
        yield Span("failed" if attempt.error else "prefill", attempt.t_ns, attempt.end_ns, attempt.error or "")
        return
    yield Span("prefill", attempt.t_ns, first, _prompt(attempt))
    gaps = (attempt.chunks or [])[1:]
    usual = median(gaps) if gaps else 0
    at = decoding = first
    for gap in gaps:
        excess = gap - usual
        if excess > STALL_NS and excess > STALL_FACTOR * usual:
            if at > decoding:
                yield Span("decode", decoding, at)
            yield Span("stall", at, at + gap, behind=prefills.behind(at, at + gap, attempt.agent or 0, excess))
            decoding = at + gap
        at += gap
    until = at if attempt.error else attempt.end_ns
    if until > decoding:
        yield Span("decode", decoding, until)
    if attempt.error:
        yield Span("failed", at, attempt.end_ns, attempt.error)


def _prompt(attempt: Attempt) -> str:
    if attempt.prompt_tokens is None:
        return ""
    cached = "" if attempt.cached_tokens is None else f", {attempt.cached_tokens:,} of them cached"
    return f"{attempt.prompt_tokens:,} prompt tokens{cached}"
