"""Targets side by side: what is compared with what, and when there is no ratio."""

from collections.abc import Callable
from typing import Any

import pytest
from as_json import sentences
from synthetic import Run

Analysed = Callable[[Run], dict[str, Any]]


def ratios(results: dict[str, Any], agents: int = 1) -> dict[str, float | None]:
    return {row["metric"]: row["ratio"] for row in results["comparison"] if row["agents"] == agents}


def test_moe_is_compared_with_dense_at_every_level(analysed: Analysed) -> None:
    run = Run(targets={"moe": "moe", "dense": "dense"}, levels=[1, 2])
    run.healthy("moe", 1, slower=0.5)
    run.healthy("dense", 1, slower=1.0)
    run.healthy("moe", 2, slower=1.0)
    run.healthy("dense", 2, slower=1.25)
    results = analysed(run)
    assert {(row["baseline"], row["candidate"]) for row in results["comparison"]} == {("dense", "moe")}
    close = {
        1: {"agent_output_tokens_per_s.p50": 2.0, "ttft_s.p50": 0.5, "retention": 1.0},
        2: {"agent_output_tokens_per_s.p50": 1.25, "ttft_s.p50": 0.8, "retention": 0.5 / 0.8},
    }
    for level, expected in close.items():
        found = ratios(results, level)
        assert {metric: found[metric] for metric in expected} == pytest.approx(expected, rel=2e-3)
        assert found["output_tokens_per_s"] == 1.0
        assert found["job_s.p50"] == 1.0
    row = next(row for row in results["comparison"] if row["metric"] == "output_tokens_per_s")
    assert (row["baseline_value"], row["candidate_value"]) == (10.0, 10.0)
    assert (row["ci95"], row["significant"]) == (None, None)


def test_an_invalid_stage_has_no_ratio(analysed: Analysed) -> None:
    run = Run(targets={"moe": "moe", "dense": "dense"})
    run.healthy("moe")
    run.healthy("dense", until=5.0)
    assert set(ratios(analysed(run)).values()) == {None}


def test_what_one_of_them_lacks_has_no_ratio(analysed: Analysed) -> None:
    run = Run(targets={"moe": "moe", "dense": "dense"})
    run.healthy("moe")
    run.healthy("dense", jobs=3)
    found = ratios(analysed(run))
    assert (found["job_s.p50"], found["jobs_per_h"], found["output_tokens_per_s"]) == (None, None, 1.0)


def test_targets_of_one_kind_are_compared_with_the_first(analysed: Analysed) -> None:
    run = Run(targets={"a": "dense", "b": "dense", "c": "dense"})
    for target in run.targets:
        run.healthy(target)
    pairs = {(row["baseline"], row["candidate"]) for row in analysed(run)["comparison"]}
    assert pairs == {("a", "b"), ("a", "c")}


def test_one_target_is_compared_with_nothing(analysed: Analysed) -> None:
    run = Run()
    run.healthy()
    assert analysed(run)["comparison"] == []


@pytest.mark.parametrize("predicted", [False, True], ids=["measured", "predicted"])
def test_only_measured_trials_give_intervals_and_significance(analysed: Analysed, predicted: bool) -> None:
    run = Run(targets={"moe": "moe", "dense": "dense"}, trials=3, predicted=predicted)
    for trial in (1, 2, 3):
        run.healthy("moe", trial=trial, slower=0.5 + trial / 100)
        run.healthy("dense", trial=trial, slower=1.0 + trial / 50)
    results = analysed(run)
    assert results["predicted"] is predicted
    (speed,) = (row for row in results["comparison"] if row["metric"] == "agent_output_tokens_per_s.p50")
    assert speed["ratio"] == pytest.approx(2.0, rel=0.01)
    assert speed["significant"] is (None if predicted else True)
    assert (speed["ci95"] is None) == predicted
    for target in results["targets"]:
        (stage,) = target["stages"]
        intervals = {*map(str, stage["ci95"].values()), str(stage["throughput"]["output_tokens_per_s_ci95"])}
        assert (intervals == {"None"}) == predicted
    told = " ".join(sentences(results))
    assert ("significantly faster" in told) is not predicted
    assert ("Predicted by the contention model" in told) is predicted
