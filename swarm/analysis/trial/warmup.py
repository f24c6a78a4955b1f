"""The output of a stage over time: how sure its rate is within one trial, and whether its warm-up was long enough.

A warm-up of seconds has too few replies for MSER-5 to end it while the stage runs. So the planned warm-up stands, and
MSER-5 judges it afterwards, on the whole stage and on all trials together.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from swarm.analysis.stats.batch_means import BATCHES, batch_means, half_width, mser5
from swarm.analysis.stats.paired_ratio import t_interval
from swarm.analysis.window import Window, completion_tokens
from swarm.recording.records import Attempt

BINS = 2000
"""Bins of a stage from its start to its window's planned end, whatever its length: 16 KB per trial."""
MATERIAL = 0.05
"""A transient is told of when it moves the rate by more than this, and by more than chance does."""
ROUNDING = 1e-9
"""Tokens that sums of differences leave in a bin where nothing was written."""


class Output:
    """Completion tokens of one stage in one trial, by the time at which they came; a reply's spread evenly over it."""

    def __init__(self, start_ns: int, window: Window) -> None:
        self._start_ns = start_ns
        self._window = window
        self._bin_ns = max(1, -(-(window.stop_ns - start_ns) // BINS))
        self._steps = array("d", bytes(8 * (BINS + 2)))
        """Differences of neighbouring bins, of tokens per bin: a reply costs the same however long it is."""

    def add(self, attempt: Attempt) -> None:
        tokens, first, last = completion_tokens(attempt), attempt.first_token_ns, attempt.last_token_ns
        if not tokens or first is None or last is None:
            return
        begin, end = self._bin(first), self._bin(last) + 1
        self._steps[begin] += tokens / (end - begin)
        self._steps[end] -= tokens / (end - begin)

    def _bin(self, t_ns: int) -> int:
        return min(BINS, max(0, (t_ns - self._start_ns) // self._bin_ns))

    def rates(self) -> list[float]:
        """Tokens per second in each bin from the stage's start to the window's end."""
        stop = min(BINS, (self._window.stop_ns - self._start_ns) // self._bin_ns)
        tokens = (0.0 if tokens < ROUNDING else tokens for tokens in accumulate(self._steps[:stop]))
        return [tokens * 1e9 / self._bin_ns for tokens in tokens]

    @property
    def warmup_bins(self) -> int:
        return self._bin(self._window.start_ns)

    @property
    def bin_s(self) -> float:
        return self._bin_ns / 1e9

    def ci95(self) -> list[float] | None:
        """Interval of the rate within this trial, by batch means."""
        means = batch_means(self.rates()[self.warmup_bins :])
        found = t_interval(means) if any(means) else None
        return None if found is None else [max(0.0, found[0]), found[1]]


@dataclass(frozen=True)
class Warmup:
    """`transient_s`: from the stage's start, None where MSER-5 finds no end of it in the first half of the stage.

    `bias`: by how much (1: all of it) the rest of the transient moves the window's rate; 0 where it ends before it.
    `material`: whether that, or without an end the drift of the window, is more than chance and `MATERIAL` explain.
    """

    seconds: float
    transient_s: float | None
    bias: float | None
    material: bool

    def complaint(self) -> str | None:
        """A remark on it for the reader; None: nothing."""
        if not self.material:
            return None
        if self.transient_s is None:
            return (
                "no steady state: the output rate drifts through the whole window, and MSER-5 finds no end of the "
                "start-up in its first half; raise stage.warmup or stage.duration"
            )
        return (
            f"the warm-up of {self.seconds:.0f} s was too short: the start-up lasted {self.transient_s:.0f} s "
            f"(MSER-5), which moves the window's output rate by {self.bias:+.0%}; raise stage.warmup"
        )


def warmup(outputs: Sequence[Output]) -> Warmup | None:
    """Judged on the mean of all trials bin by bin, which keeps what they share; None where nothing was written."""
    if not outputs:
        return None
    rates = [fmean(together) for together in zip(*(output.rates() for output in outputs), strict=False)]
    bin_s, planned = outputs[0].bin_s, outputs[0].warmup_bins
    means = batch_means(rates[planned:])
    if not any(means):
        return None
    cut = mser5(rates)
    if cut is None:
        middle = BATCHES // 2
        drift = abs(fmean(means[middle:]) / fmean(means) - fmean(means[:middle]) / fmean(means))
        # The difference of two halves has twice the standard error of the whole.
        return Warmup(planned * bin_s, None, None, drift > 2 * max(MATERIAL, half_width(means) / fmean(means)))
    rest = batch_means(rates[max(cut, planned) :])
    if cut <= planned or not any(rest):
        return Warmup(planned * bin_s, cut * bin_s, 0.0, False)
    bias = fmean(means) / fmean(rest) - 1
    return Warmup(planned * bin_s, cut * bin_s, bias, abs(bias) > max(MATERIAL, half_width(rest) / fmean(rest)))
