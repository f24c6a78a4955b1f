"""Distributions by their median and 90th percentile."""

from statistics import median, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.sessions.spread import BLOCK, Draws, Spread


@given(st.floats(1, 1e4), st.floats(1, 20))
def test_median_and_90th_percentile_are_those_that_were_given(middle, ratio):
    spread = Spread(middle, middle * ratio, 1e9)
    assert spread.at(0.5) == pytest.approx(middle)
    assert spread.at(0.9) == pytest.approx(middle * ratio)


def test_what_is_published_of_growth_gives_nearly_the_published_mean():
    growth = Spread(652, 4_123, 1e9)  # TraceLab: mean 1,738
    assert growth.mean == pytest.approx(1_738, rel=0.08)


def test_a_maximum_of_nothing_leaves_a_wait_out():
    assert Spread(135, 600, 0).at(0.99) == 0.0
    assert Spread(0, 0, 5).at(0.99) == 0.0


def test_each_block_of_draws_has_a_value_of_every_part_of_the_distribution():
    draws = Draws("seed")
    for _ in range(50):
        assert sorted(int(draws.quantile("reply") * BLOCK) for _ in range(BLOCK)) == list(range(BLOCK))


def test_many_draws_have_the_distribution():
    draws, spread = Draws("seed"), Spread(250, 1_180, 1e9)
    values = [draws.value("reply", spread) for _ in range(4_000)]
    assert median(values) == pytest.approx(250, rel=0.05)
    assert quantiles(values, n=10)[-1] == pytest.approx(1_180, rel=0.08)


def test_one_distribution_s_draws_do_not_depend_on_how_often_another_is_drawn():
    one, other = Draws("seed"), Draws("seed")
    for _ in range(5):
        other.quantile("turns")
    assert [one.quantile("reply") for _ in range(9)] == [other.quantile("reply") for _ in range(9)]
