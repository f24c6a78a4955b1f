"""The rate limiter."""

import time
from dataclasses import dataclass
from typing import Callable, Hashable


@dataclass(frozen=True)
class Decision:
    """Whether a request may pass, the whole tokens left, and if not, the seconds until it would be allowed."""

    allowed: bool
    remaining: int
    retry_after: float = 0.0


class TokenBucket:
    """A bucket for every key: at most `burst` tokens, refilled with `rate` tokens a second."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError(f"rate and burst must be positive, not {rate} and {burst}")
        self.rate = rate
        self.burst = burst
        self._clock = clock

    def ask(self, key: Hashable, cost: int = 1) -> Decision:
        """Takes `cost` tokens from the bucket of `key`, or none. Raises ValueError for a cost that cannot be paid."""
        raise NotImplementedError

    def forget_idle(self) -> int:
        """Drops the buckets that are full again; returns how many."""
        raise NotImplementedError
