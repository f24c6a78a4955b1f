"""Words and numbers in sentences for people, and texts of others cut to a length that people read."""

from collections.abc import Iterable

MOST_NAMES, MOST_SETTINGS = 8, 64
MOST_OF_A_NAME = 100
MOST_OF_A_LINE = 1000


def listed(names: Iterable[object], most: int = MOST_NAMES) -> str:
    """m1, m2, ... and 9,992 more; a long name is cut."""
    every = [str(name) for name in names]
    shown = ", ".join(shortened(name) for name in every[:most])
    return shown if len(every) <= most else f"{shown}, ... and {len(every) - most:,} more"


def shortened(text: str, most: int = MOST_OF_A_NAME) -> str:
    """The text, its middle left out where it has more than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} [{len(text) - 2 * half:,} characters] {text[-half:]}"


def counted(number: int, noun: str) -> str:
    """1 agent, 2 agents."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """A share of 1 in percent, with three significant digits."""
    return f"{share * 100:.3g} %"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
