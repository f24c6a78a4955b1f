"""Histograms of the exporter: vLLM's bucket edges for the same quantity, and finer ones where those err.

A percentile read off buckets is interpolated inside one, so its error grows with the bucket's width. vLLM's edges lie
up to a factor of 2.5 apart: between the two `fine` bounds of a quantity, edges are put in so that none is more than
`WIDEST` apart. What is in the official results comes from the HdrHistograms, which are within 0.1 %.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

WIDEST = 1.22
"""Ratio of neighbouring edges in the fine range: 12 edges a decade."""

# Source: vLLM 0.32, vllm/v1/metrics/buckets.py.
_VLLM_TTFT = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
_VLLM_TOKEN = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_VLLM_REQUEST = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """A histogram of the exporter: the metric of `swarm.recording.observations` that it shows, and its edges (s)."""

    metric: str
    name: str
    help: str
    edges: tuple[float, ...]
    fine: tuple[float, float]


QUANTITIES = (
    Quantity(
        "ttft",
        "swarm_time_to_first_token_seconds",
        "From the send of a request to its first token.",
        _VLLM_TTFT,
        (0.01, 40.0),
    ),
    Quantity(
        "itl",
        "swarm_inter_token_latency_seconds",
        "Gap between two token-bearing chunks of a stream.",
        (0.001, *_VLLM_TOKEN),
        (0.001, 1.0),
    ),
    Quantity(
        "tpot",
        "swarm_time_per_output_token_seconds",
        "(last token - first token) / (tokens - 1) of a complete request.",
        (0.001, *_VLLM_TOKEN),
        (0.001, 1.0),
    ),
    Quantity(
        "e2e",
        "swarm_request_duration_seconds",
        "From the send to the end of the stream, of complete requests.",
        (0.02, *_VLLM_REQUEST),
        (0.02, 240.0),
    ),
    Quantity(
        "tool",
        "swarm_tool_duration_seconds",
        "A tool call, from its start to its result.",
        (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0),
        (0.01, 60.0),
    ),
    Quantity(
        "job",
        "swarm_job_duration_seconds",
        "A finished job, from its first send to the end of its last step.",
        (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 14400.0),
        (1.0, 3600.0),
    ),
)


def edges(quantity: Quantity, slos: Iterable[float] = ()) -> tuple[float, ...]:
    """Upper bounds in seconds, ascending, without +Inf; `slos` are among them, so that their share is exact."""
    given = sorted({*quantity.edges, *(slo for slo in slos if slo > 0)})
    found = [given[0]]
    for low, high in pairwise(given):
        if low >= quantity.fine[0] and high <= quantity.fine[1]:
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
