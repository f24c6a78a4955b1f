"""A waiting line in front of the slots."""

from collections import deque
from typing import Deque

from slots.limiter import Lease, SlotLimiter


class WaitingLine:
    """Tenants take turns; within a tenant, first come first served."""

    def __init__(self, limiter: SlotLimiter, longest: int = 100) -> None:
        self._limiter = limiter
        self._longest = longest
        self._waiting: dict[str, Deque[str]] = {}
        self._turns: Deque[str] = deque()

    def __len__(self) -> int:
        return sum(len(line) for line in self._waiting.values())

    def join(self, tenant: str, report: str) -> bool:
        """Puts a report at the end of its tenant's line; False if the whole line is too long already."""
        if len(self) >= self._longest:
            return False
        if tenant not in self._waiting:
            self._waiting[tenant] = deque()
            self._turns.append(tenant)
        self._waiting[tenant].append(report)
        return True

    def start_next(self) -> tuple[str, Lease] | None:
        """The next report that gets a slot, with its lease; None if nobody waits or no slot is free for those who do."""
        for _ in range(len(self._turns)):
            tenant = self._turns[0]
            lease = self._limiter.acquire(tenant)
            self._turns.rotate(-1)
            if lease is None:
                continue
            report = self._waiting[tenant].popleft()
            if not self._waiting[tenant]:
                del self._waiting[tenant]
                self._turns.remove(tenant)
            return report, lease
        return None

    def wait(self) -> float | None:
        """Seconds until a slot is free for anybody in the line; None if nobody waits."""
        return min((self._limiter.next_free(tenant) for tenant in self._turns), default=None)
