"""The load generator's own view of itself: was it in the way?"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from swarm.analysis.distribution import Distribution
from swarm.analysis.window import Window
from swarm.recording.histograms import bucket
from swarm.recording.records import ClientSample


class Client:
    """Of one stage in one trial: the samples that end in its window."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.cpu_ns: Counter[int] = Counter()
        self.watched_ns: Counter[int] = Counter()
        """Both by process (shard)."""
        self.busy_ns = 0.0
        self.busy_of_ns = 0
        self.lags: Counter[int] = Counter()
        self.chunks = 0
        self.coalesced = 0
        self.stamp_sources: set[str] = set()

    def add(self, sample: ClientSample) -> None:
        if not self._window.holds(sample.end_ns):
            return
        took = sample.end_ns - sample.t_ns
        self.cpu_ns[sample.shard] += sample.cpu_ns
        self.watched_ns[sample.shard] += took
        if sample.busy_share is not None:
            self.busy_ns += sample.busy_share * took
            self.busy_of_ns += took
        self.lags.update(map(bucket, sample.lag_ns))
        self.chunks += sample.chunks
        self.coalesced += sample.coalesced
        self.stamp_sources.add(sample.stamp_source)


def summary(clients: Sequence[Client]) -> dict[str, Any]:
    """The `client` block of the results; None where there are no samples."""
    watched = sum(sum(client.watched_ns.values()) for client in clients)
    shards = max((len(client.watched_ns) for client in clients), default=0)
    sources = set().union(*(client.stamp_sources for client in clients))
    return {
        "cpu_share": cpu_share(clients),
        "lag_p99_s": lag_p99_s(clients),
        "chunks_per_s": sum(client.chunks for client in clients) * shards * 1e9 / watched if watched else None,
        "coalesced_chunks": sum(client.coalesced for client in clients) if watched else None,
        "stamp_source": ("kernel" if sources == {"kernel"} else "user") if sources else None,
    }


def cpu_share(clients: Sequence[Client]) -> float | None:
    """CPU time of the busiest process, as a share of one core."""
    cpu, watched = (
        sum((getattr(client, name) for client in clients), Counter[int]()) for name in ("cpu_ns", "watched_ns")
    )
    return max((cpu[shard] / watched[shard] for shard in watched if watched[shard]), default=None)


def lag_p99_s(clients: Sequence[Client]) -> float | None:
    """Over all samples, of which each holds the spread of its second's lags."""
    return Distribution(sum((client.lags for client in clients), Counter[int]())).seconds(99)


def busy_share(clients: Sequence[Client]) -> float | None:
    """Share of the machine's CPUs that ran anything."""
    of = sum(client.busy_of_ns for client in clients)
    return sum(client.busy_ns for client in clients) / of if of else None
