"""Percentiles read off the exporter's histograms, against the values themselves."""

import math
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.catalogue import latencies
from swarm.exporter.buckets import WIDEST, Histogram, edges
from swarm.simulator.server import metrics as simulator

BY_METRIC = {metric.observation: metric.buckets for metric in latencies() if metric.buckets}


def quantile(histogram: Histogram, share: float) -> float:
    """As PromQL's histogram_quantile does it: linear inside the bucket."""
    counts = list(histogram.cumulative())
    rank = share * counts[-1]
    at = next(index for index, count in enumerate(counts) if count >= rank)
    low, below = (histogram.edges[at - 1], counts[at - 1]) if at else (0.0, 0)
    return low + (histogram.edges[at] - low) * (rank - below) / (counts[at] - below)


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [("ttft", simulator._TTFT), ("itl", simulator._ITL), ("tpot", simulator._ITL), ("e2e", simulator._LATENCY)],
)
def test_all_of_vllms_edges_are_among_them(metric, theirs):
    assert set(theirs) <= set(edges(BY_METRIC[metric]))


@pytest.mark.parametrize("buckets", BY_METRIC.values(), ids=BY_METRIC)
def test_edges_ascend_and_lie_close_in_the_fine_range(buckets):
    found = edges(buckets)
    assert list(found) == sorted(set(found))
    low, high = buckets.fine
    ratios = [after / before for before, after in pairwise(found) if low <= before and after <= high]
    assert max(ratios) <= WIDEST * 1.001
    assert len(found) <= 65  # a scrape's cost grows with them


def test_a_slo_becomes_an_edge_and_what_is_no_time_does_not():
    assert 1.7 in edges(BY_METRIC["ttft"], [1.7])
    assert edges(BY_METRIC["ttft"], [0.0, -1.0, 2.5]) == edges(BY_METRIC["ttft"])


def error_at_p99(bounds: tuple[float, ...], seed: int, median: float, sigma: float) -> float:
    """Of a lognormal latency, relative."""
    values = np.random.default_rng(seed).lognormal(math.log(median), sigma, 5_000)
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(round(value * 1e9))
    exact = float(np.quantile(values, 0.99, method="inverted_cdf"))
    return abs(quantile(histogram, 0.99) / exact - 1)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.05, 5.0), st.floats(0.1, 0.8))
def test_a_percentile_is_never_further_off_than_a_bucket_is_wide(seed, median, sigma):
    assert error_at_p99(edges(BY_METRIC["ttft"]), seed, median, sigma) < WIDEST - 1


def test_the_p99_is_read_off_within_a_few_percent_where_vllms_edges_alone_err_by_a_fifth():
    latencies = [(0.05 * 1.6**step, 0.2 + 0.1 * (step % 5)) for step in range(10)]
    ours = [error_at_p99(edges(BY_METRIC["ttft"]), 7, *latency) for latency in latencies]
    vllms = [error_at_p99(simulator._TTFT, 7, *latency) for latency in latencies]
    print(
        f"ours: mean {fmean(ours):.3f}, worst {max(ours):.3f}; vLLM's: mean {fmean(vllms):.3f}, worst {max(vllms):.3f}"
    )
    assert fmean(ours) < 0.03
    assert max(ours) < 0.08
    assert max(vllms) > 0.15


def test_a_value_on_an_edge_counts_below_it_and_one_beyond_the_last_is_kept():
    histogram = Histogram((0.5, 1.0))
    for value in (0.5, 0.500000001, 7.0):
        histogram.add(round(value * 1e9))
    assert list(histogram.cumulative()) == [1, 2, 3]
    assert histogram.sum_ns == 8_000_000_001
