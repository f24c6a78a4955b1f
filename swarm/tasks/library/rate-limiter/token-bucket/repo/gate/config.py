"""Limits by plan, from lines of text."""

import re
from dataclasses import dataclass
from typing import Iterable

_LINE = re.compile(r"(?P<plan>[a-z]+):\s*(?P<count>\d+(\.\d+)?)\s*/\s*(?P<unit>s|min|h)(\s+burst\s+(?P<burst>\d+))?")
_SECONDS = {"s": 1, "min": 60, "h": 3600}


class BadLimit(ValueError):
    """A line that is no limit; the message names it."""


@dataclass(frozen=True)
class Limit:
    """Requests a second, and how many at once."""

    rate: float
    burst: int


def read_limits(lines: Iterable[str]) -> dict[str, Limit]:
    """Limits by plan from lines such as `free: 60/min burst 10`. Without a burst it is one second's worth, at least 1."""
    limits: dict[str, Limit] = {}
    for number, line in enumerate(lines, 1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if not match:
            raise BadLimit(f"line {number}: cannot read {text!r}")
        plan = match["plan"]
        if plan in limits:
            raise BadLimit(f"line {number}: the plan {plan!r} has a limit already")
        rate = float(match["count"]) / _SECONDS[match["unit"]]
        limits[plan] = Limit(rate, int(match["burst"] or max(1, int(rate))))
    return limits
