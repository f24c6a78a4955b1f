from datetime import date

from ledger.journal import Booking, Journal

MONDAY, TUESDAY = date(2024, 3, 4), date(2024, 3, 5)


def test_day_then_account_then_amount_then_arrival():
    bookings = [
        Booking("north", 1, TUESDAY, 8000, 100),
        Booking("north", 2, MONDAY, 8400, 300),
        Booking("south", 1, MONDAY, 8000, 300),
        Booking("south", 2, MONDAY, 8000, -900),
        Booking("north", 3, MONDAY, 8000, 300),
    ]
    order = [(booking.shop, booking.receipt) for booking in Journal(bookings).bookings]
    assert order == [("south", 2), ("south", 1), ("north", 3), ("north", 2), ("north", 1)]


def test_balance_and_days():
    journal = Journal([Booking("north", 1, TUESDAY, 1, 5), Booking("north", 2, MONDAY, 1, -7)])
    assert journal.balance(1) == -2
    assert journal.days() == [MONDAY, TUESDAY]


def test_gaps_in_the_receipts():
    journal = Journal([Booking("north", number, MONDAY, 1, 1) for number in (9, 4, 5, 7)])
    assert journal.missing_receipts("north") == [6, 8]
    assert journal.missing_receipts("south") == []
