import pytest

from loginguard.window import SlidingWindow


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def window(clock):
    return SlidingWindow(limit=3, window=60.0, clock=clock)


def test_events_are_counted_by_key(window):
    assert [window.record("a"), window.record("a"), window.record("b")] == [1, 2, 1]
    assert (window.count("a"), window.count("b"), window.count("c")) == (2, 1, 0)


def test_an_event_counts_until_just_before_its_end(window, clock):
    window.record("a")
    clock.now += 59.9
    assert window.count("a") == 1
    clock.now = 1060.0
    assert window.count("a") == 0


def test_the_window_slides_over_full_minutes(window, clock):
    clock.now = 1019.0
    window.record("a")
    window.record("a")
    clock.now = 1021.0
    assert window.record("a") == 3
    assert window.blocked_for("a") > 0


def test_events_leave_one_by_one(window, clock):
    for at in (1000.0, 1010.0, 1020.0):
        clock.now = at
        window.record("a")
    clock.now = 1065.0
    assert window.count("a") == 2
    clock.now = 1075.0
    assert window.count("a") == 1


def test_the_wait_ends_when_the_oldest_event_does(window, clock):
    for at in (1000.0, 1010.0, 1020.0):
        clock.now = at
        window.record("a")
    assert window.blocked_for("a") == 40.0
    clock.now = 1060.0
    assert window.blocked_for("a") == 0.0


def test_trying_on_makes_the_wait_longer(window, clock):
    for at in (1000.0, 1001.0, 1002.0, 1030.0):
        clock.now = at
        window.record("a")
    assert window.count("a") == 3
    assert window.blocked_for("a") == 31.0


def test_no_more_than_the_limit_is_kept(window):
    assert [window.record("a") for _ in range(1000)][-1] == 3


def test_success_starts_anew(window):
    for _ in range(3):
        window.record("a")
    window.forget("a")
    window.forget("never seen")
    assert window.blocked_for("a") == 0.0


def test_sweeping_drops_what_is_over(window, clock):
    window.record("a")
    clock.now += 30
    window.record("b")
    clock.now += 30
    assert window.sweep() == 1
    assert window.count("b") == 1
    assert window.sweep() == 0


@pytest.mark.parametrize(("limit", "seconds"), [(0, 1.0), (1, 0.0)])
def test_settings_that_make_no_sense_are_refused(limit, seconds, clock):
    with pytest.raises(ValueError, match="must be"):
        SlidingWindow(limit, seconds, clock)
