import pytest

from memo import Stats, memoize


@pytest.fixture
def calls():
    return []


@pytest.fixture
def square(calls):
    @memoize(capacity=3)
    def square(number, power=2):
        """Raises a number to a power."""
        calls.append(number)
        if number == 13:
            raise ValueError("unlucky")
        return number**power

    return square


def test_the_same_call_is_computed_once(square, calls):
    assert [square(4), square(4), square(4)] == [16, 16, 16]
    assert calls == [4]
    assert square.stats() == Stats(hits=2, misses=1, evictions=0, size=1)


def test_the_spelling_of_a_call_does_not_matter(square, calls):
    assert square(4) == square(number=4) == square(4, 2) == square(4, power=2) == 16
    assert calls == [4]


def test_equal_numbers_of_different_types_are_different_calls(square):
    assert str(square(1)) == "1"
    assert str(square(1.0)) == "1.0"
    square(True)
    assert square.stats().misses == 3


def test_the_result_used_longest_ago_goes_first(square, calls):
    for number in (1, 2, 3, 1, 4):
        square(number)
    assert square.stats() == Stats(hits=1, misses=4, evictions=1, size=3)
    square(1)
    square(2)
    assert calls == [1, 2, 3, 4, 2]


def test_a_result_of_none_is_remembered():
    seen = []
    nothing = memoize(capacity=2)(lambda number: seen.append(number))
    assert nothing(1) is None
    assert nothing(1) is None
    assert seen == [1]
    assert nothing.stats().hits == 1


def test_a_failure_is_passed_on_and_tried_again(square, calls):
    for _ in range(2):
        with pytest.raises(ValueError, match="unlucky"):
            square(13)
    assert calls == [13, 13]
    assert square.stats() == Stats(hits=0, misses=2, evictions=0, size=0)


def test_clear_forgets_results_and_counters(square, calls):
    square(4)
    square.clear()
    assert square.stats() == Stats()
    square(4)
    assert calls == [4, 4]


def test_arguments_that_cannot_be_hashed_are_named(square):
    with pytest.raises(TypeError, match="'number' cannot be hashed: list"):
        square([1])


def test_the_function_keeps_its_face(square):
    assert square.__name__ == "square"
    assert square.__doc__ == "Raises a number to a power."
    assert square.wrapped(5) == 25
