"""The load generator's own view of itself: was it in the way, and how far may the times be off?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swarm.analysis.window import Window
from swarm.recording.records import ClientSample
from swarm.recording.timing import TimingError
from swarm.results import ClientResults

OTHERS_SHARE = 0.25
"""Share of the machine's CPUs: from it on, other programs are worth a note."""


class Process:
    """One process of the load generator (a shard): sums over its samples."""

    def __init__(self) -> None:
        self.cpu_ns = 0
        self.watched_ns = 0
        self.timing = TimingError()
        self.cores: int | None = None
        """Cores of its machine; None where an older run did not say, or nobody could."""
        self.frozen: list[tuple[int, int]] = []
        """Times in the window in which it stood still: since the window's start, and how long; nanoseconds."""
        self._companions_ns = 0
        self._busy_ns = 0.0
        self._busy_of_ns = 0

    def add(self, sample: ClientSample) -> None:
        took = sample.end_ns - sample.t_ns
        self.cpu_ns += sample.cpu_ns
        self.watched_ns += took
        if sample.busy_share is not None:
            self._busy_ns += sample.busy_share * took
            self._busy_of_ns += took
        if sample.companions_ns is not None:
            self.cores = sample.cores
            self._companions_ns += sample.companions_ns
        self.timing.add(sample)

    def merge(self, other: "Process") -> None:
        self.cpu_ns += other.cpu_ns
        self.watched_ns += other.watched_ns
        self._busy_ns += other._busy_ns
        self._busy_of_ns += other._busy_of_ns
        self.cores = self.cores or other.cores
        self._companions_ns += other._companions_ns
        self.timing.merge(other.timing)
        self.frozen += other.frozen

    @property
    def frozen_s(self) -> float:
        return sum(lost for _, lost in self.frozen) / 1e9

    @property
    def cpu_share(self) -> float | None:
        """CPU time, as a share of one core."""
        return self.cpu_ns / self.watched_ns if self.watched_ns else None

    @property
    def busy_share(self) -> float | None:
        """Share of its machine's CPUs that ran anything."""
        return self._busy_ns / self._busy_of_ns if self._busy_of_ns else None

    @property
    def own_cores(self) -> float:
        """CPU time, its companions' included, as a number of cores."""
        return (self.cpu_ns + self._companions_ns) / self.watched_ns if self.watched_ns else 0.0


@dataclass(frozen=True)
class Use:
    """How many of a machine's cores were busy, on average: with swarm's processes, and with all others."""

    own: float
    others: float
    cores: int

    def strangers(self) -> str | None:
        """That other processes used the machine; None: hardly."""
        if self.others < OTHERS_SHARE * self.cores:
            return None
        return f"other programs used {self.others:.2g} of {self.cores} cores"


def use_of(process: Process, on_its_machine: Iterable[Process]) -> Use | None:
    """Who used the machine of `process`; `on_its_machine`: all of swarm's there, itself among them. None: not known."""
    busy, cores = process.busy_share, process.cores
    if busy is None or cores is None:
        return None
    own = sum(one.own_cores for one in on_its_machine)
    return Use(own, max(0.0, busy * cores - own), cores)


class Client:
    """Load generator of one stage in one trial: the samples that end in its window, by shard."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.processes: dict[int, Process] = {}

    def add(self, sample: ClientSample) -> None:
        if self._window.holds(sample.end_ns):
            self.processes.setdefault(sample.shard, Process()).add(sample)
        for since, until, slept in sample.frozen:
            lost = self._window.overlap(since, until) + slept * self._window.holds(until)
            if lost:
                at = self._window.overlap(self._window.start_ns, since)
                self.processes.setdefault(sample.shard, Process()).frozen.append((at, lost))


def processes(clients: Iterable[Client]) -> dict[int, Process]:
    """The shards over several trials."""
    merged: dict[int, Process] = {}
    for client in clients:
        for shard, process in client.processes.items():
            merged.setdefault(shard, Process()).merge(process)
    return dict(sorted(merged.items()))


def summary(clients: Sequence[Client]) -> ClientResults:
    """The `client` block of the results; None where there are no samples."""
    found = processes(clients)
    watched = sum(process.watched_ns for process in found.values())
    timing = timing_of(found)
    chunks = timing.chunks
    cpu_ns = sum(process.cpu_ns for process in found.values())
    return ClientResults(
        cpu_share=max((share for process in found.values() if (share := process.cpu_share) is not None), default=None),
        cpu_per_chunk_s=cpu_ns / chunks / 1e9 if chunks else None,
        lag_p99_s=timing.lag_p99_s(),
        timing_error_p99_s=timing.p99_s(),
        chunks_per_s=chunks * len(found) * 1e9 / watched if watched else None,
        coalesced_chunks=timing.coalesced if watched else None,
        coalesced_share=timing.coalesced / chunks if chunks else None,
        frozen_s=max((process.frozen_s for process in found.values()), default=None) if watched else None,
        stamp_source=("kernel" if timing.by_kernel else "user") if watched else None,
    )


def timing_of(found: Mapping[int, Process]) -> TimingError:
    """Over all samples of all shards, of which each holds the spread of its second's lags."""
    timing = TimingError()
    for process in found.values():
        timing.merge(process.timing)
    return timing
