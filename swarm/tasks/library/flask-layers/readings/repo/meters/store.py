"""Readings by meter, in memory."""

from dataclasses import dataclass
from datetime import date
from typing import Iterable


@dataclass(frozen=True)
class Reading:
    """The state of a meter at the end of a day, in kWh."""

    day: date
    kwh: float


class ReadingStore:
    def __init__(self) -> None:
        self._readings: dict[str, list[Reading]] = {}

    def add(self, meter: str, readings: Iterable[Reading]) -> None:
        self._readings.setdefault(meter, []).extend(readings)

    def all(self, meter: str) -> list[Reading]:
        """All readings of a meter in the order of their days."""
        return list(self._readings.get(meter, []))

    def last(self, meter: str) -> Reading | None:
        readings = self._readings.get(meter)
        return readings[-1] if readings else None
