import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.scenario.units import (
    format_bytes,
    format_duration,
    parse_bytes,
    parse_duration,
    parse_share,
    parse_tokens,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("1.5s", 1.5), ("5m", 300), ("8h", 28800), (0, 0), (" 2 s ", 2)]
)
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", [10, "10", "10 seconds", "-3s", "", None, True, "1e3s", "s", [1]])
def test_a_duration_without_its_unit_is_refused(text):
    with pytest.raises(ValueError, match="expected a duration such as 500ms"):
        parse_duration(text)


@given(st.integers(0, 10**8).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_reads_back_as_it_was_written(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@pytest.mark.parametrize(("value", "share"), [("5%", 0.05), (0.05, 0.05), (0, 0), (1, 1), ("100%", 1), ("0.5%", 0.005)])
def test_a_share_is_a_percentage_or_a_number_up_to_one(value, share):
    assert parse_share(value) == pytest.approx(share)


@pytest.mark.parametrize("value", ["5", 5, -0.1, "101%", True, None, "five %"])
def test_a_share_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="expected a share such as 5%"):
        parse_share(value)


@pytest.mark.parametrize(("value", "tokens"), [("8k", 8000), ("8K", 8192), (4096, 4096), ("1.5k", 1500), ("300", 300)])
def test_tokens_are_read_as_vllm_reads_lengths(value, tokens):
    assert parse_tokens(value) == tokens


@pytest.mark.parametrize("value", [0, -1, "8 thousand", "8M", 2.5, True, None])
def test_tokens_of_another_form_are_refused(value):
    with pytest.raises(ValueError, match="expected"):
        parse_tokens(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [("64MiB", 64 << 20), ("1 GB", 10**9), ("1.5kB", 1500), ("1KiB", 1024), (4096, 4096), ("300", 300)],
)
def test_a_size_is_a_number_and_a_unit_or_bytes(value, number):
    assert parse_bytes(value) == number


@pytest.mark.parametrize("value", [0, -1, "0", "64M", "64mb", "a lot", 2.5, True, None])
def test_a_size_of_another_form_is_refused(value):
    with pytest.raises(ValueError, match="expected a size such as 64MiB"):
        parse_bytes(value)


@given(st.integers(1, 1 << 40))
def test_a_size_reads_back_as_it_was_written(number):
    assert parse_bytes(format_bytes(number)) == number
