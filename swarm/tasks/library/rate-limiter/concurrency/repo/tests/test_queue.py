import pytest

from slots.limiter import SlotLimiter
from slots.queue import WaitingLine
from slots.worker import LeaseLost, render


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def limiter(now):
    return SlotLimiter(total=2, per_tenant=1, lease=10.0, clock=lambda: now[0])


def test_tenants_take_turns(limiter):
    line = WaitingLine(limiter)
    for tenant, report in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        assert line.join(tenant, report)
    started = [line.start_next(), line.start_next()]
    assert [report for report, _ in started] == ["a1", "b1"]
    assert line.start_next() is None
    assert line.wait() == 10.0
    limiter.release(started[0][1])
    assert line.start_next()[0] == "a2"
    assert line.wait() is None


def test_a_line_has_an_end(limiter):
    line = WaitingLine(limiter, longest=1)
    assert [line.join("a", "1"), line.join("b", "2")] == [True, False]


def test_a_report_gives_its_slot_back(limiter):
    lease = limiter.acquire("a")
    assert render("r", [lambda: "one", lambda: "two"], limiter, lease).pages == ("one", "two")
    assert limiter.in_use() == 0


def test_a_slow_page_loses_the_lease(limiter, now):
    lease = limiter.acquire("a")

    def slow():
        now[0] += 10.0
        return "late"

    with pytest.raises(LeaseLost, match="after 1 pages"):
        render("r", [slow], limiter, lease)
