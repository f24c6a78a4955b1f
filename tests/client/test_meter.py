from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.client.base import Meter
from swarm.client.meter import SAMPLES, LagMeter


@given(st.lists(st.integers(0, 10**9), max_size=300), st.integers(1, 40))
def test_the_sample_is_bounded_and_holds_the_maximum(lags: list[int], times: int) -> None:
    meter = LagMeter()
    for _ in range(times):
        for begin in range(0, len(lags), 7):
            meter.saw(lags[begin : begin + 7], len(lags[begin : begin + 7]))
    taken = meter.take("kernel")
    assert len(taken.lags_ns) <= SAMPLES
    assert taken.chunks == len(lags) * times
    assert set(taken.lags_ns) <= set(lags)
    if lags:
        assert max(taken.lags_ns) == max(lags)


@pytest.mark.parametrize("together", [1, 5, 32, 10 * SAMPLES])
def test_a_full_sample_is_thinned_evenly(together: int) -> None:
    meter = LagMeter()
    for lag in range(0, 10 * SAMPLES, together):
        meter.saw(range(lag, lag + together), 0)
    sample = sorted(meter.take("kernel").lags_ns)
    assert SAMPLES // 2 <= len(sample) <= SAMPLES
    steps = {later - earlier for earlier, later in pairwise(sample)}
    assert len(steps - {10 * SAMPLES - 1 - sample[-2]}) == 1, "but for the greatest, which is always kept"
    assert abs(sample[len(sample) // 2] - 5 * SAMPLES) < SAMPLES / 10


def test_each_look_starts_afresh() -> None:
    meter = LagMeter()
    meter.saw([5], 3)
    meter.shared([900, 900])
    meter.count(4)
    first, second = meter.take("kernel"), meter.take("user")
    assert first == Meter(array("q", [5]), 7, 2, "kernel", array("q", [900, 900]))
    assert second == Meter(array("q"), 0, 0, "user", array("q"))


def test_stamps_of_our_own_have_no_lag() -> None:
    """They are taken as the bytes are read: how long those had waited cannot be known."""
    meter = LagMeter()
    meter.saw([5], 1)
    assert list(meter.take("user").lags_ns) == []
