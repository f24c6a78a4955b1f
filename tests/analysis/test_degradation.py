"""What more agents cost, how sure that is, and whether the warm-up was long enough: from synthetic runs."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from as_json import sentences
from synthetic import Run

Analysed = Callable[[Run], dict[str, Any]]


def three_trials() -> Run:
    """Replies of moe twice as fast as dense's; in each trial the machine is a little slower than in the one before."""
    run = Run(targets={"moe": "moe", "dense": "dense"}, levels=[1, 4], trials=3)
    for trial, drift in ((1, 1.0), (2, 1.05), (3, 1.1)):
        for level, slower in ((1, 0.5), (4, 0.6)):
            run.healthy("moe", level, trial, slower=slower * drift)
            run.healthy("dense", level, trial, slower=2 * slower * drift)
    return run


def test_efficiency_inflation_and_tokens_of_a_job_are_worked_out_by_hand(analysed: Analysed) -> None:
    stage = analysed(three_trials())["targets"][0]["stages"][1]
    assert stage["scaling_efficiency"] == pytest.approx(1)  # a turn a second each, whatever it takes
    assert stage["ttft_inflation"] == pytest.approx({"p50": 1.2, "p95": 1.2}, rel=3e-3)
    assert stage["itl_inflation"] == pytest.approx({"p50": 1.2, "p95": 1.2}, rel=3e-3)
    assert stage["tokens_per_job"] == 20


def test_intervals_over_trials_hold_the_drift_and_paired_ratios_do_not(analysed: Analysed) -> None:
    results = analysed(three_trials())
    stage = results["targets"][0]["stages"][0]
    low, high = stage["ci95"]["ttft_s.p50"]
    assert (low, high) == pytest.approx((0.105 - 4.3027 * 0.005 / 3**0.5, 0.105 + 4.3027 * 0.005 / 3**0.5), rel=3e-3)
    assert stage["ci95"]["contention"] == pytest.approx([0, 0], abs=1e-9)
    row = next(row for row in results["comparison"] if (row["agents"], row["metric"]) == (4, "ttft_s.p50"))
    assert row["ratio"] == pytest.approx(0.5, rel=2e-3)
    assert row["ci95"] == pytest.approx([0.5, 0.5], rel=5e-3)
    assert (row["significant"], row["trials"]) == (True, 3)
    assert results["crossings"] == []
    assert results["targets"][0]["usl"]["reason"].startswith("the Universal Scalability Law needs 6 valid levels")


def test_the_ending_says_which_model_is_faster_for_sure(analysed: Analysed) -> None:
    said = sentences(analysed(three_trials()))
    assert "Per agent, moe is significantly faster at 1 and 4 agents (2.0x) (95%, 3 trials)." in said


def test_a_start_up_that_reaches_into_the_window_is_told_with_its_bias(only_stage: Analysed) -> None:
    run = Run(levels=[4])
    stage = run.stage(agents=4, window_s=60)
    for place in range(240):
        tokens = 10 if place < 60 else 40
        stage.attempt(place / 4, agent=place % 4, waits=[0.2, 0.05, 0.05, 0.05, 0.1], tokens=tokens)
    stage.end()
    found = only_stage(run)
    assert found["warmup"]["seconds"] == pytest.approx(2, abs=0.1)
    assert found["warmup"]["transient_s"] == pytest.approx(17, abs=1)
    assert found["warmup"]["bias"] == pytest.approx((15 * 10 + 45 * 40) / 60 / 40 - 1, abs=0.02)
    (note,) = [note for note in found["notes"] if "warm-up" in note]
    assert note.startswith("the warm-up of 2 s was too short: the start-up lasted 17 s (MSER-5)")


def test_a_steady_stage_says_nothing_of_its_warm_up(only_stage: Analysed) -> None:
    run = Run()
    run.healthy(window_s=60.0)
    found = only_stage(run)
    assert found["warmup"]["bias"] == 0
    assert not any("warm-up" in note or "steady" in note for note in found["notes"])


@pytest.mark.parametrize(("planned_alive", "told"), [(None, True), (4.0, True), (2.5, False)])
def test_a_soak_whose_pattern_lets_agents_rest_is_not_told_to_settle(
    only_stage: Analysed, planned_alive: float | None, told: bool
) -> None:
    run = Run(levels=[4])
    stage = run.stage(agents=4, window_s=60)
    run.published[0] = msgspec.structs.replace(run.published[0], planned_alive=planned_alive)
    for place in range(240):
        stage.attempt(place / 4, agent=place % 4, waits=[0.2, 0.05, 0.05, 0.05, 0.1], tokens=10 + place)
    stage.end()
    notes = only_stage(run)["notes"]
    assert any(note.startswith("no steady state") for note in notes) is told
