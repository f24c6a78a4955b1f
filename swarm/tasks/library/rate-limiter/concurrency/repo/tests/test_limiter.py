import pytest

from slots.limiter import SlotLimiter


class Clock:
    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limiter(clock):
    return SlotLimiter(total=3, per_tenant=2, lease=10.0, clock=clock)


def test_slots_are_limited_by_tenant_and_in_all(limiter):
    assert limiter.acquire("a") and limiter.acquire("a")
    assert limiter.acquire("a") is None
    assert limiter.acquire("b")
    assert limiter.acquire("c") is None
    assert (limiter.in_use("a"), limiter.in_use("b"), limiter.in_use("c"), limiter.in_use()) == (2, 1, 0, 3)


def test_a_released_slot_can_be_had_again(limiter):
    first, _ = limiter.acquire("a"), limiter.acquire("a")
    assert limiter.release(first)
    assert limiter.acquire("a").number not in (first.number, None)


def test_a_lease_is_released_once(limiter):
    first = limiter.acquire("a")
    limiter.acquire("a")
    assert [limiter.release(first), limiter.release(first)] == [True, False]
    assert limiter.in_use() == 1


def test_a_lease_runs_out_at_its_time(limiter, clock):
    limiter.acquire("a")
    clock.now += 9.999
    assert limiter.in_use("a") == 1
    clock.now = 60.0
    assert limiter.in_use("a") == 0


def test_renewing_keeps_a_slot(limiter, clock):
    lease = limiter.acquire("a")
    for _ in range(5):
        clock.now += 9.0
        assert limiter.renew(lease)
    assert limiter.in_use("a") == 1


def test_a_lease_that_ran_out_stays_dead(limiter, clock):
    old = limiter.acquire("a")
    clock.now += 10.0
    new = limiter.acquire("a")
    assert not limiter.renew(old)
    assert not limiter.release(old)
    assert limiter.in_use("a") == 1
    assert limiter.release(new)


def test_numbers_are_never_used_twice(limiter, clock):
    numbers = []
    for _ in range(10):
        numbers.append(limiter.acquire("a").number)
        clock.now += 10.0
    assert len(set(numbers)) == 10


def test_when_the_next_slot_is_free(limiter, clock):
    assert limiter.next_free("a") == 0.0
    limiter.acquire("a")
    clock.now += 4.0
    second = limiter.acquire("a")
    assert limiter.next_free("a") == 6.0
    assert limiter.next_free("b") == 0.0
    limiter.acquire("b")
    assert limiter.next_free("b") == 6.0
    limiter.release(second)
    assert limiter.next_free("b") == 0.0


def test_the_tenant_s_own_limit_may_take_longer(limiter, clock):
    limiter.acquire("b")
    clock.now += 5.0
    limiter.acquire("a"), limiter.acquire("a")
    assert limiter.next_free("c") == 5.0
    assert limiter.next_free("a") == 10.0
