"""One line for each decision, without personal data in full."""

from datetime import datetime, timezone
from typing import Callable, TextIO

from loginguard.guard import Verdict


def masked_account(account: str) -> str:
    """The first letter and the length: `a***(11)`."""
    return f"{account[:1]}***({len(account)})"


def masked_address(address: str) -> str:
    """IPv4 without its last part, IPv6 without its second half."""
    if ":" in address:
        return ":".join(address.split(":")[:4]) + "::"
    return ".".join([*address.split(".")[:3], "x"])


class AuditLog:
    """Writes to `stream`; `now` gives seconds since 1970."""

    def __init__(self, stream: TextIO, now: Callable[[], float]) -> None:
        self._stream = stream
        self._now = now
        self.refused = 0

    def write(self, account: str, address: str, verdict: Verdict) -> None:
        """A line such as `2024-06-01T12:00:00Z refused a***(11) 10.0.0.x account 120s`."""
        at = datetime.fromtimestamp(self._now(), timezone.utc)
        words = [f"{at:%Y-%m-%dT%H:%M:%SZ}", "allowed" if verdict.allowed else "refused"]
        words += [masked_account(account), masked_address(address)]
        if not verdict.allowed:
            self.refused += 1
            words += [verdict.reason, f"{verdict.wait:.0f}s"]
        self._stream.write(" ".join(words) + "\n")
