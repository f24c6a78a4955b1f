"""Confidence over trials."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from swarm.analysis.stats.paired_ratio import paired_log_ratio, t_interval, t_quantile

RATES = st.lists(st.floats(0.01, 1e6), min_size=2, max_size=12)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 30, 99, 500])
def test_quantiles_are_those_of_students_distribution(freedom):
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def test_the_interval_of_a_mean_is_worked_out_by_students_t():
    low, high = t_interval([10, 11, 12])
    assert (low, high) == pytest.approx((11 - 4.30265 / math.sqrt(3), 11 + 4.30265 / math.sqrt(3)), rel=1e-5)


def test_one_value_has_no_interval_and_no_significance():
    assert t_interval([5.0]) is None
    assert paired_log_ratio([10], [20]) == (2, None, None)


def test_what_hits_both_of_a_pair_cancels_out():
    drifting = [10, 20, 40]
    ratio = paired_log_ratio(drifting, [1.2 * value for value in drifting])
    assert ratio.value == pytest.approx(1.2)
    assert ratio.interval == pytest.approx((1.2, 1.2))
    assert ratio.significant is True


def test_a_difference_within_the_noise_is_not_significant():
    ratio = paired_log_ratio([10, 11, 9, 10], [11, 10, 9.5, 10.1])
    assert ratio.interval[0] < 1 < ratio.interval[1]
    assert ratio.significant is False


def test_two_trials_give_an_interval_and_no_claim():
    ratio = paired_log_ratio([10, 10], [20, 21])
    assert ratio.interval is not None
    assert ratio.significant is None


@pytest.mark.parametrize(("baseline", "candidate"), [([], []), ([1, 0], [1, 1]), ([1, 1], [1, math.inf])])
def test_without_positive_numbers_on_both_sides_nothing_is_said(baseline, candidate):
    assert paired_log_ratio(baseline, candidate) == (None, None, None)


@given(RATES, st.floats(0.5, 2))
def test_exchanging_the_two_gives_the_reciprocal(rates, factor):
    others = [rate * factor * (1 + 0.1 * (place % 3)) for place, rate in enumerate(rates)]
    there, back = paired_log_ratio(rates, others), paired_log_ratio(others, rates)
    assert there.value == pytest.approx(1 / back.value)
    assert there.interval == pytest.approx((1 / back.interval[1], 1 / back.interval[0]))


def test_nineteen_of_twenty_intervals_hold_the_true_mean():
    generator = random.Random(7)
    samples = ([generator.gauss(100, 10) for _ in range(3)] for _ in range(2000))
    held = sum(low < 100 < high for low, high in map(t_interval, samples))
    assert 0.93 < held / 2000 < 0.97
