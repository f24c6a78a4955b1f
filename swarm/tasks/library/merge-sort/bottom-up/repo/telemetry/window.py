"""Readings that belong to the same stretch of time."""

from typing import Iterator

from telemetry.mergesort import sort_in_place
from telemetry.reading import Reading


class WindowedReadings:
    """Collects readings and hands them out window by window, `width` milliseconds each, in the order of their time.

    Readings of the same millisecond come out in the order of their arrival.
    """

    def __init__(self, width: int) -> None:
        if width < 1:
            raise ValueError(f"a window must be at least 1 ms wide, not {width}")
        self._width = width
        self._open: dict[int, list[Reading]] = {}
        self._buffer: list[Reading] = []
        self.late = 0
        self._closed_before = 0

    def add(self, reading: Reading) -> bool:
        """Takes a reading in; False if its window was closed already."""
        number = reading.at // self._width
        if number < self._closed_before:
            self.late += 1
            return False
        self._open.setdefault(number, []).append(reading)
        return True

    def close_until(self, at: int) -> Iterator[list[Reading]]:
        """Closes every window that ends at or before `at`, the earliest first, and hands out what is in it."""
        limit = at // self._width
        for number in sorted(number for number in self._open if number < limit):
            readings = self._open.pop(number)
            sort_in_place(readings, lambda reading: reading.at, self._buffer)
            yield readings
        self._closed_before = max(self._closed_before, limit)
