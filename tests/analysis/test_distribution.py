"""Percentiles over buckets are HdrHistogram's own, and within 0.1% of the exact ones."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.analysis.stats.distribution import Distribution, mean, percentile, rank
from swarm.recording.histograms import bucket, new_histogram
from swarm.results import plain

PERCENTILES = (50, 90, 95, 99)
values = st.lists(st.integers(1, 4_000_000_000), min_size=1, max_size=60)


def distribution(*values_ns: int) -> Distribution:
    return Distribution(Counter(map(bucket, values_ns)))


@settings(deadline=None, max_examples=25)
@given(values)
def test_statistics_equal_the_librarys(values_ns: list[int]) -> None:
    library = new_histogram()
    for value in values_ns:
        library.record_value(value)
    stats = plain(distribution(*values_ns).stats())
    assert stats["count"] == library.get_total_count()
    assert stats["mean"] == pytest.approx(library.get_mean_value() / 1e9, rel=1e-12)
    # The library keeps the exact maximum until a log is written, then its bucket.
    assert stats["max"] == library.get_highest_equivalent_value(max(values_ns)) / 1e9
    for percent in PERCENTILES:
        assert stats[f"p{percent}"] == library.get_value_at_percentile(percent) / 1e9


@given(values)
def test_percentiles_are_within_a_thousandth_of_the_exact_ones(values_ns: list[int]) -> None:
    exact, found = sorted(values_ns), distribution(*values_ns)
    for percent in PERCENTILES:
        expected = exact[rank(percent, len(exact)) - 1]
        assert found.seconds(percent) == pytest.approx(expected / 1e9, rel=1e-3, abs=512e-9)


def test_nothing_measured_is_null_and_not_zero() -> None:
    nothing = distribution()
    assert plain(nothing.stats()) == {"count": 0, **dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"))}
    assert nothing.seconds(50) is None
    assert plain(nothing.rates()) == {"p10": None, "p50": None, "p90": None}
    assert plain(nothing.with_failures(0)) == {"p50": None, "p95": None, "p99": None}


def test_the_slowest_tokens_make_the_lowest_rates() -> None:
    tpots = [10_000_000 * number for number in range(1, 11)]  # 10 ms .. 100 ms: 100/s .. 10/s
    rates = plain(distribution(*tpots).rates())
    assert rates["p10"] == pytest.approx(10.0, rel=1e-3)
    assert rates["p50"] == pytest.approx(1e9 / 60_000_000, rel=1e-3)
    assert rates["p90"] == pytest.approx(1e9 / 20_000_000, rel=1e-3)


@given(values)
def test_rates_are_the_percentiles_of_the_reciprocals(values_ns: list[int]) -> None:
    exact = sorted(1e9 / value for value in values_ns)
    for name, rate in plain(distribution(*values_ns).rates()).items():
        # A value of 1 us is known to half of it only.
        slowest = 1e9 / percentile(exact, int(name[1:]))  # type: ignore[operator]
        assert 1e9 / rate == pytest.approx(slowest, rel=1e-3, abs=512)  # type: ignore[operator]


def test_failures_are_infinitely_slow() -> None:
    nine = distribution(*[1_000_000_000] * 9)
    assert plain(nine.with_failures(0)) == {name: pytest.approx(1.0, rel=1e-3) for name in ("p50", "p95", "p99")}
    one_failed = plain(nine.with_failures(1))
    assert one_failed["p50"] == pytest.approx(1.0, rel=1e-3)
    assert (one_failed["p95"], one_failed["p99"]) == ("inf", "inf")
    assert plain(distribution().with_failures(3)) == {"p50": "inf", "p95": "inf", "p99": "inf"}


def test_percentiles_of_a_few_exact_values() -> None:
    assert [percentile([1.0, 2.0, 3.0, 4.0], percent) for percent in (0, 10, 50, 90, 100)] == [1, 1, 2, 4, 4]
    assert percentile([], 50) is None


def test_a_mean_leaves_out_what_was_not_measured() -> None:
    assert mean([1.0, None, 2.0]) == 1.5
    assert mean([None]) is None
    assert mean([]) is None
