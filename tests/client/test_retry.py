import asyncio

import pytest

from swarm.client.base import ChatRequest, Failure, Meter, Observation
from swarm.client.failures import from_status
from swarm.client.retry import RetryPolicy, complete, worth_retrying

REQUEST = ChatRequest([], [], 1, False)
RESET = Failure("reset", "x")


class Scripted:
    """A client that answers with these failures in turn, and then well."""

    def __init__(self, *failures: Failure, hang: bool = False) -> None:
        self.failures = list(failures)
        self.calls = 0
        self.hang = hang

    async def complete(self, request: ChatRequest, seen: Observation) -> None:
        self.calls += 1
        if self.hang:
            await asyncio.Event().wait()
        seen.send_ns = self.calls
        if self.failures:
            seen.failure = self.failures.pop(0)

    def meter(self) -> Meter:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class Attempts:
    def __init__(self) -> None:
        self.begun: list[Observation] = []
        self.ended: list[Observation] = []
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        assert len(self.begun) == len(self.ended), "an attempt ends before the wait for the next"
        self.slept.append(seconds)

    async def run(self, client: Scripted, policy: RetryPolicy) -> Observation:
        return await complete(client, REQUEST, policy, self.begun.append, self.ended.append, self.sleep)


async def test_by_default_nothing_is_tried_again() -> None:
    attempts, client = Attempts(), Scripted(RESET)
    seen = await attempts.run(client, RetryPolicy())
    assert (client.calls, seen.failure, attempts.slept) == (1, RESET, [])


async def test_each_attempt_is_an_observation_of_its_own_and_the_last_one_is_returned() -> None:
    attempts, client = Attempts(), Scripted(RESET, RESET)
    seen = await attempts.run(client, RetryPolicy(retries=3))
    assert [each.send_ns for each in attempts.begun] == [1, 2, 3]
    assert [each is other for each, other in zip(attempts.begun, attempts.ended, strict=True)] == [True] * 3
    assert [each.failure for each in attempts.ended] == [RESET, RESET, None]
    assert seen is attempts.ended[-1]


async def test_after_the_last_retry_the_failure_stands() -> None:
    attempts, client = Attempts(), Scripted(*[RESET] * 9)
    seen = await attempts.run(client, RetryPolicy(retries=2))
    assert (client.calls, seen.failure) == (3, RESET)


async def test_waits_double_up_to_a_limit_with_some_jitter() -> None:
    attempts = Attempts()
    await attempts.run(Scripted(*[RESET] * 5), RetryPolicy(retries=5, first_wait_s=1, longest_wait_s=4))
    for waited, least in zip(attempts.slept, [1, 2, 4, 4, 4], strict=True):
        assert least <= waited <= least + 1


async def test_a_servers_retry_after_is_kept_to() -> None:
    attempts = Attempts()
    await attempts.run(Scripted(Failure("rate_limited", "x", 429, 7.5)), RetryPolicy(retries=1, longest_wait_s=1))
    assert attempts.slept == [7.5]


@pytest.mark.parametrize("asked", ["1e9", "31", "Fri, 31 Dec 2199 23:59:59 GMT"])
@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limited"), (503, "server_error")])
async def test_no_server_sends_an_agent_away_for_longer_than_the_policy_says(
    asked: str, status: int, kind: str
) -> None:
    attempts = Attempts()
    failure = from_status(status, {"Retry-After": asked}, b"", "http://h/v1")
    assert failure.kind == kind
    await attempts.run(Scripted(failure), RetryPolicy(retries=1, retry_after_max_s=30))
    assert attempts.slept == [30]


@pytest.mark.parametrize("asked", ["inf", "nan", "-5", "soon", "Fri, 99 Foo 2199", ""])
async def test_a_retry_after_that_names_no_time_to_come_is_no_long_wait(asked: str) -> None:
    attempts = Attempts()
    failure = from_status(429, {"Retry-After": asked}, b"", "http://h/v1")
    await attempts.run(Scripted(failure), RetryPolicy(retries=1, first_wait_s=1, longest_wait_s=1))
    assert 0 <= attempts.slept[0] <= 2


@pytest.mark.parametrize(
    ("failure", "worth"),
    [
        (Failure("refused", ""), True),
        (Failure("reset", ""), True),
        (Failure("rate_limited", "", 429), True),
        (Failure("server_error", "", 503), True),
        (Failure("server_error", "", 500), True),
        (Failure("server_error", "", 400), False),
        (Failure("timeout", ""), False),
        (Failure("unauthorized", "", 401), False),
        (Failure("not_found", "", 404), False),
        (Failure("context_overflow", "", 400), False),
        (Failure("malformed", ""), False),
        (None, False),
    ],
)
def test_only_what_may_pass_is_worth_retrying(failure: Failure | None, worth: bool) -> None:
    assert worth_retrying(Observation(failure=failure)) is worth


def test_nothing_is_tried_again_once_a_byte_of_the_reply_has_come() -> None:
    assert not worth_retrying(Observation(failure=RESET, max_lag_ns=5))
    seen = Observation(failure=RESET)
    seen.stamps.append(1)
    assert not worth_retrying(seen)


async def test_a_cancelled_attempt_is_handed_over_and_is_the_last() -> None:
    attempts, client = Attempts(), Scripted(hang=True)
    task = asyncio.create_task(attempts.run(client, RetryPolicy(retries=3)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (client.calls, len(attempts.begun), len(attempts.ended)) == (1, 1, 1)
