"""The bound on the error of the stamps, worked out by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.clock import STAMP_TOLERANCE_NS
from swarm.recording.records import ClientSample
from swarm.recording.timing import TimingError

MS = 1_000_000
EXACT_S = STAMP_TOLERANCE_NS / 1e9


def sample(**fields: Any) -> ClientSample:
    given: dict[str, Any] = {
        "lag_ns": [MS] * 100,
        "chunks": 1000,
        "coalesced": 0,
        "stamp_source": "kernel",
        "cpu_ns": 0,
        "busy_share": None,
    }
    header = {"id": "0.1", "run": "r", "target": "t", "agents": 1, "trial": 1, "t_ns": 0, "end_ns": 1000 * MS}
    return ClientSample(**header, **given | fields)


def close(seconds: float) -> Any:
    return pytest.approx(seconds, rel=2e-3)


def test_the_kernels_stamps_are_right_however_late_they_are_read() -> None:
    late = TimingError.of([sample(lag_ns=[20 * MS] * 100)])
    assert late.lag_p99_s() == close(0.020)
    assert late.p99_s() == EXACT_S


def test_chunks_that_share_a_stamp_count_with_the_time_since_the_read_before() -> None:
    few = TimingError.of([sample(coalesced=9, shared_ns=[4 * MS, 5 * MS])])
    many = TimingError.of([sample(coalesced=40, shared_ns=[4 * MS, 5 * MS])])
    assert few.p99_s() == EXACT_S  # 0.9% of the chunks
    assert many.p99_s() == close(0.005)  # 4%: half of them may be 4 ms off, half 5


def test_stamps_of_our_own_are_off_by_as_much_as_swarm_was_late() -> None:
    assert TimingError.of([sample(stamp_source="user", lag_ns=[MS] * 98 + [7 * MS] * 2)]).p99_s() == close(0.007)


def test_a_few_values_stand_for_all_coalesced_chunks() -> None:
    """101 values for 350 chunks of 10,000: the p99 is the 250th smallest of those, and 72 values stand for 249."""
    merged = TimingError.of([sample(chunks=10_000, coalesced=350, shared_ns=[MS * n for n in range(1, 102)])])
    assert merged.p99_s() == close(0.073)


def test_runs_that_did_not_record_it_take_the_greatest_lag_of_the_second() -> None:
    assert TimingError.of([sample(coalesced=50, lag_ns=[MS, 3 * MS])]).p99_s() == close(0.003)


def test_nothing_seen_is_no_bound() -> None:
    assert TimingError().p99_s() is None
    assert TimingError.of([sample(chunks=0)]).p99_s() is None


@given(
    st.lists(
        st.builds(
            lambda chunks, shared, lag: sample(
                chunks=chunks + len(shared), coalesced=len(shared), shared_ns=sorted(shared), lag_ns=[lag]
            ),
            st.integers(0, 500),
            st.lists(st.integers(0, 50 * MS), max_size=30),
            st.integers(0, 50 * MS),
        ),
        min_size=2,
        max_size=6,
    )
)
def test_merging_is_adding(samples: list[ClientSample]) -> None:
    merged = TimingError.of(samples[:1])
    merged.merge(TimingError.of(samples[1:]))
    whole = TimingError.of(samples)
    assert (merged.p99_s(), merged.lag_p99_s(), merged.coalesced) == (
        whole.p99_s(),
        whole.lag_p99_s(),
        sum(each.coalesced for each in samples),
    )
