"""Causes of the gaps between chunks: decoding, another request's prompt, or being preempted.

An engine gives every decoding request its token in every step, and computes prompts in the same steps. So a gap is
longer than usual for two reasons that a client can tell apart. A prompt in a step delays all streams at once: the gap
is measured against the usual one among as many streams, and counts while another request waits for its first token. A
preempted request alone stands still: others get several tokens meanwhile.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import StatisticsError, correlation, fmean, linear_regression
from typing import NamedTuple

from swarm.recording.records import Attempt

LONG = 1.5
"""Times the usual gap (or an attempt's mean one): from here on a gap may have a cause of its own."""
OVERTAKEN = (2, 2)
"""Preempted: another stream got at least a * tokens + b tokens in a gap that brought `tokens`."""
ENOUGH = 20
"""Tokens without another's prompt, from which the usual gap among as many streams is taken."""
SURE = 4.0
"""The least t statistic of a slope that is believed."""
SAMPLE = 512
MOST_PENDING = 20_000
"""Attempts kept while an earlier one is still open; beyond it their overlap cannot be told."""


class Stalls:
    """By what the gaps of some attempts were lengthened."""

    def __init__(self) -> None:
        self.preempted_ns = 0.0
        """Gaps in which others got several tokens."""
        self._waited: dict[int, tuple[int, float, float]] = {}
        """By the number of streams, while another request waited for its first token: see `add`."""

    def add(self, streams: int, tokens: int, context: float, ns: float) -> None:
        """Gaps among `streams` streams whose contexts sum to `context` tokens."""
        had = self._waited.get(streams, (0, 0.0, 0.0))
        self._waited[streams] = had[0] + tokens, had[1] + tokens * context, had[2] + ns

    def prefill_ns(self, steps: "Steps") -> float:
        """By how much other requests' prompts have lengthened them."""
        return sum(
            ns - tokens * steps.ns[streams] - context * steps.ns_per_context
            for streams, (tokens, context, ns) in self._waited.items()
        )


@dataclass(frozen=True)
class Steps:
    """How long a step without prompts is: `ns` by the number of streams, and more for each token of their contexts."""

    ns: Mapping[int, float]
    ns_per_context: float


class Gaps:
    """Gaps of one stage in one trial; attempts come in when their turn has ended, and few are kept.

    What overlaps an attempt is known once every agent has been heard of up to its end: until then it is pending.
    """

    def __init__(self, agents: int) -> None:
        self._heard: dict[int, int] = dict.fromkeys(range(agents), -1)
        self._pending: list[_Stream] = []
        self._patience = 64 + 4 * agents
        self._done_ns = -1
        self._cells: dict[tuple[int, bool], _Cell] = {}
        self.complete = True
        """Whether all chunks were recorded, and all overlaps known."""

    def add(self, attempt: Attempt, stalls: Stalls) -> None:
        """An attempt; those of one agent come in order. `stalls` is where its gaps are accounted for, by and by."""
        if attempt.chunks is None and attempt.first_token_ns is not None:
            self.complete = False
        else:
            self._pending.append(_Stream(attempt, stalls))

    def heard(self, agent: int, t_ns: int) -> None:
        """Nothing of this agent that began before `t_ns` will be added any more."""
        self._heard[agent] = t_ns
        if len(self._pending) < self._patience:
            return
        if len(self._pending) >= MOST_PENDING:
            self.complete = False
            self._pending.clear()
        self._advance(min(self._heard.values()))
        self._patience = min(2 * len(self._pending) + 64 + 4 * len(self._heard), MOST_PENDING)

    def close(self) -> None:
        """There are no more attempts."""
        self._advance(max((stream.end_ns + 1 for stream in self._pending), default=0))

    def steps(self, alone: "Gaps") -> Steps:
        """Time of steps without prompts; `alone`: the gaps of one agent.

        Where somebody waited all the time (for a free place, say) it is what the shorter gaps have in common, unless
        that is more than among more streams: then all of them had prompts in them, and the neighbours tell.
        """
        each = alone._ns_per_context()
        known: dict[int, float] = {}
        doubtful: dict[int, float] = {}
        for streams in {streams for streams, _ in self._cells} | {1}:
            clear, waited = (self._cells.get((streams, waited)) for waited in (False, True))
            if clear and clear.tokens >= ENOUGH:
                known[streams] = usual(clear.gaps(), each)
            elif streams == 1 and (cell := alone._cells.get((1, False))):
                known[1] = usual(cell.gaps(), each)
            elif cells := [cell for cell in (clear, waited) if cell]:  # no reply of two chunks, no gap
                doubtful[streams] = usual((gap for cell in cells for gap in cell.gaps()), each)
        for streams in sorted(doubtful, reverse=True):
            if doubtful[streams] <= min((ns for more, ns in known.items() if more > streams), default=math.inf):
                known[streams] = doubtful[streams]
        return Steps({streams: _between(known, streams) for streams, _ in self._cells}, each)

    def _ns_per_context(self) -> float:
        """Nanoseconds that a token of context adds to the step of a stream alone, by least squares; 0: maybe chance."""
        cell = self._cells.get((1, False))
        if cell is None or len(cell.sample) < ENOUGH:
            return 0.0
        try:
            related = correlation(cell.contexts, cell.sample)
        except StatisticsError:  # all contexts, or all gaps, are alike
            return 0.0
        if related <= 0 or related * related * (len(cell.sample) - 2) < SURE**2 * (1 - related * related):
            return 0.0
        return linear_regression(cell.contexts, cell.sample).slope

    def _advance(self, until: int) -> None:
        """Accounts for the gaps up to `until`: everything before that is known."""
        since, self._done_ns = self._done_ns, max(self._done_ns, until)
        if until <= since:
            return
        for stream in self._pending:
            stream.find_preemptions(since, until, self._pending)
        moments = _timeline(self._pending, since, until)
        times = [moment.t_ns for moment in moments]
        for stream in self._pending:
            at, behind = stream.gap_at(since), stream.gap_at(until)
            state = bisect_right(times, stream.middle(at)) - 1 if at < behind else 0
            while at < behind:
                upto = min(behind, stream.gap_at(times[state + 1])) if state + 1 < len(times) else behind
                if upto > at:
                    self._count(stream, at, upto, moments[state])
                    at = upto
                state += 1
        self._pending = [stream for stream in self._pending if stream.end_ns >= until]

    def _count(self, stream: "_Stream", at: int, behind: int, moment: "_Moment") -> None:
        ns = stream.stamps[behind - 1] - stream.stamps[at - 1]
        if at in stream.preempted:
            stream.stalls.preempted_ns += ns
            return
        streams, tokens = max(1, moment.streaming), stream.tokens_of(at, behind)
        if moment.waiting:
            stream.stalls.add(streams, tokens, moment.context, ns)
        kind = streams, moment.waiting > 0
        cell = self._cells.get(kind) or self._cells.setdefault(kind, _Cell())
        cell.tokens += tokens
        cell.take(stream.rates(at, behind), moment.context)


class _Cell:
    """Gaps of one kind: among so many streams, and whether a request waited for its first token meanwhile."""

    __slots__ = ("_every", "_skip", "contexts", "sample", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        self.sample: array[float] = array("d")
        """Every so manieth of them, nanoseconds per token; `contexts` has the sum of contexts at each."""
        self.contexts: array[float] = array("d")
        self._every = 1
        self._skip = 0

    def take(self, rates: Sequence[float], context: float) -> None:
        taken = rates[self._skip :: self._every]
        self.sample.extend(taken)
        self.contexts.extend([context] * len(taken))
        self._skip = (self._skip - len(rates)) % self._every
        while len(self.sample) > 2 * SAMPLE:
            self.sample, self.contexts = self.sample[::2], self.contexts[::2]
            self._every *= 2

    def gaps(self) -> Iterator[tuple[float, float]]:
        """Nanoseconds per token, and the sum of contexts."""
        return zip(self.sample, self.contexts, strict=True)


class _Stream:
    """An attempt as the sweep needs it. Gap i lies between stamps i - 1 and i."""

    __slots__ = ("_context", "_gaps", "_suspects", "_tokens", "end_ns", "preempted", "send_ns", "stalls", "stamps")

    def __init__(self, attempt: Attempt, stalls: Stalls) -> None:
        gaps = attempt.chunks or []
        self.stalls = stalls
        self.send_ns = attempt.t_ns
        self.end_ns = attempt.end_ns
        # Floats, which are exact up to 104 days, so that no damaged file is too much for them.
        self.stamps = array("d", accumulate(gaps[1:], initial=attempt.t_ns + gaps[0]) if gaps else ())
        self._gaps = array("d", gaps)
        self._context = (attempt.prompt_tokens or 0) + (attempt.completion_tokens or 0) / 2
        counts = attempt.chunk_tokens or []
        several = len(counts) == len(gaps) and max(counts, default=1) > 1
        self._tokens = [max(1, count) for count in counts] if several else None
        mean = sum(gaps[1:]) / max(1, len(gaps) - 1)
        long = LONG * mean if len(gaps) > 3 else 0.0
        self._suspects = [at for at, gap in enumerate(gaps) if gap > long and at]
        self.preempted: set[int] = set()

    def middle(self, gap: int) -> float:
        return (self.stamps[gap - 1] + self.stamps[gap]) / 2

    def gap_at(self, t_ns: float) -> int:
        """The first gap whose middle is at `t_ns` or later; their number plus 1 where there is none."""
        stamps = self.stamps
        at = max(1, bisect_left(stamps, t_ns))
        if at < len(stamps) and stamps[at - 1] + stamps[at] < 2 * t_ns:
            at += 1
        return min(at, max(1, len(stamps)))

    def tokens_of(self, at: int, behind: int) -> int:
        return sum(self._tokens[at:behind]) if self._tokens else behind - at

    def rates(self, at: int, behind: int) -> Sequence[float]:
        gaps = self._gaps[at:behind]
        if not self._tokens:
            return gaps
        return [gap / tokens for gap, tokens in zip(gaps, self._tokens[at:behind], strict=True)]

    def find_preemptions(self, since_ns: int, until_ns: int, others: "Iterable[_Stream]") -> None:
        """Looks at the gaps that begin in this time."""
        stamps = self.stamps
        mine = [at for at in self._suspects if since_ns <= stamps[at - 1] < until_ns]
        if not mine:
            return
        factor, more = OVERTAKEN
        begins, ends = [stamps[at - 1] for at in mine], [stamps[at] for at in mine]
        enough = [factor * self.tokens_of(at, at + 1) + more for at in mine]
        for other in others:
            theirs = other.stamps
            if not theirs or theirs[0] >= ends[-1] or theirs[-1] <= begins[0] or other is self:
                continue
            for one in range(bisect_right(ends, theirs[0]), bisect_left(begins, theirs[-1])):
                if other.got(enough[one], begins[one], ends[one]):
                    self.preempted.add(mine[one])

    def got(self, enough: int, begin_ns: float, end_ns: float) -> bool:
        """Whether so many tokens came between two times, the first of the reply left out."""
        stamps = self.stamps
        at = bisect_left(stamps, begin_ns + 1) or 1
        if not self._tokens:
            last = at + enough - 1
            return last < len(stamps) and stamps[last] < end_ns
        return sum(self._tokens[at : bisect_left(stamps, end_ns)]) >= enough

    def changes(self) -> "Iterator[_Moment]":
        """When it begins or ceases to wait or to stream: by how much the counts change."""
        if not self.stamps:
            yield _Moment(self.send_ns, 1, 0, 0.0)
            yield _Moment(self.end_ns, -1, 0, 0.0)
            return
        context = self._context
        yield _Moment(self.send_ns, 1, 0, 0.0)
        yield _Moment(self.stamps[0], -1, 1, context)
        for gap in self.preempted:  # what it had computed is computed again
            yield _Moment(self.stamps[gap - 1], 1, -1, -context)
            yield _Moment(self.stamps[gap], -1, 1, context)
        yield _Moment(self.stamps[-1], 0, -1, -context)


class _Moment(NamedTuple):
    """From `t_ns` on: requests that wait for their first token, those that stream, and the sum of their contexts."""

    t_ns: float
    waiting: int
    streaming: int
    context: float


def _timeline(streams: Sequence[_Stream], since_ns: int, until_ns: int) -> list[_Moment]:
    """The moments from `since_ns` on, at each of which something changes."""
    changes = sorted(change for stream in streams for change in stream.changes() if change.t_ns < until_ns)
    moments = [_Moment(since_ns, 0, 0, 0.0)]
    for t_ns, waiting, streaming, context in changes:
        last = moments[-1]
        now = _Moment(max(t_ns, since_ns), last.waiting + waiting, last.streaming + streaming, last.context + context)
        if now.t_ns == last.t_ns:
            moments[-1] = now
        else:
            moments.append(now)
    return moments


def usual(gaps: Iterable[tuple[float, float]], ns_per_context: float = 0.0) -> float:
    """The mean of those gaps that are not long, as against where a quarter of all lies closest together.

    `gaps`: nanoseconds, and the sum of contexts, whose part is taken off.
    """
    ordered = sorted(gaps)
    quarter = max(1, len(ordered) // 4)
    begin = min(range(len(ordered) - quarter + 1), key=lambda at: ordered[at + quarter - 1][0] - ordered[at][0])
    centre = ordered[begin + quarter // 2][0]
    longest = centre + (LONG - 1) * abs(centre)
    return fmean(ns - ns_per_context * context for ns, context in ordered if ns <= longest)


def _between(known: dict[int, float], streams: int) -> float:
    """The value at `streams`, or between its neighbours' on a straight line; beyond the ends that of the last one."""
    if streams in known:
        return known[streams]
    below, above = [at for at in known if at < streams], [at for at in known if at > streams]
    if not below or not above:
        return known[max(below) if below else min(above)]
    left, right = max(below), min(above)
    share = (streams - left) / (right - left)
    return known[left] * (1 - share) + known[right] * share
