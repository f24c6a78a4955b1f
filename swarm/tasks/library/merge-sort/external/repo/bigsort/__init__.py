"""Sorts files that do not fit into memory."""

from bigsort.sorter import Options, sort_file

__all__ = ["Options", "sort_file"]
