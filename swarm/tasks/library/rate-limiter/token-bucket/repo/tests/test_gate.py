import pytest

from gate.config import BadLimit, Limit, read_limits
from gate.limiter import TokenBucket
from gate.middleware import Gate, Request, Response


@pytest.fixture
def gate():
    return Gate(lambda request: Response(200), TokenBucket(rate=0.5, burst=6, clock=lambda: 0.0))


def test_headers_tell_what_is_left(gate):
    response = gate(Request("a", "POST", "/items"))
    assert response.status == 200
    assert response.headers == {"RateLimit-Limit": "6", "RateLimit-Remaining": "3"}


def test_too_much_is_answered_with_429(gate):
    gate(Request("a", "GET", "/export/all"))
    response = gate(Request("a", "GET", "/items"))
    assert response.status == 429
    assert response.headers["Retry-After"] == "2"


def test_limits_are_read_by_plan():
    assert read_limits(["# plans", "free: 60/min burst 10", "pro: 50/s"]) == {"free": Limit(1.0, 10), "pro": Limit(50.0, 50)}
    with pytest.raises(BadLimit, match="line 2"):
        read_limits(["free: 1/s", "free: 2/s"])
