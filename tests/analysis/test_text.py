"""Numbers as people read them."""

import pytest

from swarm.text import left, milliseconds, percent, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00012345, "0.000123"),
        (0.9996, "1"),
        (12.345, "12.3"),
        (99.97, "100"),
        (1234.5, "1,234"),
        (-3.0, "-3"),
    ],
)
def test_numbers_have_three_significant_digits_and_no_exponent(value: float, text: str) -> None:
    assert significant(value) == text


def test_a_hundred_percent_is_no_power_of_ten() -> None:
    assert [percent(1, 2), percent(0.995, 2), percent(0.0042), percent(12.5)] == ["100%", "100%", "0.42%", "1,250%"]
    assert milliseconds(1.5) == "1,500 ms"


def test_time_left_is_told_in_two_units_at_most() -> None:
    assert [left(45.4), left(60), left(200), left(3600), left(7501)] == [
        "45 s",
        "1 min 0 s",
        "3 min 20 s",
        "1 h 0 min",
        "2 h 5 min",
    ]
