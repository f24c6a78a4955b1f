"""Renders one report, page by page."""

from dataclasses import dataclass
from typing import Callable, Iterable

from slots.limiter import Lease, SlotLimiter


class LeaseLost(Exception):
    """The lease ran out while the report was rendered; somebody else may have the slot."""


@dataclass(frozen=True)
class Report:
    name: str
    pages: tuple[str, ...]


def render(
    name: str, pages: Iterable[Callable[[], str]], limiter: SlotLimiter, lease: Lease
) -> Report:
    """Renders the pages one after the other and renews the lease after each.

    Whatever happens, the slot is given back. Raises LeaseLost.
    """
    done: list[str] = []
    try:
        for page in pages:
            done.append(page())
            if not limiter.renew(lease):
                raise LeaseLost(f"{name}: lease {lease.number} ran out after {len(done)} pages")
        return Report(name, tuple(done))
    finally:
        limiter.release(lease)
