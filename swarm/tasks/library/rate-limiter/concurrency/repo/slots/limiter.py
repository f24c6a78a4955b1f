"""Slots for work that is under way."""

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Lease:
    """The right to a slot. Numbers are never used twice."""

    number: int
    tenant: str


class SlotLimiter:
    """At most `total` leases at a time and `per_tenant` of one tenant, each good for `lease` seconds."""

    def __init__(self, total: int, per_tenant: int, lease: float, clock: Callable[[], float]) -> None:
        if not 1 <= per_tenant <= total:
            raise ValueError(f"expected 1 <= per_tenant <= total, not {per_tenant} and {total}")
        if lease <= 0:
            raise ValueError(f"a lease must be longer than 0 seconds, not {lease}")
        self.total = total
        self.per_tenant = per_tenant
        self._lease = lease
        self._clock = clock

    def acquire(self, tenant: str) -> Lease | None:
        """A lease on a free slot, or None."""
        raise NotImplementedError

    def renew(self, lease: Lease) -> bool:
        """Makes a lease good for its whole length again; False if it has run out."""
        raise NotImplementedError

    def release(self, lease: Lease) -> bool:
        """Gives a slot back; False if the lease was not good any more."""
        raise NotImplementedError

    def in_use(self, tenant: str | None = None) -> int:
        """Leases that are good now, of one tenant or of all."""
        raise NotImplementedError

    def next_free(self, tenant: str) -> float:
        """Seconds until `acquire` would succeed if nobody renews or releases; 0.0 if it would now."""
        raise NotImplementedError
