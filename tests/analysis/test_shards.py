"""A stage whose agents are shared by several processes: each is judged by itself, and a lost one is told of."""

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from synthetic import Run, Stage, ns

from swarm.analysis.schema import results_schema

Analysed = Callable[[Run], dict[str, Any]]
NAMES = ("shard 0 (node 10.0.0.1)", "shard 1 (node 10.0.0.2)")


def shared() -> tuple[Run, Stage]:
    """Two agents in two shards, complete but for its end."""
    run = Run(levels=[2])
    stage = run.stage(agents=2)
    for shard, name in enumerate(NAMES):
        stage.join(shard, name, [shard], offset_ns=shard * ns(100.5), round_trip_ns=shard * ns(0.002))
        stage.work(shard, shard=shard)
    return run, stage


def test_each_shard_tells_of_its_clock_and_of_itself(only_stage: Analysed, analysed: Analysed) -> None:
    run, stage = shared()
    for second in range(1, 10):
        stage.watch(second, shard=0, cpu_ns=ns(0.1))
        stage.watch(second, shard=1, cpu_ns=ns(0.3), lag_ns=[200_000] * 100)
    stage.end(watched=False)
    found = only_stage(run)
    assert found["valid"]
    first, second = found["shards"]
    assert first == {
        "shard": 0,
        "name": NAMES[0],
        "agents": 1,
        "lost": None,
        "clock_offset_s": 0.0,
        "clock_uncertainty_s": 0.0,
        "cpu_share": pytest.approx(0.1),
        "lag_p99_s": pytest.approx(0.0001, rel=0.01),
        "timing_error_p99_s": pytest.approx(0.0001, rel=0.01),
    }
    assert (second["clock_offset_s"], second["clock_uncertainty_s"]) == (100.5, 0.001)
    assert second["cpu_share"] == pytest.approx(0.3)
    assert found["trials_detail"][0]["shards"] == found["shards"]
    jsonschema.validate(analysed(run), results_schema())


def test_a_slow_shard_is_named_though_all_together_are_fast_enough(only_stage: Analysed) -> None:
    run, stage = shared()
    for second in range(1, 10):
        stage.watch(second, shard=0, chunks=10_000, lag_ns=[100_000] * 100)
        stage.watch(second, shard=1, chunks=10, lag_ns=[100_000] * 98 + [ns(0.012)] * 2)
    stage.end(watched=False)
    (reason,) = only_stage(run)["invalid_reasons"]
    assert reason.startswith(f"{NAMES[1]}: the load generator was too slow: times may be off by 12 ms")


def test_a_slow_shard_tells_how_many_others_were_slow(only_stage: Analysed) -> None:
    run, stage = shared()
    for second in range(1, 10):
        for shard in (0, 1):
            stage.watch(second, shard=shard, cpu_ns=ns(0.93))
    stage.end(watched=False)
    (reason,) = only_stage(run)["invalid_reasons"]
    assert reason.startswith(f"{NAMES[0]}: the load generator was too slow: it used 93% of a CPU core")
    assert reason.endswith("(and 1 other shard likewise)")


def test_a_lost_shard_makes_the_stage_invalid_and_is_named_with_its_agents(only_stage: Analysed) -> None:
    run, stage = shared()
    stage.lose(4.0, 1, NAMES[1], [1], "its process was killed (SIGKILL)")
    stage.live(0, -2, 10)
    stage.live(1, -2, 4)
    stage.end(alive=False, counters={"prompt_tokens": 1.0, "completion_tokens": 1.0})
    found = only_stage(run)
    lost, died = found["invalid_reasons"]
    assert lost == (
        "shards were lost: shard 1 (node 10.0.0.2) after 6.0 s with 1 agent (1): its process was killed (SIGKILL); "
        "run it again"
    )
    assert died.startswith("agents died: 1.40 of 2 were alive on average")
    assert [shard["lost"] for shard in found["shards"]] == [None, "its process was killed (SIGKILL)"]
    assert any("those of lost shards are missing" in note for note in found["notes"])


def test_a_shard_that_had_no_agents_is_no_loss(only_stage: Analysed) -> None:
    run = Run()
    stage = run.stage()
    stage.work()
    stage.join(1, NAMES[1], [])
    stage.lose(4.0, 1, NAMES[1], [], "gone")
    stage.end()
    assert only_stage(run)["valid"]


def test_one_process_has_no_shards(only_stage: Analysed) -> None:
    run = Run()
    run.healthy()
    assert only_stage(run)["shards"] == []
