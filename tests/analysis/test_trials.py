"""Several trials of a stage: distributions pooled, rates averaged, each trial told by itself."""

from collections.abc import Callable
from typing import Any

import pytest
from synthetic import Run

Analysed = Callable[[Run], dict[str, Any]]


def two_trials() -> Run:
    """Agents write 10 tok/s in the first trial and, with replies twice as long, 20 tok/s in the second."""
    run = Run(trials=2)
    run.healthy(trial=1)
    run.healthy(trial=2, tokens=20, slower=1.5)
    return run


def test_distributions_and_counts_are_pooled_and_rates_averaged(only_stage: Analysed) -> None:
    stage = only_stage(two_trials())
    assert stage["trials"] == 2
    assert stage["window_s"] == 10.0
    assert stage["throughput"]["output_tokens_per_s"] == 15.0
    assert stage["throughput"]["jobs_per_h"] == 1800.0
    assert stage["achieved"]["in_flight_mean"] == pytest.approx(0.75)
    assert stage["latency"]["ttft_s"]["count"] == 20
    assert stage["latency"]["ttft_s"]["p50"] == pytest.approx(0.2, rel=1e-3)
    assert stage["latency"]["ttft_s"]["p95"] == pytest.approx(0.3, rel=1e-3)
    assert stage["latency"]["ttft_s"]["mean"] == pytest.approx(0.25, rel=1e-3)
    assert stage["tokens"] == {"prompt": 20_000, "cached_prompt": 16_000, "completion": 300}
    assert stage["jobs"] == {"started": 10, "finished": 10, "censored": 0, "outcomes": {"answered": 10}}
    (agent,) = stage["per_agent"]
    assert agent["output_tokens_per_s"] == pytest.approx(300 / (6 + 9))
    assert (agent["turns"], agent["jobs"]) == (20, 10)


def test_each_trial_is_told_with_the_same_keys(only_stage: Analysed) -> None:
    stage = only_stage(two_trials())
    first, second = stage["trials_detail"]
    assert (first["trial"], second["trial"]) == (1, 2)
    assert [detail["throughput"]["output_tokens_per_s"] for detail in (first, second)] == [10.0, 20.0]
    assert (
        first.keys() - {"trial"}
        == second.keys() - {"trial"}
        == stage.keys() - {"trials_detail", "ci95", "expected_error"}
    )


def test_with_one_trial_the_trial_is_the_stage(only_stage: Analysed) -> None:
    run = Run()
    run.healthy()
    stage = only_stage(run)
    (detail,) = stage.pop("trials_detail")
    assert set(stage.pop("ci95").values()) == {None}
    assert stage.pop("expected_error") is None
    assert detail.pop("trial") == 1
    low, high = detail["throughput"].pop("output_tokens_per_s_ci95")
    assert low < 10 < high
    assert stage["throughput"].pop("output_tokens_per_s_ci95") is None
    assert detail == stage


def test_one_bad_trial_makes_the_stage_invalid_and_is_named(only_stage: Analysed) -> None:
    run = Run(trials=2)
    run.healthy(trial=1)
    stage = run.stage(trial=2)
    stage.work()
    stage.failed(9.7, 9.8)
    stage.end()
    found = only_stage(run)
    assert [detail["valid"] for detail in found["trials_detail"]] == [True, False]
    (reason,) = found["invalid_reasons"]
    assert reason.startswith("trial 2: requests failed: 1 of 11")


def test_a_trial_that_did_not_run_is_named_and_the_others_stand(only_stage: Analysed) -> None:
    run = Run(trials=2)
    run.healthy(trial=1)
    found = only_stage(run)
    assert (found["status"], found["valid"]) == ("run", False)
    assert found["invalid_reasons"] == ["trial 2: not run: the run ended before this stage"]
    assert [detail["status"] for detail in found["trials_detail"]] == ["run", "skipped"]
    assert found["throughput"]["output_tokens_per_s"] == 10.0


def test_the_turns_of_all_trials_together_must_suffice(only_stage: Analysed) -> None:
    run = Run(trials=2)
    run.healthy(trial=1, until=6.0)
    run.healthy(trial=2, until=4.0)
    found = only_stage(run)
    assert found["valid"]
    assert all(detail["valid"] for detail in found["trials_detail"])


def test_fairness_is_judged_within_each_trial(only_stage: Analysed) -> None:
    """Each agent is starved in one trial: over both they get the same, yet neither trial was fair."""
    run = Run(levels=[2], trials=2)
    for trial in (1, 2):
        stage = run.stage(agents=2, trial=trial)
        stage.work(trial - 1)
        stage.attempt(0.0, agent=2 - trial, waits=[], tokens=None, chunks=None, end=10.0, aborted=True)
        stage.end()
    assert only_stage(run)["fairness_jain"] == 0.5
