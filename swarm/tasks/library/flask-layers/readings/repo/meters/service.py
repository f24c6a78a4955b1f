"""What can be done with the readings of a meter."""

from meters.csvfile import BadLine, read
from meters.store import Reading, ReadingStore


class MeterService:
    def __init__(self, store: ReadingStore) -> None:
        self._store = store

    def take_in(self, meter: str, text: str) -> int:
        """Stores the readings of a CSV text, all or none, and returns how many. Raises BadLine."""
        readings = read(text)
        last = self._store.last(meter)
        if last and readings and readings[0].day <= last.day:
            raise BadLine(2, f"{readings[0].day} is not after {last.day}, which is stored already")
        if last and readings and readings[0].kwh < last.kwh:
            raise BadLine(2, f"the meter runs backwards, from {last.kwh:g}")
        self._store.add(meter, readings)
        return len(readings)

    def readings(self, meter: str) -> list[Reading]:
        return self._store.all(meter)
