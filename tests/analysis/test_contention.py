"""How much an agent loses among others: over the same jobs, on the same target, trial by trial."""

from collections.abc import Callable
from typing import Any

import pytest
from synthetic import Run

from swarm.analysis.slowdown.contention import Template, decode_retention, retention, slowdown

Analysed = Callable[[Run], dict[str, Any]]


def template(**amounts: float) -> Template:
    return Template(**amounts)  # type: ignore[arg-type]


def stages(results: dict[str, Any], target: int = 0) -> list[dict[str, Any]]:
    return results["targets"][target]["stages"]


def test_slower_replies_are_contention(analysed: Analysed) -> None:
    """Replies take 0.75 s instead of 0.6 s: 80% of the speed is kept; jobs end when they did, as tools wait less."""
    run = Run(levels=[1, 4])
    run.healthy(agents=1)
    run.healthy(agents=4, slower=1.25)
    loaded = stages(analysed(run))[1]
    assert loaded["retention"] == pytest.approx(0.8)
    assert loaded["contention"] == pytest.approx(0.2)
    assert loaded["decode_retention"] == pytest.approx(0.8)
    assert loaded["slowdown"] == pytest.approx(1.0)


def test_longer_jobs_are_slowdown(analysed: Analysed) -> None:
    """Turns every 1.2 s make jobs of 2.3 s instead of 1.9 s, at the same speed of writing."""
    run = Run(levels=[1, 2])
    run.healthy(agents=1, window_s=12)
    run.healthy(agents=2, period=1.2, window_s=12)
    loaded = stages(analysed(run))[1]
    assert loaded["slowdown"] == pytest.approx(2.3 / 1.9)
    assert loaded["retention"] == pytest.approx(1.0)


def test_only_the_job_templates_of_both_levels_are_compared(analysed: Analysed) -> None:
    """At 2 agents a slow template appears that one agent never saw: it must not look like contention."""
    run = Run(levels=[1, 2])
    run.healthy(agents=1)
    stage = run.stage(agents=2)
    stage.work(0)
    stage.work(1, slower=1.5, variant="other")
    stage.end()
    loaded = stages(analysed(run))[1]
    assert loaded["agent_output_tokens_per_s"]["min"] == pytest.approx(10 / 0.9)
    assert (loaded["retention"], loaded["slowdown"]) == (1.0, 1.0)


def test_templates_that_never_meet_leave_no_answer(analysed: Analysed) -> None:
    run = Run(levels=[1, 2])
    run.healthy(agents=1, variant="a")
    run.healthy(agents=2, variant="b")
    loaded = stages(analysed(run))[1]
    assert [loaded[key] for key in ("retention", "contention", "decode_retention", "slowdown")] == [None] * 4


def test_without_a_stage_of_one_agent_there_is_no_contention(analysed: Analysed) -> None:
    run = Run(levels=[2, 4])
    run.healthy(agents=2)
    run.healthy(agents=4)
    for stage in stages(analysed(run)):
        assert [stage[key] for key in ("retention", "contention", "decode_retention", "slowdown")] == [None] * 4


def test_each_target_is_compared_with_itself(analysed: Analysed) -> None:
    run = Run(targets={"moe": "moe", "dense": "dense"}, levels=[1, 2])
    for target, alone, among in (("moe", 0.5, 1.0), ("dense", 1.0, 1.25)):
        run.healthy(target, 1, slower=alone)
        run.healthy(target, 2, slower=among)
    results = analysed(run)
    assert stages(results, 0)[1]["retention"] == pytest.approx(0.5)
    assert stages(results, 1)[1]["retention"] == pytest.approx(0.8)


def test_trials_are_paired_and_their_ratios_averaged_geometrically(analysed: Analysed) -> None:
    """The second trial ran on a machine half as fast: each pair keeps 80% and 50%, so sqrt(0.4) together."""
    run = Run(levels=[1, 2], trials=2)
    for trial, alone, among in ((1, 0.5, 0.625), (2, 0.5 * 1.25, 1.25)):
        run.healthy(agents=1, trial=trial, slower=alone)
        run.healthy(agents=2, trial=trial, slower=among)
    loaded = stages(analysed(run))[1]
    assert [detail["retention"] for detail in loaded["trials_detail"]] == [pytest.approx(0.8), pytest.approx(0.5)]
    assert loaded["retention"] == pytest.approx(0.4**0.5)


def test_a_trial_without_its_partner_is_not_compared(analysed: Analysed) -> None:
    run = Run(levels=[1, 2], trials=2)
    run.healthy(agents=1, trial=1)
    run.healthy(agents=2, trial=1, slower=1.25)
    run.healthy(agents=2, trial=2, slower=1.5)
    loaded = stages(analysed(run))[1]
    assert loaded["retention"] == pytest.approx(0.8)
    assert loaded["trials_detail"][1]["retention"] is None


def test_an_invalid_stage_of_one_agent_is_no_base(analysed: Analysed) -> None:
    run = Run(levels=[1, 2])
    run.healthy(agents=1, until=9.0)  # 9 turns, and 10 are needed
    run.healthy(agents=2)
    for stage in stages(analysed(run)):
        assert [stage[key] for key in ("retention", "contention", "decode_retention", "slowdown")] == [None] * 4
        assert "contention and slowdown are left out because the 1-agent stage is invalid" in stage["notes"]


def test_output_rates_weigh_templates_by_their_work() -> None:
    """Alone 300 tokens in 3 s; among others 600 tokens in 12 s: half the rate."""
    alone = {"a": template(tokens=100, serving_ns=2), "b": template(tokens=200, serving_ns=1)}
    loaded = {"a": template(tokens=500, serving_ns=9), "b": template(tokens=100, serving_ns=3)}
    assert retention([(loaded, alone)]) == pytest.approx((600 / 12) / (300 / 3))


def test_a_target_that_wrote_nothing_among_others_kept_nothing() -> None:
    alone, starved = {"a": template(tokens=100, serving_ns=2)}, {"a": template(tokens=0, serving_ns=9)}
    assert retention([(starved, alone)]) == 0.0
    assert retention([(starved, starved)]) is None


def test_decode_retention_compares_mean_tpot() -> None:
    alone, loaded = {"a": template(replies=4, tpot_ns=40.0)}, {"a": template(replies=2, tpot_ns=50.0)}
    assert decode_retention([(loaded, alone)]) == pytest.approx(10 / 25)


def test_slowdown_is_a_geometric_mean_over_templates() -> None:
    """One template takes 4 times as long, one as long as before: 2 times."""
    alone = {"a": template(jobs=1, job_ns=10), "b": template(jobs=2, job_ns=20), "c": template(jobs=1, job_ns=5)}
    loaded = {"a": template(jobs=2, job_ns=80), "b": template(jobs=1, job_ns=10), "c": template(jobs=0)}
    assert slowdown([(loaded, alone)]) == pytest.approx(2.0)
