"""Thresholds held against results, and every key that they may name."""

from collections.abc import Callable
from typing import Any

import pytest
from as_json import objects
from synthetic import Run

from swarm.analysis.lookup import value_of
from swarm.catalogue import numbers

Analysed = Callable[[Run], dict[str, Any]]


def two_targets(*thresholds: str) -> Run:
    run = Run(targets={"moe": "moe", "dense": "dense"}, levels=[1], thresholds=list(thresholds), max_error_share="50%")
    run.healthy("moe")
    stage = run.stage("dense")
    stage.work(slower=1.25)
    stage.failed(9.8, 9.9)
    stage.end()
    return run


def rows(results: dict[str, Any]) -> list[tuple[str, Any, bool, str | None]]:
    return [(row["target"], row["value"], row["passed"], row["reason"]) for row in results["thresholds"]]


def test_a_threshold_has_its_value_and_passes_or_not(analysed: Analysed) -> None:
    results = analysed(two_targets("moe.agents=1.output_tokens_per_s >= 10", "dense.agents=1.ttft_s.p95 < 0.2"))
    assert rows(results) == [
        ("moe", 10.0, True, None),
        ("dense", pytest.approx(0.25, rel=1e-3), False, None),
    ]
    assert results["thresholds"][0]["expression"] == "moe.agents=1.output_tokens_per_s >= 10"


def test_a_star_asks_every_target(analysed: Analysed) -> None:
    assert rows(analysed(two_targets("*.agents=1.errors < 1"))) == [("moe", 0, True, None), ("dense", 1, False, None)]


@pytest.mark.parametrize("expression", ["moe.agents=8.slowdown < 9", "gpt.agents=1.slowdown < 9"])
def test_a_missing_value_fails_and_says_so(analysed: Analysed, expression: str) -> None:
    (row,) = rows(analysed(two_targets(expression)))
    assert row[1:] == (None, False, "no value")


def test_what_was_not_measured_has_no_value(analysed: Analysed) -> None:
    (row,) = rows(analysed(two_targets("moe.agents=1.server_running_mean < 9")))
    assert row == ("moe", None, False, "no value")


def test_infinity_is_a_value_that_is_larger_than_any(analysed: Analysed) -> None:
    results = analysed(
        two_targets("dense.agents=1.error_adjusted.e2e_s.p99 < 1e9", "dense.agents=1.error_adjusted.e2e_s.p99 > 1e9")
    )
    assert rows(results) == [("dense", "inf", False, None), ("dense", "inf", True, None)]


def test_every_key_that_a_threshold_may_name_is_in_the_results(analysed: Analysed) -> None:
    run = two_targets()
    results = analysed(run)
    stage = results["targets"][0]["stages"][0]
    unmeasured = {"server_running_mean"}
    for number in numbers(lambda metric: metric.stats):
        assert (value_of(objects(stage), number) is None) is (number.name in unmeasured), number.name


def test_a_skipped_stage_has_no_number_of_errors(analysed: Analysed) -> None:
    run = Run(levels=[1, 2], thresholds=["moe.agents=2.errors < 1"])
    run.healthy()
    assert rows(analysed(run)) == [("moe", None, False, "no value")]
