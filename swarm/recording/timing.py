"""How far the chunks' stamps may be off: what follows from the load generator's lag and from chunks that share a stamp.

A chunk alone in its read has the kernel's stamp of its own packet: it is off by no more than `STAMP_TOLERANCE_NS`,
however late swarm read it. One that shares a read may have come earlier than the stamp says: by no more than the time
since the read before on its stream, and than swarm's greatest lag in that second. Where the kernel does not stamp,
every stamp is off by as much as swarm was late.
"""

from collections import Counter
from collections.abc import Iterable

from swarm.clock import STAMP_TOLERANCE_NS
from swarm.recording.histograms import bucket, highest_of
from swarm.recording.records import ClientSample


class TimingError:
    """The bounds of some samples' chunks, as counts: mergeable, and small whatever the number of samples."""

    def __init__(self) -> None:
        self.lags: Counter[int] = Counter()
        """Bucket -> number of values."""
        self.chunks = 0
        self.coalesced = 0
        self.by_kernel = True
        self._shared: Counter[int] = Counter()

    @classmethod
    def of(cls, samples: Iterable[ClientSample]) -> "TimingError":
        errors = cls()
        for sample in samples:
            errors.add(sample)
        return errors

    def add(self, sample: ClientSample) -> None:
        self.lags.update(map(bucket, sample.lag_ns))
        self.chunks += sample.chunks
        self.coalesced += sample.coalesced
        self.by_kernel &= sample.stamp_source == "kernel"
        values = sample.shared_ns or sample.lag_ns[-1:]  # runs of before 0.2 recorded the lags alone
        for place, value in enumerate(values):  # a few values stand for all coalesced chunks, in equal shares
            ends, begins = ((place + step) * sample.coalesced // len(values) for step in (1, 0))
            self._shared[bucket(value)] += ends - begins

    def merge(self, other: "TimingError") -> None:
        self.lags.update(other.lags)
        self._shared.update(other._shared)
        self.chunks += other.chunks
        self.coalesced += other.coalesced
        self.by_kernel &= other.by_kernel

    def lag_p99_s(self) -> float | None:
        return _p99_s(self.lags)

    def p99_s(self) -> float | None:
        """99% of the chunks' stamps are off by this many seconds or less; None where nothing was seen."""
        lag = self.lag_p99_s()
        if lag is None or not self.chunks:
            return None
        exact = max(0, self.chunks - self._shared.total())
        shared = _p99_s(self._shared + Counter({0: exact})) or 0.0
        return max(shared, STAMP_TOLERANCE_NS / 1e9 if self.by_kernel else lag)


def _p99_s(counts: Counter[int]) -> float | None:
    """HdrHistogram's percentile: the value at rank `0.99 * count + 0.5`, rounded down, at the top of its bucket."""
    left = max(1, int(0.99 * counts.total() + 0.5))
    for lowest in sorted(counts):
        left -= counts[lowest]
        if left <= 0:
            return highest_of(lowest) / 1e9
    return None
