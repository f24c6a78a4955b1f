"""Remembers the results of expensive pure functions."""

from memo.decorator import Stats, memoize

__all__ = ["Stats", "memoize"]
