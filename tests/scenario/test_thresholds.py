"""Thresholds are read strictly, and a mistake is shown where it is."""

import pytest

from swarm.scenario.thresholds import Threshold, parse_slo, parse_threshold


def test_a_latency_threshold_names_target_level_key_and_statistic() -> None:
    text = "moe.agents=4.ttft_s.p95 < 2.0"
    assert parse_threshold(text) == Threshold(text, "moe", 4, "ttft_s", "p95", "<", 2.0)


def test_a_single_number_takes_no_statistic_and_a_star_stands_for_every_target() -> None:
    text = "*.agents=8.contention <= 0.7"
    assert parse_threshold(text) == Threshold(text, "*", 8, "contention", None, "<=", 0.7)


def test_the_error_adjusted_percentiles_have_a_key_of_two_words() -> None:
    threshold = parse_threshold("a-b_1.agents=12.error_adjusted.e2e_s.p99>=1e3")
    assert (threshold.target, threshold.key, threshold.stat) == ("a-b_1", "error_adjusted.e2e_s", "p99")
    assert (threshold.operator, threshold.limit) == (">=", 1000.0)


@pytest.mark.parametrize(
    ("operator", "value", "holds"),
    [("<", 2.0, False), ("<=", 2.0, True), (">", 2.0, False), (">=", 2.0, True), ("<", 1.9, True), (">", 1.9, False)],
)
def test_each_operator_compares_as_it_reads(operator: str, value: float, holds: bool) -> None:
    assert parse_threshold(f"moe.agents=1.slowdown {operator} 2").holds(value) is holds


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 1, "a target's name or *"),
        ("Moe.agents=4.contention < 1", 1, "a target's name or *"),
        ("moe.agent=4.contention < 1", 5, "agents=N"),
        ("moe.agents=0.contention < 1", 5, "agents=N with N of 1 or more"),
        ("moe.agents=4.contenton < 1", 14, "did you mean contention?"),
        ("moe.agents=4.zzz < 1", 14, "known are in_flight_mean"),
        ("moe.agents=4.ttft_s < 1", 20, "a statistic of ttft_s: one of count, mean, p50"),
        ("moe.agents=4.ttft_s.p96 < 1", 21, "one of count, mean, p50, p90, p95, p99, max"),
        ("moe.agents=4.contention.p50 < 1", 24, "contention is a single number"),
        ("moe.agents=4.contention = 1", 24, "one of < <= > >="),
        ("moe.agents=4.contention < 2s", 28, "the end: contention is a plain number"),
        ("moe.agents=4.ttft.p95 < 2 parsecs", 26, "a unit of ttft_s: ms, s, m, h"),
        ("moe.agents=4.ttft.count < 2s", 28, "the end: ttft_s is a plain number"),
        ("moe.agents=4.output_tokens_per_s > 2s", 37, "a unit of output_tokens_per_s: tok/s, req/s, /s"),
        ("moe.agents=4.contention < fast", 26, "a number"),
    ],
)
def test_a_mistake_is_shown_with_its_column_and_what_would_be_right(text: str, column: int, expected: str) -> None:
    with pytest.raises(ValueError, match=f"column {column}: ") as error:
        parse_threshold(text)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("text", "key", "limit"),
    [
        ("ttft.p95 < 2s", "ttft_s", 2.0),
        ("itl.p99<50ms", "itl_s", 0.05),
        ("job_s.p50 < 3 m", "job_s", 180.0),
        ("error_adjusted.e2e.p99 < 1m", "error_adjusted.e2e_s", 60.0),
        ("retention > 50%", "retention", 0.5),
        ("agent_output_tokens_per_s.p50 > 20 tok/s", "agent_output_tokens_per_s", 20.0),
        ("ttft_s.p95<2", "ttft_s", 2.0),
    ],
)
def test_a_limit_may_have_its_unit_and_a_time_may_go_without_its_suffix(text: str, key: str, limit: float) -> None:
    assert (parse_slo(text).key, parse_slo(text).limit) == (key, pytest.approx(limit))
    assert parse_threshold(f"*.agents=4.{text}").limit == pytest.approx(limit)
