"""The load generator's own view of itself: was it in the way, and how far may the times be off?"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from swarm.analysis.window import Window
from swarm.recording.records import ClientSample
from swarm.recording.timing import TimingError


class Client:
    """Of one stage in one trial: the samples that end in its window."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.cpu_ns: Counter[int] = Counter()
        self.watched_ns: Counter[int] = Counter()
        """Both by process (shard)."""
        self.busy_ns = 0.0
        self.busy_of_ns = 0
        self.timing = TimingError()

    def add(self, sample: ClientSample) -> None:
        if not self._window.holds(sample.end_ns):
            return
        took = sample.end_ns - sample.t_ns
        self.cpu_ns[sample.shard] += sample.cpu_ns
        self.watched_ns[sample.shard] += took
        if sample.busy_share is not None:
            self.busy_ns += sample.busy_share * took
            self.busy_of_ns += took
        self.timing.add(sample)


def summary(clients: Sequence[Client]) -> dict[str, Any]:
    """The `client` block of the results; None where there are no samples."""
    watched = sum(sum(client.watched_ns.values()) for client in clients)
    shards = max((len(client.watched_ns) for client in clients), default=0)
    timing = timing_of(clients)
    chunks = timing.chunks
    return {
        "cpu_share": cpu_share(clients),
        "cpu_per_chunk_s": sum(client.cpu_ns.total() for client in clients) / chunks / 1e9 if chunks else None,
        "lag_p99_s": timing.lag_p99_s(),
        "timing_error_p99_s": timing.p99_s(),
        "chunks_per_s": chunks * shards * 1e9 / watched if watched else None,
        "coalesced_chunks": timing.coalesced if watched else None,
        "coalesced_share": timing.coalesced / chunks if chunks else None,
        "stamp_source": ("kernel" if timing.by_kernel else "user") if watched else None,
    }


def timing_of(clients: Sequence[Client]) -> TimingError:
    """Over all samples, of which each holds the spread of its second's lags."""
    timing = TimingError()
    for client in clients:
        timing.merge(client.timing)
    return timing


def cpu_share(clients: Sequence[Client]) -> float | None:
    """CPU time of the busiest process, as a share of one core."""
    cpu, watched = (
        sum((getattr(client, name) for client in clients), Counter[int]()) for name in ("cpu_ns", "watched_ns")
    )
    return max((cpu[shard] / watched[shard] for shard in watched if watched[shard]), default=None)


def busy_share(clients: Sequence[Client]) -> float | None:
    """Share of the machine's CPUs that ran anything."""
    of = sum(client.busy_of_ns for client in clients)
    return sum(client.busy_ns for client in clients) / of if of else None
