import pytest

from quota import Answer, Limit
from quota.headers import headers, sentence
from quota.plans import BadPlan, Customers, read_plan


def test_plans_are_read_from_text():
    plan = read_plan("pro", "1000 per hour, 10 per second; 4900 cents")
    assert plan.limits == (Limit(10, 1), Limit(1000, 3600))
    assert plan.cents == 4900
    with pytest.raises(BadPlan, match="10 per week"):
        read_plan("odd", "10 per week")


def test_customers_of_a_plan_do_not_share_calls():
    customers = Customers({"free": read_plan("free", "1 per hour")}, clock=lambda: 0.0)
    for name in ("ann", "bob"):
        customers.subscribe(name, "free")
        assert customers.quota(name).use(name).allowed
    assert not customers.quota("ann").use("ann").allowed


def test_headers_round_up():
    answer = Answer(False, Limit(10, 60), 0, reset=30.2, wait=30.2)
    assert headers(answer)["Retry-After"] == "31"
    assert sentence(answer) == "Your 10 calls per minute are used up. Try again in 31 seconds."
