"""Numbers as people read them."""

import pytest

from swarm.text import milliseconds, percent, significant


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
