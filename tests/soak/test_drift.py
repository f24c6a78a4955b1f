"""Drift: what is found, what is not, and how often a quiet night is called a bad one."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from as_json import objects
from scipy import stats

from swarm.analysis.soak import drift as analysis
from swarm.analysis.stats import rank_tests
from swarm.catalogue import MIB
from swarm.results import plain

QUIET = json.loads(Path(__file__).with_name("quiet_soaks.json").read_text())
"""Metric -> ten predicted soaks of 240 windows each: four agents on a simulated MoE model, ten seeds."""
STRETCH = 30
"""Windows that the bootstrap keeps together, so that neighbours resemble each other as they do."""
NIGHT = 480


def night(seed: int, *, agents: int = 4) -> list[dict[str, Any]]:
    """A quiet night of 8 h, put together from random stretches of the ten."""
    pick = random.Random(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < NIGHT:
        soak, start = pick.randrange(10), pick.randrange(240 - STRETCH)
        rows += [{name: QUIET[name][soak][start + step] for name in QUIET} for step in range(STRETCH)]
    memory = 400 * MIB
    for number, row in enumerate(rows):
        breath = pick.gauss(0, 2) + 12 * (1 - 2 ** (-number / 5))  # as measured: it fills up, and then breathes
        row |= {
            "number": number,
            "agents": agents,
            "disturbed": None,
            "error_share": 0.0,
            "preemptions": 0.0,
            "client_rss_bytes": round(memory + breath * MIB),
            "server_rss_bytes": round(memory + breath * MIB),
        }
    return rows


def drift(rows: list[dict[str, Any]], window_s: float) -> list[dict[str, Any]]:
    return plain(analysis.drift(objects(rows), window_s))


def found(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in drift(rows, 60.0) if row["finding"]}


def changed(rows: list[dict[str, Any]], metric: str, change: Any) -> list[dict[str, Any]]:
    """The night with one metric changed, by a function of the hour."""
    return [row | {metric: row[metric] * change(number / 60)} for number, row in enumerate(rows)]


def test_of_a_thousand_quiet_series_fewer_than_ten_give_a_false_alarm():
    tested = false = 0
    for seed in range(150):
        for row in drift(night(seed), 60.0):
            tested += row["why_not"] is None
            false += row["finding"] is not None
    assert tested >= 1000
    assert false < tested / 100


def test_nor_do_they_when_the_machine_is_five_times_as_noisy_as_the_prediction():
    """Noise of 3% a minute that lasts for minutes (AR(1), 0.6), as on a machine that has other things to do."""
    tested = false = 0
    for seed in range(60):
        rows, noise, pick = night(seed), 0.0, random.Random(seed)
        for row in rows:
            noise = 0.6 * noise + pick.gauss(0, 0.024)
            for name in ("output_tokens_per_s", "ttft_s_p50", "itl_s_p50", "job_s_p50"):
                row[name] *= 1 + noise
        judged = drift(rows, 60.0)
        tested += sum(row["why_not"] is None for row in judged)
        false += sum(row["finding"] is not None for row in judged)
    assert false <= tested / 100


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_down_of_five_percent_over_the_night_is_found_with_its_size(seed):
    rows = changed(night(seed), "itl_s_p50", lambda hour: 1 + 0.05 * hour / 8)
    finding = found(rows)["itl_s_p50"]
    assert (finding["finding"], finding["worse"]) == ("trend", True)
    assert finding["change"] == pytest.approx(0.05 * 7.4 / 8, abs=0.006)
    low, high = finding["change_ci99"]
    assert low < finding["change"] < high
    assert "steadily" in finding["text"]


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_down_of_five_percent_at_once_is_found_with_its_time(seed):
    rows = changed(night(seed), "itl_s_p50", lambda hour: 1.05 if hour >= 5 else 1.0)
    finding = found(rows)["itl_s_p50"]
    assert (finding["finding"], finding["worse"]) == ("step", True)
    assert finding["since_h"] == pytest.approx(5, abs=0.2)
    assert finding["change"] == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("seed", range(5))
def test_throughput_that_falls_by_five_percent_is_found_and_one_that_rises_is_no_fault(seed):
    falling = found(changed(night(seed), "output_tokens_per_s", lambda hour: 0.95 if hour >= 3 else 1.0))
    assert falling["output_tokens_per_s"]["worse"]
    rising = found(changed(night(seed), "output_tokens_per_s", lambda hour: 1.06 if hour >= 3 else 1.0))
    assert not rising["output_tokens_per_s"]["worse"]
    assert "rose" in rising["output_tokens_per_s"]["text"]


@pytest.mark.parametrize("side", ["client_rss_bytes", "server_rss_bytes"])
@pytest.mark.parametrize("seed", range(5))
def test_a_leak_of_three_megabytes_an_hour_is_found_in_eight_hours_on_either_side(side, seed):
    rows = night(seed)
    for number, row in enumerate(rows):
        row[side] += round(3e6 * number / 60)
    finding = found(rows)[side]
    assert (finding["finding"], finding["worse"], finding["unit"]) == ("trend", True, "bytes_per_h")
    assert finding["change"] == pytest.approx(3e6, rel=0.15)


def test_a_cache_that_fills_up_at_the_start_or_once_is_no_leak():
    rows = night(1)
    for number, row in enumerate(rows):
        row["client_rss_bytes"] += round(80 * MIB * (1 - 2 ** (-number / 4)))
        row["server_rss_bytes"] += 60 * MIB if number > 200 else 0
    assert found(rows) == {}


def test_failures_that_begin_in_the_night_are_found_and_a_storm_of_them_is_no_slow_down():
    rows = night(2)
    for number, row in enumerate(rows):
        if number >= 300:
            row["error_share"] = 0.04
        if number in range(100, 130):
            row |= {"disturbed": "60% of the requests failed", "ttft_s_p50": row["ttft_s_p50"] / 3, "error_share": 0.6}
    assert set(found(rows)) == {"error_share"}


def test_under_a_pattern_equal_loads_are_compared_and_what_cannot_be_told_is_said():
    spikes = [row | {"agents": 8 if number % 15 >= 12 else 2} for number, row in enumerate(night(3))]
    for row in spikes:
        row["ttft_s_p50"] *= row["agents"]
    assert found(spikes) == {}
    assert set(found(changed(spikes, "ttft_s_p50", lambda hour: 1.1 if hour >= 4 else 1.0))) == {"ttft_s_p50"}
    ramp = [row | {"agents": 1 + number // 60} for number, row in enumerate(night(3))]
    verdicts = {row["metric"]: row["why_not"] for row in drift(ramp, 60.0)}
    assert "never came back" in verdicts["ttft_s_p50"]
    assert verdicts["client_rss_bytes"] is None


def test_a_short_soak_says_how_long_one_must_be():
    verdicts = drift(night(1)[:120], 60.0)
    assert {row["finding"] for row in verdicts} == {None}
    assert all("a soak of 2.5 h has enough" in row["why_not"] for row in verdicts)


@pytest.mark.parametrize("digits", [None, 0, 1])
def test_theil_sen_and_its_interval_are_scipys(digits):
    pick = random.Random(digits)
    for count in (3, 5, 20, 45):
        x = [index / 6 for index in range(count)]
        y = [0.3 * at + pick.gauss(0, 1) for at in x]
        y = y if digits is None else [round(value, digits) for value in y]
        theirs = stats.theilslopes(y, x, 0.99)
        ours = rank_tests.theil_sen(x, y, 0.99)
        assert ours.value == pytest.approx(theirs.slope)
        assert (ours.low, ours.high) == pytest.approx((theirs.low_slope, theirs.high_slope))


def test_a_shift_of_level_has_its_size_within_its_interval():
    pick = random.Random(5)
    covered = 0
    for _ in range(200):
        before, after = [pick.gauss(10, 1) for _ in range(12)], [pick.gauss(11, 1) for _ in range(15)]
        covered += rank_tests.shift(before, after).low <= 1 <= rank_tests.shift(before, after).high
    assert covered >= 196 - 4
    assert rank_tests.shift([1.0], [3.0]) == (2.0, 2.0, 2.0)


def test_changes_of_level_are_placed_where_they_are():
    pick = random.Random(3)
    values = [pick.gauss(level, 0.3) for level in (10, 12, 9) for _ in range(20)]
    assert rank_tests.changes(values, 1e-3, 6) == [20, 40]
    assert rank_tests.changes([pick.gauss(0, 1) for _ in range(60)], 1e-3, 6) == []
    assert rank_tests.change([1, 1, 1, 2, 2, 2]).at == 3
