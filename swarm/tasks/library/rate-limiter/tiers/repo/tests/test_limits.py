import pytest

from quota import Limit, Quota

SECOND, MINUTE = Limit(3, 1), Limit(5, 60)


class Clock:
    def __init__(self):
        self.now = 600.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def quota(clock):
    return Quota([SECOND, MINUTE], clock)


def allowed(quota, times, key="a"):
    return [quota.use(key).allowed for _ in range(times)]


def test_the_short_limit_holds(quota, clock):
    assert allowed(quota, 4) == [True, True, True, False]
    clock.now += 1
    assert allowed(quota, 1) == [True]


def test_the_long_limit_holds_too(quota, clock):
    allowed(quota, 3)
    clock.now += 1
    assert allowed(quota, 3) == [True, True, False]
    clock.now = 660.0
    assert allowed(quota, 1) == [True]


def test_keys_do_not_share(quota):
    allowed(quota, 3)
    assert allowed(quota, 1, key="b") == [True]


def test_windows_start_at_multiples_of_their_length(quota, clock):
    clock.now = 600.9
    allowed(quota, 3)
    clock.now = 601.0
    assert allowed(quota, 1) == [True]


def test_all_or_nothing(quota, clock):
    assert quota.use("a", 3).allowed
    clock.now += 1
    assert not quota.use("a", 3).allowed
    assert quota.use("a", 2).allowed


def test_the_answer_is_about_the_limit_with_the_least_room(quota, clock):
    clock.now = 610.25
    first = quota.use("a")
    assert (first.limiting, first.left, first.reset, first.wait) == (SECOND, 2, 0.75, 0.0)
    clock.now = 611.25
    second = quota.use("a", 2)
    assert (second.limiting, second.left) == (SECOND, 1)
    clock.now = 612.25
    third = quota.use("a")
    assert (third.limiting, third.left, third.reset) == (MINUTE, 1, 47.75)


def test_a_tie_goes_to_the_longer_window(clock):
    limits = [Limit(2, 1), Limit(4, 60)]
    quota = Quota(limits, clock)
    quota.use("a", 2)
    clock.now += 1
    answer = quota.use("a", 2)
    assert (answer.limiting, answer.left) == (limits[1], 0)


def test_the_wait_is_for_the_last_of_the_full_windows(quota, clock):
    clock.now = 610.5
    allowed(quota, 3)
    assert quota.use("a").wait == 0.5
    clock.now = 611.0
    allowed(quota, 2)
    refused = quota.use("a", 2)
    assert (refused.allowed, refused.wait, refused.left) == (False, 49.0, 0)
    clock.now += 49.0
    assert quota.use("a", 2).allowed


@pytest.mark.parametrize("calls", [0, -1, 4])
def test_calls_that_can_never_be_made(quota, calls):
    with pytest.raises(ValueError, match="calls"):
        quota.use("a", calls)


def test_a_refund_counts_in_the_present_windows(quota, clock):
    allowed(quota, 3)
    quota.refund("a", 1)
    assert allowed(quota, 2) == [True, False]
    clock.now += 1
    quota.refund("a", 99)
    assert allowed(quota, 4) == [True, True, True, False]
    quota.refund("never seen")


def test_purging_drops_what_is_over(quota, clock):
    quota.use("a")
    clock.now = 659.0
    quota.use("b")
    assert quota.purge() == 0
    clock.now = 660.0
    assert quota.purge() == 2
