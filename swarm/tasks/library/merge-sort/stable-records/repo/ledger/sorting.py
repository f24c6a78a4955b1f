"""A stable merge sort that counts its comparisons."""

from dataclasses import dataclass
from typing import Any, Callable, Generic, Sequence, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class SortResult(Generic[T]):
    items: list[T]
    comparisons: int


def merge_sort(items: Sequence[T], key: Callable[[T], Any] | None = None, reverse: bool = False) -> SortResult[T]:
    """`items` in the order of `key`, equal ones in the order given. Calls `key` once for every item."""
    decorated = [(item if key is None else key(item), item) for item in items]
    ordered, comparisons = _sort(decorated, reverse)
    return SortResult([item for _, item in ordered], comparisons)


def _sort(pairs: list[tuple[Any, T]], reverse: bool) -> tuple[list[tuple[Any, T]], int]:
    if len(pairs) < 2:
        return pairs, 0
    middle = len(pairs) // 2
    left, left_comparisons = _sort(pairs[:middle], reverse)
    right, right_comparisons = _sort(pairs[middle:], reverse)
    merged, comparisons = _merge(left, right, reverse)
    return merged, left_comparisons + right_comparisons + comparisons


def _merge(
    left: list[tuple[Any, T]], right: list[tuple[Any, T]], reverse: bool
) -> tuple[list[tuple[Any, T]], int]:
    """Merges two lists in order. One comparison an item until one of them is used up."""
    merged: list[tuple[Any, T]] = []
    comparisons = 0
    i = j = 0
    while i < len(left) and j < len(right):
        comparisons += 1
        if _before(left[i][0], right[j][0], reverse):
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    merged += left[i:] or right[j:]
    return merged, comparisons


def _before(a: Any, b: Any, reverse: bool) -> bool:
    """Whether the left item goes first."""
    return b < a if reverse else a < b
