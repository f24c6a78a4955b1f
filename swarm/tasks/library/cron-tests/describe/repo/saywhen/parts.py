"""The fields of an expression, as far as there are words for them."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Every:
    """`*` or `*/step`."""

    step: int = 1


@dataclass(frozen=True)
class Span:
    """`first-last`, both included."""

    first: int
    last: int


@dataclass(frozen=True)
class Values:
    """A number, or several in ascending order."""

    numbers: tuple[int, ...]


Part = Every | Span | Values
LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def read(expression: str) -> tuple[Part, ...]:
    """The five fields of an expression. Raises ValueError."""
    texts = expression.split()
    if len(texts) != 5:
        raise ValueError(f"a cron expression has 5 fields, not {len(texts)}")
    return tuple(_read(text, low, high) for text, (low, high) in zip(texts, LIMITS))


def _read(text: str, low: int, high: int) -> Part:
    if text == "*":
        return Every()
    if match := re.fullmatch(r"\*/([1-9]\d*)", text):
        return Every(int(match[1]))
    if match := re.fullmatch(r"(\d+)-(\d+)", text):
        first, last = int(match[1]), int(match[2])
        if not low <= first < last <= high:
            raise ValueError(f"{text!r} is no range within {low}-{high}")
        return Span(first, last)
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ValueError(f"cannot read {text!r}")
    numbers = sorted({int(number) for number in text.split(",")})
    if numbers[0] < low or numbers[-1] > high:
        raise ValueError(f"{text!r} is not within {low}-{high}")
    return Values(tuple(numbers))
