"""Percentiles by HdrHistogram's own definitions, over the buckets in use instead of all 24,576."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from swarm.recording.histograms import highest_of, middle_of
from swarm.results import DecodeRates, Latency, OrInfinite, WithFailures


def rank(percentile: float, count: int) -> int:
    """Which value in ascending order, from 1, is that percentile of `count` values (HdrHistogram's rounding)."""
    return max(1, int(percentile * count / 100 + 0.5))


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """Percentile of a few exact values; None of none."""
    return ascending[rank(percent, len(ascending)) - 1] if ascending else None


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that were measured; None if none was."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


INFINITY: Final = "inf"
"""As JSON has no number for it."""


class Distribution:
    """Values in nanoseconds, known to 0.1%."""

    def __init__(self, counts: Mapping[int, int]) -> None:
        """`counts`: bucket (see `swarm.recording.histograms.bucket`) -> number of values."""
        self._buckets = sorted(counts)
        self._upto = list(accumulate(counts[lowest] for lowest in self._buckets))
        self._sum = sum(middle_of(lowest) * count for lowest, count in counts.items())
        self.count = self._upto[-1] if self._upto else 0

    def at_rank(self, place: int) -> int:
        """The `place`-th smallest value, from 1."""
        return highest_of(self._buckets[bisect_left(self._upto, place)])

    def stats(self) -> Latency:
        """`count`, and in seconds `mean`, `p50`, `p90`, `p95`, `p99`, `max`; None of no values."""
        n = self.count
        if not n:
            return Latency(count=0)
        at = {f"p{percent}": self.at_rank(rank(percent, n)) / 1e9 for percent in (50, 90, 95, 99)}
        return Latency(count=n, mean=self._sum / n / 1e9, max=self.at_rank(n) / 1e9, **at)

    def seconds(self, percent: float) -> float | None:
        return self.at_rank(rank(percent, self.count)) / 1e9 if self.count else None

    def rates(self) -> DecodeRates:
        """p10, p50, p90 of 1 / value, per second: the slowest values are the lowest rates."""
        n = self.count
        p10, p50, p90 = (1e9 / self.at_rank(n + 1 - rank(percent, n)) if n else None for percent in (10, 50, 90))
        return DecodeRates(p10=p10, p50=p50, p90=p90)

    def with_failures(self, failed: int) -> WithFailures:
        """p50, p95, p99 in seconds, where `failed` more values are infinitely large ("inf")."""
        n = self.count + failed

        def at(percent: int) -> OrInfinite:
            place = rank(percent, n)
            return (self.at_rank(place) / 1e9 if place <= self.count else INFINITY) if n else None

        return WithFailures(p50=at(50), p95=at(95), p99=at(99))
