"""The journal: all bookings of all shops in one order."""

from dataclasses import dataclass
from datetime import date
from typing import Iterable

from ledger.sorting import merge_sort


@dataclass(frozen=True)
class Booking:
    """One line of a till. `cents` may be negative; `receipt` counts up within a shop."""

    shop: str
    receipt: int
    day: date
    account: int
    cents: int


class Journal:
    """Bookings by day, then account, then amount (largest first), then as they came in."""

    def __init__(self, bookings: Iterable[Booking]) -> None:
        by_amount = merge_sort(list(bookings), key=lambda booking: abs(booking.cents), reverse=True)
        by_account = merge_sort(by_amount.items, key=lambda booking: booking.account)
        by_day = merge_sort(by_account.items, key=lambda booking: booking.day)
        self.bookings = by_day.items
        self.comparisons = by_amount.comparisons + by_account.comparisons + by_day.comparisons

    def balance(self, account: int) -> int:
        """The sum of an account in cents."""
        return sum(booking.cents for booking in self.bookings if booking.account == account)

    def days(self) -> list[date]:
        """The days with bookings, each once, in order."""
        return list(dict.fromkeys(booking.day for booking in self.bookings))

    def missing_receipts(self, shop: str) -> list[int]:
        """Receipt numbers that are left out between a shop's first and last one."""
        numbers = merge_sort([booking.receipt for booking in self.bookings if booking.shop == shop]).items
        if not numbers:
            return []
        present = set(numbers)
        return [number for number in range(numbers[0], numbers[-1]) if number not in present]
