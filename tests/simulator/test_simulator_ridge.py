import math

import pytest

from swarm.simulator.profiles.ridge import solve


def test_what_the_data_tell_is_found_and_what_they_do_not_stays_as_expected():
    found = solve(lambda z: [100 * (math.exp(z[0]) - 2.0), 100 * (math.exp(z[0]) - 2.0)], 2)
    assert math.exp(found.at[0]) == pytest.approx(2, abs=1e-3)
    assert found.at[1] == 0
    assert found.spread[0] < 0.01
    assert found.spread[1] == pytest.approx(1)


def test_two_parameters_that_only_appear_as_a_sum_share_what_is_to_explain():
    found = solve(lambda z: [50 * (z[0] + z[1] - 1)], 2)
    assert found.at[0] == pytest.approx(found.at[1])
    assert sum(found.at) == pytest.approx(1, abs=1e-3)
    assert found.spread == pytest.approx((math.sqrt(0.5), math.sqrt(0.5)), rel=1e-2)


def test_parameters_in_any_order_of_size_are_solved_for():
    found = solve(lambda z: [1000 * (z[1] - 0.2), 1e-3 * z[0], 10 * (z[2] + z[1] + 1)], 3)
    assert found.at[1] == pytest.approx(0.2, abs=1e-4)
    assert found.at[2] == pytest.approx(-1.2, abs=0.02)


def test_nothing_is_looked_for_beyond_all_that_is_expected():
    assert abs(solve(lambda z: [1e6 * (z[0] - 100)], 1).at[0]) <= 12
