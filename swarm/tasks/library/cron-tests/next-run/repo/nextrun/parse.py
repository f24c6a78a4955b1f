"""From text to five sets of numbers."""

import re
from dataclasses import dataclass

LIMITS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_PART = re.compile(r"(?:(\*)|(\d+)(?:-(\d+))?)(?:/(\d+))?")


class BadExpression(ValueError):
    """Text that is no cron expression."""


@dataclass(frozen=True)
class Schedule:
    """The values at which something is due. `either_day` says that a day or a weekday is enough."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool


def parse(expression: str) -> Schedule:
    """The schedule of an expression of five fields. Raises BadExpression."""
    texts = expression.split()
    if len(texts) != len(LIMITS):
        raise BadExpression(f"{expression!r} has {len(texts)} fields instead of {len(LIMITS)}")
    sets = [_field(text, *limits) for text, limits in zip(texts, LIMITS)]
    return Schedule(*sets, either_day=texts[2] != "*" and texts[4] != "*")


def _field(text: str, name: str, low: int, high: int) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise BadExpression(f"{name}: cannot read {part!r}")
        star, first, last, step = match.groups()
        start = low if star else int(first)
        end = high if star else int(last or first)
        if not low <= start <= end <= high:
            raise BadExpression(f"{name}: {part!r} is not within {low}-{high}")
        if step == "0":
            raise BadExpression(f"{name}: a step of 0 in {part!r}")
        values.update(range(start, end + 1, int(step or 1)))
    return frozenset(values)
