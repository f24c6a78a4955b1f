"""When a stage has seen enough: a number is as sure as was asked for, enough turns are done, or the time is up."""

from array import array
from collections.abc import Iterator
from itertools import accumulate, repeat
from statistics import fmean
from typing import Any

from swarm.analysis.stats.batch_means import BATCHES, batch_means, half_width
from swarm.recording.observations import is_complete, observations
from swarm.recording.records import FINISHED, Attempt, Job, Published, Turn
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


class StoppingRule:
    """Progress of a window with `until`, and whether that is enough. `agents`: all of the stage."""

    def __init__(self, until: Until, agents: int, window_start_ns: int) -> None:
        self._until = until
        self._start_ns = window_start_ns
        self._confidence = Confidence(until.metric, window_start_ns) if until.metric else None
        self._turns_asked = until.turns and until.turns * agents
        self._jobs_asked = until.jobs and until.jobs * agents
        self._turns = self._jobs = 0

    def add(self, record: Published) -> None:
        if self._confidence:
            self._confidence.add(record)
        if isinstance(record, Turn) and record.end_ns >= self._start_ns:
            self._turns += record.ok is True
        elif isinstance(record, Job) and record.end_ns >= self._start_ns:
            self._jobs += record.outcome in FINISHED

    def met(self, now_ns: int) -> bool:
        if self._turns < (self._turns_asked or 0) or self._jobs < (self._jobs_asked or 0):
            return False
        if self._confidence is None:
            return True
        reached = self._confidence.half_width(now_ns)
        return reached is not None and reached <= self._until.ci

    def told(self, now_ns: int) -> dict[str, Any]:
        """The fields of the `WindowEnd` at `now_ns`."""
        sure = self._confidence
        return {
            "metric": self._until.metric,
            "asked": self._until.ci if sure else None,
            "reached": sure.half_width(now_ns) if sure else None,
            "turns_asked": self._turns_asked,
            "turns": self._turns if self._turns_asked else None,
            "jobs_asked": self._jobs_asked,
            "jobs": self._jobs if self._jobs_asked else None,
        }


class Confidence:
    """How sure one number of the stage is by now: the 95% interval of 20 batch means, relative to their mean.

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
