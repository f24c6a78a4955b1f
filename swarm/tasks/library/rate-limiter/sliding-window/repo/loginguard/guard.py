"""Who may try to sign in, and who has to wait."""

from dataclasses import dataclass
from typing import Callable

from loginguard.window import SlidingWindow


@dataclass(frozen=True)
class Policy:
    """Failures that are allowed within `window` seconds, by account and by address."""

    by_account: int = 5
    by_address: int = 20
    window: float = 900.0


@dataclass(frozen=True)
class Verdict:
    """Whether an attempt may be made, and if not, why and for how long (seconds)."""

    allowed: bool
    reason: str = ""
    wait: float = 0.0


class Guard:
    """Asked before every attempt, told about its outcome."""

    def __init__(self, policy: Policy, clock: Callable[[], float]) -> None:
        self._accounts = SlidingWindow(policy.by_account, policy.window, clock)
        self._addresses = SlidingWindow(policy.by_address, policy.window, clock)

    def before(self, account: str, address: str) -> Verdict:
        """May `account` be tried from `address`? The longer of two locks counts."""
        by_account = self._accounts.blocked_for(account)
        by_address = self._addresses.blocked_for(address)
        wait = max(by_account, by_address)
        if wait == 0.0:
            return Verdict(True)
        return Verdict(False, "account" if by_account >= by_address else "address", wait)

    def failed(self, account: str, address: str) -> None:
        self._accounts.record(account)
        self._addresses.record(address)

    def succeeded(self, account: str) -> None:
        """The account starts anew; its address does not, since others may be tried from there."""
        self._accounts.forget(account)

    def sweep(self) -> int:
        """Forgets what is over. Returns how many accounts and addresses were dropped."""
        return self._accounts.sweep() + self._addresses.sweep()
