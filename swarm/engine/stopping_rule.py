"""When a stage has seen enough: its window runs until a number is as sure as was asked for, or the time is up."""

from array import array
from collections.abc import Iterator
from itertools import accumulate, repeat
from statistics import fmean

from swarm.analysis.stats.batch_means import BATCHES, batch_means, half_width
from swarm.recording.observations import is_complete, observations
from swarm.recording.records import Attempt, Job, Published
from swarm.scenario.schema import Until

LONGER = 1.25
"""Each look comes when the window is by so much longer: looking all the time would stop at the first lucky moment."""


def looks(least_s: float, until: Until | None) -> Iterator[float]:
    """Lengths of the window at which to look, the last one its longest; without `until` its only one."""
    if until is not None:
        for length in accumulate(repeat(LONGER), lambda length, factor: length * factor, initial=least_s):
            if length >= until.max:
                break
            yield length
    yield until.max if until else least_s


class Confidence:
    """How sure one number of the stage is by now: the 95 % interval of 20 batch means, relative to their mean.

    A rate counts a reply's tokens when it ends: what is still under way has told nothing yet. The window's own rate,
    which counts each token when it comes, is at least as steady.
    """

    def __init__(self, metric: str, window_start_ns: int) -> None:
        self._metric = metric
        self._start_ns = window_start_ns
        self._ends: array[int] = array("q")
        self._values: array[float] = array("d")

    def add(self, record: Published) -> None:
        if not isinstance(record, Attempt | Job) or record.end_ns < self._start_ns:
            return
        for value in self._seen(record):
            self._ends.append(record.end_ns)
            self._values.append(value)

    def _seen(self, record: Attempt | Job) -> Iterator[float]:
        name, _, stat = self._metric.partition(".")
        if stat:
            yield from (value / 1e9 for metric, value, _ in observations(record) if f"{metric}_s" == name)
        elif isinstance(record, Attempt) and is_complete(record):
            yield 1.0 if name == "requests_per_s" else float(record.completion_tokens or 0)

    def half_width(self, now_ns: int) -> float | None:
        """Half of the interval's width, as a share of the mean; None where there is too little to tell."""
        means = batch_means(self._values) if "." in self._metric else self._rates(now_ns)
        return half_width(means) / fmean(means) if any(means) else None

    def _rates(self, now_ns: int) -> list[float]:
        """Sums of 20 batches of equal length."""
        sums = [0.0] * BATCHES
        for end, value in zip(self._ends, self._values, strict=True):
            sums[min(BATCHES - 1, (end - self._start_ns) * BATCHES // (now_ns - self._start_ns))] += value
        return sums
