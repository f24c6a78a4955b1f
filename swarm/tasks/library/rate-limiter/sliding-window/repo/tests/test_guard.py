import io

import pytest

from loginguard.audit import AuditLog, masked_address
from loginguard.guard import Guard, Policy, Verdict


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def guard(now):
    return Guard(Policy(by_account=2, by_address=3, window=100.0), lambda: now[0])


def test_an_account_is_locked_wherever_it_is_tried_from(guard, now):
    guard.failed("ann", "10.0.0.1")
    now[0] = 10.0
    guard.failed("ann", "10.0.0.2")
    assert guard.before("ann", "10.0.0.3") == Verdict(False, "account", 90.0)
    assert guard.before("bob", "10.0.0.1").allowed


def test_an_address_is_locked_whatever_it_tries(guard):
    for account in ("ann", "bob", "eve"):
        guard.failed(account, "10.0.0.1")
    assert guard.before("zoe", "10.0.0.1") == Verdict(False, "address", 100.0)


def test_success_frees_the_account_only(guard):
    for _ in range(3):
        guard.failed("ann", "10.0.0.1")
    guard.succeeded("ann")
    assert guard.before("ann", "10.0.0.9").allowed
    assert not guard.before("ann", "10.0.0.1").allowed


def test_the_audit_names_nobody():
    stream = io.StringIO()
    AuditLog(stream, lambda: 0.0).write("ann@example", "10.1.2.3", Verdict(False, "account", 119.6))
    assert stream.getvalue() == "1970-01-01T00:00:00Z refused a***(11) 10.1.2.x account 120s\n"
    assert masked_address("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::"
