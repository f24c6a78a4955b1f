"""Readings as CSV."""

from datetime import date

from meters.store import Reading

HEAD = "date,kwh"


class BadLine(ValueError):
    """A line that cannot be used; `line` is counted from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def read(text: str) -> list[Reading]:
    """The readings of a CSV text. Raises BadLine for the first line that is wrong."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != HEAD:
        raise BadLine(1, f"expected the head {HEAD!r}")
    readings: list[Reading] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        reading = _reading(number, line)
        if readings and reading.day <= readings[-1].day:
            raise BadLine(number, f"{reading.day} is not after {readings[-1].day}")
        if readings and reading.kwh < readings[-1].kwh:
            raise BadLine(number, f"the meter runs backwards, from {readings[-1].kwh:g}")
        readings.append(reading)
    return readings


def _reading(number: int, line: str) -> Reading:
    day, comma, kwh = line.partition(",")
    if not comma:
        raise BadLine(number, "expected two columns")
    try:
        return Reading(date.fromisoformat(day.strip()), float(kwh))
    except ValueError:
        raise BadLine(number, f"cannot read {line.strip()!r}") from None
