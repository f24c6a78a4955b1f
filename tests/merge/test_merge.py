"""Shards that nobody led, merged: the same results as of one process, and the reason where a shard is missing."""

import dataclasses
import json
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "analysis"))

from synthetic import Run, ns

from swarm.analysis.results import analyse
from swarm.engine.merge import TIMES, merge, piece_of
from swarm.engine.split import numbers_of
from swarm.errors import UsageError
from swarm.recording import records, rundir
from swarm.recording.records import AnyRecord, Attempt, ServerSample

DURATIONS = {
    "chunks", "cpu_ns", "done_ns", "lag_ns", "max_lag_ns", "offset_ns", "planned_ns", "round_trip_ns", "serving_ns",
    "shared_ns", "think_ns", "tool_ns", "client_ns", "work_ns",
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """One that a shard runs on: when its time line began after that of shard 0, and how its clock differs."""

    later_s: float = 0.0
    clock_s: float = 0.0

    def told(self, index: int, of: int) -> dict[str, Any]:
        return {
            "index": index,
            "of": of,
            "run": "night",
            "run_started_at": "2026-01-02T03:04:05+00:00",
            "host": f"pod-{index}",
            "pid": 1,
            "began_ns": ns(self.later_s) + ns(self.clock_s),
            "offset_ns": ns(self.clock_s),
            "uncertainty_ns": 40_000,
        }


def ended(record) -> int:
    return getattr(record, "end_ns", record.t_ns)


def shard_of(record, of: int) -> int:
    """Whose a record is: an agent's, or as it says itself."""
    return record.shard if record.agent is None else record.agent % of


def a_run(of: int, seed: int = 0, levels: tuple[int, ...] = (1, 3), trials: int = 1) -> Run:
    """A run of `of` shards as one process would have recorded it, each record of an agent in its shard's name."""
    rng = random.Random(seed)
    run = Run(levels=list(levels), trials=trials, max_error_share="50%", thresholds=["moe.agents=1.ttft_s.p95 < 9"])
    for trial in range(1, trials + 1):
        for level in levels:
            for target in run.targets:
                stage = run.stage(target, level, trial)
                first = len(run.published)
                for shard in range(min(of, level)):
                    header = {"shard": shard, "name": f"shard {shard}", "numbers": list(numbers_of(level, shard, of))}
                    stage._publish(records.Shard, -stage.warmup_s, **header)
                    stage.server(1.5, running=rng.randint(0, level))
                for agent in range(level):
                    stage.work(agent, slower=rng.uniform(0.8, 1.6), variant=f"v{rng.randint(0, 2)}")
                    if rng.random() < 0.5:
                        stage.failed(9.7, 9.8, agent=agent, kind="timeout")
                    stage.attempt(9.8, agent=agent, waits=[0.1, 0.05], aborted=True, end=10.0)
                    stage.live(agent, -stage.warmup_s, 10.0)
                for second in range(1, 10):
                    for shard in range(min(of, level)):
                        stage.watch(second, shard=shard, lag_ns=sorted(rng.choices(range(10**6), k=9)))
                body = [record for record in run.published[first:] if not isinstance(record, records.Shard)]
                run.published[first:] = [
                    *(record for record in run.published[first:] if isinstance(record, records.Shard)),
                    *sorted(body, key=ended),
                ]
                stage.end(alive=False, watched=False)
    run.published = [
        record
        if isinstance(record, ServerSample)
        else msgspec.structs.replace(record, run="night", shard=shard_of(record, of))
        for record in run.published
    ]
    return run


def moved(record, by_ns: int):
    times = {name: getattr(record, name) + by_ns for name in TIMES if getattr(record, name, None) is not None}
    return msgspec.structs.replace(record, **times)


def write_shard(whole: Run, index: int, of: int, machine: Machine, directory: Path) -> Path:
    """What shard `index` alone would have recorded of a run, by its own clock."""
    mine: list[records.Published] = []
    for record in whole.published:
        if isinstance(record, ServerSample):
            if index == 0:
                mine.append(record)
        elif isinstance(record, records.Stage | records.StageEnd):
            if numbers_of(record.agents, index, of):
                own = {"id": f"{index}.{record.id}", "shard": index}
                if isinstance(record, records.StageEnd) and index:
                    own["counters"] = None
                mine.append(msgspec.structs.replace(moved(record, -ns(machine.later_s)), **own))
        elif record.shard == index:
            own = {"offset_ns": ns(machine.clock_s)} if isinstance(record, records.Shard) else {}
            mine.append(msgspec.structs.replace(moved(record, -ns(machine.later_s)), **own))
    replace(whole, published=mine).write(directory)
    environment = {
        "started_at": "2026-01-02T03:04:07+00:00",
        "predicted": False,
        "versions": {"swarm": "0.1", "python": "3.12.4"},
        "machine": {"cores": 4},
        "targets": {"moe": {"model": "coder", "version": "0.9"}},
        "shard": machine.told(index, of),
    }
    rundir.write_json(directory / rundir.ENVIRONMENT, environment)
    return directory


def write_shards(whole: Run, of: int, folder: Path, machines: list[Machine] | None = None) -> list[Path]:
    machines = machines or [Machine(0.5 * index, -100.0 * index) for index in range(of)]
    return [write_shard(whole, index, of, machines[index], folder / f"shard-{index}") for index in range(of)]


def merged(directories: list[Path], out: Path | None = None) -> dict[str, Any]:
    pieces = [piece_of(directory) for directory in directories]
    assert None not in pieces
    directory, _ = merge(pieces, out)
    return analyse(directory)


def alike(one: Any, other: Any) -> bool:
    """Equal, but for the last bits of sums that were made in another order."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == pytest.approx(other, rel=1e-9) if isinstance(one, float) else one == other


machines = st.builds(Machine, st.floats(-3, 600), st.floats(-1e5, 1e5))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(of=st.integers(2, 4), seed=st.integers(0, 999), others=st.lists(machines, min_size=3, max_size=3))
def test_the_shards_of_a_run_give_the_results_of_the_whole(tmp_path_factory, of, seed, others):
    folder = tmp_path_factory.mktemp("run")
    whole = a_run(of, seed)
    expected = analyse(whole.write(folder / "whole"))
    found = merged(write_shards(whole, of, folder, [Machine(), *others]))
    found["started_at"] = expected["started_at"]
    for target, as_planned in zip(found["targets"], expected["targets"], strict=True):
        target["model"] = as_planned["model"]  # which the whole run's environment does not tell
    assert alike(found, expected)
    assert expected["targets"][0]["stages"][1]["latency"]["itl_s"]["count"] > 100
