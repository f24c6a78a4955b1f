"""A least-recently-used cache whose entries grow old."""

import time
from collections import OrderedDict
from typing import Callable, Generic, Hashable, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TTLCache(Generic[K, V]):
    """At most `capacity` entries, each good for `ttl` seconds after it was written.

    `clock` returns seconds and never goes back.
    """

    def __init__(self, capacity: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        if ttl <= 0:
            raise ValueError(f"ttl must be more than 0 seconds, not {ttl}")
        self._capacity = capacity
        self._ttl = ttl
        self._clock = clock
        # Key -> (value, when it expires), the key used longest ago first.
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K, default: V | None = None) -> V | None:
        """The value of `key`, which counts as a use; `default` if it is missing or expired."""
        if key not in self._entries:
            return default
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: K, value: V) -> None:
        """Stores `value` for `ttl` seconds, and makes room for it if need be."""
        self._entries[key] = (value, self._clock() + self._ttl)
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
