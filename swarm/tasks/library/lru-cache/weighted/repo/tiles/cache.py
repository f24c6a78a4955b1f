"""A least-recently-used cache with a budget of weight instead of a number of entries."""

from collections import OrderedDict
from typing import Callable, Generic, Hashable, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class WeightedLRU(Generic[K, V]):
    """Entries whose weights add up to at most `budget`; those used longest ago go first.

    `weigh(key, value)` gives an entry's weight, an integer of at least 0.
    """

    def __init__(self, budget: int, weigh: Callable[[K, V], int]) -> None:
        if budget < 1:
            raise ValueError(f"budget must be at least 1, not {budget}")
        self.budget = budget
        self.evicted = 0
        self._weigh = weigh
        self._weight = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    @property
    def weight(self) -> int:
        """The weights of all entries together."""
        return self._weight

    def keys(self) -> list[K]:
        """All keys, the one used longest ago first."""
        return list(self._entries)

    def get(self, key: K) -> V | None:
        """The value of `key`, which counts as a use; None if it is missing."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def remove(self, key: K) -> None:
        """Takes `key` out, if it is there."""
        if key in self._entries:
            _, weight = self._entries.pop(key)
            self._weight -= weight

    def put(self, key: K, value: V) -> bool:
        """Stores `value` and drops what no longer fits. False if it is heavier than the whole budget."""
        raise NotImplementedError
