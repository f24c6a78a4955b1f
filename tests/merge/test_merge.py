"""Shards that nobody led, merged: the same results as of one process, and the reason where a shard is missing."""

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
from swarm.recording.records import AnyRecord, ServerSample

DURATIONS = {
    "chunks", "cpu_ns", "done_ns", "lag_ns", "max_lag_ns", "offset_ns", "planned_ns", "round_trip_ns", "serving_ns",
    "shared_ns", "think_ns", "tool_ns", "client_ns", "companions_ns", "work_ns",
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


def a_run(machines: list[Machine], seed: int = 0, levels: tuple[int, ...] = (1, 3), trials: int = 1) -> Run:
    """A run in shards as one process would have recorded it, each record of an agent in its shard's name."""
    of = len(machines)
    rng = random.Random(seed)
    run = Run(levels=list(levels), trials=trials, max_error_share="50%", thresholds=["moe.agents=1.ttft_s.p95 < 9"])
    for trial in range(1, trials + 1):
        for level in levels:
            for target in run.targets:
                stage = run.stage(target, level, trial)
                first = len(run.published)
                for shard in range(min(of, level)):
                    header = {"shard": shard, "name": f"shard {shard}", "numbers": list(numbers_of(level, shard, of))}
                    stage._publish(records.Shard, -stage.warmup_s, **header, offset_ns=ns(machines[shard].clock_s))
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
            mine.append(moved(record, -ns(machine.later_s)))
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


def write_shards(whole: Run, machines: list[Machine], folder: Path) -> list[Path]:
    of = len(machines)
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


others = st.builds(Machine, st.floats(-3, 600), st.floats(-1e5, 1e5))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 999), others=st.lists(others, min_size=1, max_size=3))
def test_the_shards_of_a_run_give_the_results_of_the_whole(tmp_path_factory, seed, others):
    folder, machines = tmp_path_factory.mktemp("run"), [Machine(), *others]
    whole = a_run(machines, seed)
    expected = analyse(whole.write(folder / "whole"))
    found = merged(write_shards(whole, machines, folder))
    expected["targets"][0]["model"] = "coder"  # which the whole run's environment does not tell
    assert alike(found, expected)
    assert expected["targets"][0]["stages"][1]["latency"]["itl_s"]["count"] > 100


THREE = [Machine(), Machine(0.5, -100.0), Machine(1.5, 70.0)]


@pytest.fixture
def shards(tmp_path) -> list[Path]:
    """The directories of a valid run of one stage of three agents, in three shards."""
    return write_shards(a_run(THREE, levels=(3,)), THREE, tmp_path)


def the_stage(results: dict[str, Any]) -> dict[str, Any]:
    ((stage,),) = (target["stages"] for target in results["targets"])
    return stage


def test_merged_shards_are_a_valid_run_that_knows_its_shards(shards):
    results = merged(shards)
    assert results["verdict"] == "valid"
    assert [shard["clock_offset_s"] for shard in the_stage(results)["shards"]] == [0, -100, 70]
    environment = json.loads((shards[0].with_name("shard-0-merged") / rundir.ENVIRONMENT).read_text())
    assert "shard" not in environment
    assert environment["started_at"] == "2026-01-02T03:04:05+00:00"
    assert [shard["directory"] for shard in environment["shards"]] == ["shard-0", "shard-1", "shard-2"]


def test_ids_are_unique_and_every_parent_is_there(shards):
    directory, _ = merge([piece_of(shard) for shard in shards])
    lines = [json.loads(line) for line in (directory / rundir.EVENTS).read_text().splitlines()]
    ids = [line["id"] for line in lines]
    assert len(set(ids)) == len(ids)
    assert [line["type"] for line in lines].count("stage") == [line["type"] for line in lines].count("stage_end") == 1
    assert lines[-1]["parent"] == lines[0]["id"]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_shard_makes_the_run_invalid_and_its_agents_are_named(shards, missing):
    results = merged([shard for shard in shards if shard != shards[missing]])
    assert results["verdict"] == "invalid"
    lost, *_ = the_stage(results)["invalid_reasons"]
    assert f"shard {missing} of 3 after 0.0 s with 1 agent ({missing}): its directory was not given" in lost


