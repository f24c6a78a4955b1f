"""Words and numbers in sentences for people, and texts of others cut to a length that people read."""

import math
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


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """1 agent, 2 agents; 1 reply, 2 replies."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def significant(value: float, digits: int = 3) -> str:
    """1,234, 12.3, 0.00123: so many significant digits, but every digit before the point, and no trailing zeros."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def left(seconds: float) -> str:
    """How long it will take: 45 s, 3 min 20 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def percent(share: float, digits: int = 3) -> str:
    """A share of 1 in percent: 12.3%."""
    return f"{significant(share * 100, digits)}%"


def milliseconds(seconds: float, digits: int = 3) -> str:
    return f"{significant(seconds * 1000, digits)} ms"
