"""Whether a failed attempt is made again: tenacity decides, and every attempt is an observation of its own.

Only what failed before the first byte of its reply is tried again: a reply that broke off has cost the server its work,
and a second one would hide that. Off by default, because a retried error is still an error of the server.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import tenacity

from swarm.client.base import ChatRequest, Client, Observation

_PASSING_STATUS = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    retries: int = 0
    first_wait_s: float = 0.5
    """Before the first retry, without a Retry-After; doubled each time, up to `longest_wait_s`. Up to `first_wait_s`
    is added at random, so that agents refused together do not come back together."""
    longest_wait_s: float = 30.0
    retry_after_max_s: float = 30.0
    """The longest that a Retry-After is kept to: a server must not be able to send an agent away for the whole window.
    """


def worth_retrying(seen: Observation) -> bool:
    """Whether the failure may pass, and nothing of the reply had come."""
    failure = seen.failure
    if failure is None or seen.stamps or seen.max_lag_ns is not None:
        return False
    if failure.kind == "server_error":
        return failure.status in _PASSING_STATUS
    return failure.kind in ("refused", "reset", "rate_limited")


async def complete(
    client: Client,
    request: ChatRequest,
    policy: RetryPolicy,
    begin: Callable[[Observation], None],
    end: Callable[[Observation], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Observation:
    """Completes `request`, trying again as `policy` says; returns the last attempt's observation.

    Each attempt is handed to `begin` before and to `end` after it, a cancelled one too. Keeps to a Retry-After,
    as far as the policy goes.
    """

    async def attempt() -> Observation:
        seen = Observation()
        begin(seen)
        try:
            await client.complete(request, seen)
        finally:
            end(seen)
        return seen

    retrying = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(1 + policy.retries),
        retry=tenacity.retry_if_result(worth_retrying),
        wait=_Wait(policy),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        sleep=sleep,
    )
    last: Observation = await retrying(attempt)
    return last


class _Wait(tenacity.wait.wait_base):
    """The server's Retry-After, or else exponential backoff."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._longest_s = policy.retry_after_max_s
        self._backoff = tenacity.wait_exponential(
            multiplier=policy.first_wait_s, max=policy.longest_wait_s
        ) + tenacity.wait_random(0, policy.first_wait_s)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        assert retry_state.outcome is not None
        seen: Observation = retry_state.outcome.result()
        if seen.failure is not None and seen.failure.retry_after_s is not None:
            return min(seen.failure.retry_after_s, self._longest_s)
        return self._backoff(retry_state)
