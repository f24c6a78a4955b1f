"""Limits by fixed windows, charged all or nothing."""

from dataclasses import dataclass
from typing import Callable, Sequence


@dataclass(frozen=True)
class Limit:
    """At most `calls` in each window of `seconds`."""

    calls: int
    seconds: int


@dataclass(frozen=True)
class Answer:
    """See the README."""

    allowed: bool
    limiting: Limit
    left: int
    reset: float
    wait: float = 0.0


class Quota:
    """Calls by key, under several limits at once."""

    def __init__(self, limits: Sequence[Limit], clock: Callable[[], float]) -> None:
        if not limits or limits[0].calls < 1 or limits[0].seconds < 1:
            raise ValueError("expected at least one limit, of at least one call in one second")
        for shorter, longer in zip(limits, limits[1:]):
            if longer.seconds <= shorter.seconds or longer.calls <= shorter.calls:
                raise ValueError(f"{longer} must be longer than {shorter}, and have more calls")
        self.limits = tuple(limits)
        self._clock = clock

    def use(self, key: str, calls: int = 1) -> Answer:
        """Charges all limits, or none. Raises ValueError for calls that can never be made."""
        raise NotImplementedError

    def refund(self, key: str, calls: int = 1) -> None:
        """Takes calls back in the present windows."""
        raise NotImplementedError

    def purge(self) -> int:
        """Drops the keys whose windows are all over; returns how many."""
        raise NotImplementedError
