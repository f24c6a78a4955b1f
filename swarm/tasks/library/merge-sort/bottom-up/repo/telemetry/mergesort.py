"""A merge sort from the bottom up, with one buffer that is used again and again."""

from typing import Any, Callable, TypeVar

T = TypeVar("T")
Key = Callable[[T], Any]


def passes(length: int) -> int:
    """How many passes over the list it takes to sort `length` items."""
    return max(0, length - 1).bit_length()


def sort_in_place(values: list[T], key: Key[T], buffer: list[T] | None = None) -> None:
    """Sorts `values` by `key` where it is; ties keep their order.

    `buffer` is working space that may hold anything; it grows to the length of `values`.
    """
    if buffer is None:
        buffer = []
    missing = len(values) - len(buffer)
    if missing > 0:
        buffer.extend(values[:1] * missing)
    source, target = values, buffer
    width = 1
    while width < len(values):
        _merge_all(source, target, width, len(values), key)
        source, target = target, source
        width *= 2
    if source is not values:
        values[:] = source


def _merge_all(source: list[T], target: list[T], width: int, length: int, key: Key[T]) -> None:
    """One pass: merges neighbouring runs of `width` items from `source` into `target`."""
    for start in range(0, length - width, 2 * width):
        middle = start + width
        end = min(middle + width, length)
        merge_runs(source, target, start, middle, end, key)


def merge_runs(source: list[T], target: list[T], start: int, middle: int, end: int, key: Key[T]) -> None:
    """Merges `source[start:middle]` and `source[middle:end]`, both in order, into `target[start:end]`."""
    left, right = start, middle
    for place in range(start, end):
        if left < middle and (right >= end or key(source[left]) <= key(source[right])):
            target[place] = source[left]
            left += 1
        else:
            target[place] = source[right]
            right += 1
