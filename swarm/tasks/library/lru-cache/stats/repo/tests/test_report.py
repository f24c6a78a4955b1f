from memo import memoize
from memo.report import advice, hit_share, table


@memoize(capacity=2)
def double(number):
    return 2 * number


def test_the_share_of_hits():
    double.clear()
    assert hit_share(double) is None
    for number in (1, 1, 1, 2):
        double(number)
    assert hit_share(double) == 0.5


def test_the_table_names_every_function():
    double.clear()
    double(1)
    assert table([double]).splitlines() == [
        "function  calls  hits  size  evicted",
        "double    1      0%    1     0",
    ]


def test_a_memory_that_is_too_small_is_reported():
    double.clear()
    for number in (1, 2, 3, 1, 2, 3):
        double(number)
    assert advice(double) == "double: 4 results were dropped; try more than 2"
