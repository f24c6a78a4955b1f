import pytest

from gate.limiter import Decision, TokenBucket


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limiter(clock):
    return TokenBucket(rate=2, burst=4, clock=clock)


def allowed(limiter, key, times):
    return [limiter.ask(key).allowed for _ in range(times)]


def test_a_burst_passes_and_the_next_does_not(limiter):
    assert allowed(limiter, "a", 5) == [True, True, True, True, False]


def test_what_is_left_is_counted(limiter):
    assert [limiter.ask("a").remaining for _ in range(5)] == [3, 2, 1, 0, 0]


def test_clients_do_not_share(limiter):
    allowed(limiter, "a", 4)
    assert limiter.ask("b") == Decision(True, 3)


def test_tokens_come_back_with_time(limiter, clock):
    allowed(limiter, "a", 4)
    clock.now += 1.0
    assert allowed(limiter, "a", 3) == [True, True, False]


def test_a_bucket_never_overflows(limiter, clock):
    limiter.ask("a")
    clock.now += 3600
    assert allowed(limiter, "a", 5) == [True, True, True, True, False]


def test_retry_after_is_exact(limiter, clock):
    allowed(limiter, "a", 4)
    clock.now += 0.125
    refused = limiter.ask("a")
    assert refused == Decision(False, 0, retry_after=0.375)
    clock.now += 0.375
    assert limiter.ask("a").allowed


def test_being_refused_costs_nothing(limiter, clock):
    allowed(limiter, "a", 50)
    clock.now += 0.5
    assert limiter.ask("a").allowed


def test_an_expensive_request_takes_all_or_nothing(limiter):
    assert limiter.ask("a", cost=3) == Decision(True, 1)
    assert limiter.ask("a", cost=2) == Decision(False, 1, retry_after=0.5)
    assert limiter.ask("a", cost=1) == Decision(True, 0)


@pytest.mark.parametrize("cost", [0, -1, 5])
def test_costs_that_cannot_be_paid_are_refused(limiter, cost):
    with pytest.raises(ValueError, match="cost"):
        limiter.ask("a", cost=cost)


def test_idle_clients_are_forgotten(limiter, clock):
    limiter.ask("a")
    allowed(limiter, "b", 4)
    clock.now += 1.0
    assert limiter.forget_idle() == 1
    clock.now += 1.0
    assert limiter.forget_idle() == 1
    assert limiter.forget_idle() == 0
