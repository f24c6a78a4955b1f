"""Checks of single fields."""

import re

FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7))
_PART = re.compile(r"(\*|(\d+)(-(\d+))?)(/(\d+))?")


def check_field(index: int, text: str) -> str | None:
    """What is wrong with the field number `index` (0 is the minute), or None if nothing is."""
    name, low, high = FIELDS[index]
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if not match:
            return f"{name}: cannot read {part!r}"
        numbers = [int(match[group]) for group in (2, 4) if match[group] is not None]
        for number in numbers:
            if not low <= number <= high:
                return f"{name}: {number} is not between {low} and {high}"
        if len(numbers) == 2 and numbers[0] > numbers[1]:
            return f"{name}: {part!r} runs backwards"
        if match[6] is not None and int(match[6]) == 0:
            return f"{name}: a step of 0"
    return None
