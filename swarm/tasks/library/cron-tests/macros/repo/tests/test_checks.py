import pytest

from crontab.checks import check_field


@pytest.mark.parametrize(("index", "text"), [(0, "*"), (0, "59"), (1, "0-23/2"), (2, "1,15,31"), (3, "*/3"), (4, "7")])
def test_good_fields(index, text):
    assert check_field(index, text) is None


@pytest.mark.parametrize(
    ("index", "text", "message"),
    [
        (0, "60", "minute: 60 is not between 0 and 59"),
        (1, "5-3", "hour: '5-3' runs backwards"),
        (2, "0", "day of month: 0 is not between 1 and 31"),
        (3, "*/0", "month: a step of 0"),
        (4, "mon", "day of week: cannot read 'mon'"),
        (0, "1,,2", "minute: cannot read ''"),
    ],
)
def test_bad_fields(index, text, message):
    assert check_field(index, text) == message
