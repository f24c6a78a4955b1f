"""Words for numbers, days and months."""

from typing import Iterable

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


def joined(words: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *before, end = words
    return f"{', '.join(before)} {last} {end}" if before else end


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    if 10 <= number % 100 <= 20:
        return f"{number}th"
    return f"{number}{_ENDINGS.get(number % 10, 'th')}"


def clock(hour: int, minute: int) -> str:
    """24 hours, two digits each: 04:05."""
    return f"{hour:02}:{minute:02}"


def month(number: int) -> str:
    return MONTHS[number - 1]


def weekday(number: int) -> str:
    return DAYS[number % 7]
