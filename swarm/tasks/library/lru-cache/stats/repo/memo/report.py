"""A table of how well memories work, for the nightly log."""

from typing import Iterable

from memo.decorator import Memoized


def hit_share(function: Memoized) -> float | None:
    """Hits / calls, or None before the first call."""
    stats = function.stats()
    calls = stats.hits + stats.misses
    return stats.hits / calls if calls else None


def table(functions: Iterable[Memoized]) -> str:
    """One line a function, the busiest first: name, calls, share of hits, size, evictions."""
    rows = [("function", "calls", "hits", "size", "evicted")]
    for function in sorted(functions, key=_calls, reverse=True):
        stats, share = function.stats(), hit_share(function)
        shown = "-" if share is None else f"{share:.0%}"
        rows.append((function.__name__, str(_calls(function)), shown, str(stats.size), str(stats.evictions)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def advice(function: Memoized) -> str | None:
    """A hint where a memory does not pay: it is too small, or nothing ever comes twice."""
    stats, share = function.stats(), hit_share(function)
    if share is None or share >= 0.5:
        return None
    if stats.evictions > stats.hits:
        return f"{function.__name__}: {stats.evictions} results were dropped; try more than {function.capacity}"
    return f"{function.__name__}: most calls are new; it may not be worth remembering them"


def _calls(function: Memoized) -> int:
    return function.stats().hits + function.stats().misses
