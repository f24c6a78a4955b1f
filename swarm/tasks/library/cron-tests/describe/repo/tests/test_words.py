import pytest

from saywhen.words import clock, joined, month, ordinal, weekday


@pytest.mark.parametrize(
    ("number", "word"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"), (30, "30th"), (31, "31st")],
)
def test_ordinals(number, word):
    assert ordinal(number) == word


def test_lists_of_words():
    assert joined(["a"]) == "a"
    assert joined(["a", "b"]) == "a and b"
    assert joined(["a", "b", "c"], last="or") == "a, b or c"


def test_names_and_times():
    assert (month(1), month(12)) == ("January", "December")
    assert (weekday(0), weekday(6)) == ("Sunday", "Saturday")
    assert clock(4, 5) == "04:05"
