"""The processes that shared a stage's agents, each by itself: its clock, whether it kept up, what became of it."""

from collections.abc import Iterator, Sequence

from swarm.analysis.trial.client import processes
from swarm.analysis.trial.trial import Trial
from swarm.results import ShardResults


def shards(trials: Sequence[Trial]) -> list[ShardResults]:
    """An entry for each shard of the trials; none where one process had all agents. Clocks are those of the last."""
    return list(_entries(trials))


def _entries(trials: Sequence[Trial]) -> Iterator[ShardResults]:
    joined = {number: shard for trial in trials for number, shard in sorted(trial.shards.items())}
    lost = {number: shard.reason for trial in trials for number, shard in trial.lost.items()}
    watched = processes(trial.client for trial in trials)
    for number, shard in sorted(joined.items()):
        process = watched.get(number)
        yield ShardResults(
            shard=number,
            name=shard.name,
            agents=len(shard.numbers),
            lost=lost.get(number),
            clock_offset_s=shard.offset_ns / 1e9,
            clock_uncertainty_s=shard.round_trip_ns / 2e9,
            cpu_share=process.cpu_share if process else None,
            lag_p99_s=process.timing.lag_p99_s() if process else None,
            timing_error_p99_s=process.timing.p99_s() if process else None,
        )