def test_a_shard_that_broke_off_makes_the_run_invalid_from_there_on(shards):
    events = shards[2] / rundir.EVENTS
    lines = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[len(lines) // 2][:20])
    log = shards[2] / rundir.HISTOGRAMS
    log.write_bytes(log.read_bytes()[:-30])
    directory, notes = merge([piece_of(shard) for shard in shards])
    assert notes == ["the last line of events.jsonl is torn, as the run broke off; it is left out"]
    stage = the_stage(analyse(directory))
    assert "shard 2 of 3 (pod-2, process 1) after " in stage["invalid_reasons"][0]
    assert "with 1 agent (2): its records break off" in stage["invalid_reasons"][0]
    assert 2.1 < stage["achieved"]["agents_alive_mean"] < 2.9


def test_a_shard_that_was_stopped_is_named_as_who_interrupted_the_stage(tmp_path):
    whole = a_run(THREE, levels=(3,))
    directories = write_shards(whole, THREE, tmp_path)
    events = directories[1] / rundir.EVENTS
    events.write_text(events.read_text().replace('"interrupted":null', '"interrupted":"SIGTERM"'))
    assert (
        "interrupted by SIGTERM in shard 1 of 3 (pod-1, process 1)"
        in the_stage(merged(directories))["invalid_reasons"][0]
    )


def test_a_shard_without_agents_in_a_stage_is_not_missed_there(tmp_path):
    whole = a_run(THREE, levels=(1,))
    assert merged(write_shards(whole, THREE, tmp_path))["verdict"] == "valid"


def test_a_shard_is_no_run_of_its_own(shards):
    with pytest.raises(UsageError, match="is one shard of a run; merge them with `swarm report DIR DIR"):
        analyse(shards[1])


def change(directory: Path, **changes: Any) -> None:
    path = directory / rundir.ENVIRONMENT
    environment = json.loads(path.read_text())
    for key, value in changes.items():
        environment[key] |= value
    rundir.write_json(path, environment)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shard": {"index": 1}}, "both are shard 1; give one"),
        ({"shard": {"run": "day"}}, "is a shard of the run day, and "),
        ({"shard": {"of": 4}}, "shard 2 of 4: this run has 3 shards"),
        ({"versions": {"swarm": "0.2"}}, "swarm 0.2 on Python 3.12, and shard 0 is swarm 0.1"),
        ({"targets": {"moe": {"model": "other", "version": "0.9"}}}, "its server is not that of shard 0, as to moe"),
    ],
)
def test_directories_that_do_not_belong_together_are_refused_and_nothing_is_left(shards, changes, why):
    change(shards[2], **changes)
    with pytest.raises(UsageError, match=why):
        merged(shards)
    assert not shards[0].with_name("shard-0-merged").exists()


def test_shards_of_another_scenario_are_refused_with_the_key(shards):
    path = shards[1] / rundir.SCENARIO
    path.write_text(path.read_text().replace("max_lag: 5ms", "max_lag: 6ms"))
    with pytest.raises(UsageError, match=r"its scenario is not that of shard 0, as to client\.max_lag"):
        merged(shards)


def test_an_environment_that_is_no_json_may_be_of_any_run_and_is_named(shards):
    (shards[1] / rundir.ENVIRONMENT).write_text("{")
    with pytest.raises(UsageError, match=r"shard-1/environment\.json: cannot be read: Expecting property name"):
        piece_of(shards[1])


@pytest.mark.parametrize("text", ['{"shard": {}}', '{"shard": {"index": "x"}}'])
def test_an_environment_that_cannot_be_read_is_refused_by_its_directory(shards, text):
    (shards[1] / rundir.ENVIRONMENT).write_text(text)
    with pytest.raises(UsageError, match="shard-1: not readable as a shard's run directory"):
        piece_of(shards[1])


@pytest.mark.parametrize("key", ["versions", "targets"])
def test_an_environment_that_lacks_something_is_refused_by_its_directory(shards, key):
    path = shards[1] / rundir.ENVIRONMENT
    rundir.write_json(path, {name: value for name, value in json.loads(path.read_text()).items() if name != key})
    with pytest.raises(UsageError, match=f"shard-1: not readable as a shard's run directory: KeyError: '{key}'"):
        piece_of(shards[1])


def test_a_file_that_is_missing_is_named_and_leaves_no_directory(shards):
    (shards[1] / rundir.HISTOGRAMS).unlink()
    with pytest.raises(UsageError, match=r"shard-1/histograms.hlog: No such file"):
        merged(shards)
    assert not shards[0].with_name("shard-0-merged").exists()


def test_damage_in_the_middle_of_a_file_is_told_with_its_line_and_leaves_no_directory(shards):
    events = shards[1] / rundir.EVENTS
    events.write_bytes(events.read_bytes().replace(b"\n", b"\nnonsense\n", 1))
    with pytest.raises(UsageError, match=r"shard-1/events.jsonl:2: the line is damaged"):
        merged(shards)
    assert not shards[0].with_name("shard-0-merged").exists()


def test_shards_are_merged_once_or_into_another_directory(shards, tmp_path):
    merged(shards)
    with pytest.raises(UsageError, match="shard-0-merged: exists already"):
        merged(shards)
    merged(shards, tmp_path / "again")
    assert (tmp_path / "again" / rundir.EVENTS).read_bytes() == (
        tmp_path / "shard-0-merged" / rundir.EVENTS
    ).read_bytes()


def test_every_time_of_a_record_is_known_as_a_moment_or_as_a_duration():
    """A new field must be one of `TIMES`, or it would stay on its shard's own time line."""
    kinds = [kind for kind in get_args(AnyRecord) if issubclass(kind, records.Record)]
    named = {name for kind in kinds for name in kind.__struct_fields__ if name.endswith("_ns") or name == "chunks"}
    assert named == {*TIMES, *DURATIONS}
    assert not {*TIMES} & DURATIONS
