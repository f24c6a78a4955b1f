"""Tokens count where their chunk arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import Run, S, Stage, ns

from swarm.analysis.window import Window, completion_tokens, tokens_in
from swarm.recording.records import Attempt


def stage() -> Stage:
    return Run().stage(warmup_s=2)


def within(attempt: Attempt, start: float = 0, stop: float = 10) -> float | None:
    return tokens_in(attempt, Window(ns(2 + start), ns(2 + stop)))


def test_an_attempt_inside_the_window_brings_all_its_tokens() -> None:
    assert within(stage().attempt(1.0)) == 10


def test_an_attempt_across_the_border_brings_what_the_server_counted_in_its_chunks() -> None:
    """Chunks arrive at 9.7, 9.9 and 10.1 with 1, 5 and 4 tokens."""
    attempt = stage().attempt(9.5, waits=[0.2, 0.2, 0.2], chunk_tokens=[1, 5, 4])
    assert within(attempt) == 6
    assert within(attempt, 10, 20) == 4


def test_tokens_that_came_in_no_chunk_of_their_own_belong_to_the_last_one() -> None:
    attempt = stage().attempt(9.5, waits=[0.2, 0.2, 0.2], chunk_tokens=[1, 5, 3])
    assert within(attempt) == 6
    assert within(attempt, 10, 20) == 4


def test_without_a_count_per_chunk_they_are_spread_evenly_over_the_chunks() -> None:
    attempt = stage().attempt(9.5, waits=[0.2, 0.2, 0.2], per_chunk=False, tokens=12)
    assert within(attempt) == pytest.approx(8)
    assert within(attempt, 10, 20) == pytest.approx(4)


def test_without_recorded_chunks_they_are_spread_evenly_over_the_time() -> None:
    """First token at 9.8, last at 10.2."""
    attempt = stage().attempt(9.5, waits=[0.3, 0.4], chunks=None, chunk_tokens=None, tokens=12)
    assert within(attempt) == pytest.approx(6)
    assert within(attempt, 10, 20) == pytest.approx(6)


def test_the_windows_start_belongs_to_it_and_its_end_does_not() -> None:
    attempt = stage().attempt(9.5, waits=[0.5], tokens=1)
    assert within(attempt) == 0
    assert within(attempt, 10, 20) == 1


def test_all_tokens_at_one_moment_that_is_in_a_hole_of_a_soak_count_nothing() -> None:
    attempt = stage().attempt(4.5, waits=[0.5], chunks=None, chunk_tokens=None, tokens=12)
    window = Window(ns(2), ns(12), holes=((attempt.first_token_ns, attempt.first_token_ns + 1),))
    assert tokens_in(attempt, window) == 0


def test_a_failed_attempt_without_a_token_brings_none_and_an_uncounted_one_is_unknown() -> None:
    assert within(stage().failed(1.0, 2.0)) == 0
    assert within(stage().attempt(1.0, tokens=None)) is None
    assert completion_tokens(stage().attempt(1.0, completion_tokens=None)) == 10  # the server counted per chunk


@given(
    st.lists(st.floats(0.001, 2), min_size=1, max_size=20),
    st.integers(1, 500),
    st.floats(0, 12),
    st.sampled_from(["per chunk", "evenly", "not recorded"]),
)
def test_neighbouring_windows_share_the_tokens_out_without_loss(
    waits: list[float], tokens: int, border: float, known: str
) -> None:
    attempt = stage().attempt(0.5, waits=waits, tokens=tokens, per_chunk=known == "per chunk")
    if known == "not recorded":
        attempt = stage().attempt(0.5, waits=waits, tokens=tokens, chunks=None, chunk_tokens=None)
    before, after = within(attempt, 0, border), within(attempt, border, 1000)
    assert before is not None
    assert after is not None
    assert before + after == pytest.approx(tokens)


def test_overlap_is_clipped_to_the_window() -> None:
    window = Window(10 * S, 20 * S)
    assert window.overlap(5 * S, 12 * S) == 2 * S
    assert window.overlap(12 * S, 15 * S) == 3 * S
    assert window.overlap(19 * S, 30 * S) == 1 * S
    assert window.overlap(1 * S, 9 * S) == 0
    assert window.overlap(20 * S, 30 * S) == 0
