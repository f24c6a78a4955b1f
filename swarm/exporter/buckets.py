"""Histograms of the exporter: vLLM's bucket edges for the same quantity, and finer ones where those err.

A percentile read off buckets is interpolated inside one, so its error grows with the bucket's width. vLLM's edges lie
up to a factor of 2.5 apart: between the two `fine` bounds of a metric, edges are put in so that none is more than
`WIDEST` apart. What is in the official results comes from the HdrHistograms, which are within 0.1%.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise

from swarm.catalogue import Buckets

WIDEST = 1.22
"""Ratio of neighbouring edges in the fine range: 12 edges a decade."""


def edges(buckets: Buckets, slos: Iterable[float] = ()) -> tuple[float, ...]:
    """Upper bounds in seconds, ascending, without +Inf; `slos` are among them, so that their share is exact."""
    given = sorted({*buckets.edges, *(slo for slo in slos if slo > 0)})
    found = [given[0]]
    for low, high in pairwise(given):
        if low >= buckets.fine[0] and high <= buckets.fine[1]:
            steps = math.ceil(math.log(high / low) / math.log(WIDEST))
            found += [float(f"{low * (high / low) ** (step / steps):.4g}") for step in range(1, steps)]
        found.append(high)
    return tuple(sorted(set(found)))


class Histogram:
    """Counts by bucket, and their sum in seconds."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.sum_ns = 0
        self._edges_ns = [round(edge * 1e9) for edge in edges]
        self._counts = array("q", bytes(8 * (len(edges) + 1)))

    def add(self, value_ns: int) -> None:
        self._counts[bisect_left(self._edges_ns, value_ns)] += 1
        self.sum_ns += value_ns

    def cumulative(self) -> Iterator[int]:
        """Values at or below each edge, then all of them."""
        return accumulate(self._counts)
