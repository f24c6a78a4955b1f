import random

import pytest

from telemetry.mergesort import merge_runs, passes, sort_in_place


def same(value):
    return value


@pytest.mark.parametrize(("length", "expected"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4)])
def test_the_number_of_passes(length, expected):
    assert passes(length) == expected


@pytest.mark.parametrize("length", [0, 1, 2, 4, 8, 16, 64])
def test_powers_of_two(length):
    values = random.Random(length).choices(range(100), k=length)
    expected = sorted(values)
    sort_in_place(values, same)
    assert values == expected


@pytest.mark.parametrize("length", [3, 5, 9, 17])
def test_other_lengths(length):
    values = random.Random(length).choices(range(100), k=length)
    expected = sorted(values)
    sort_in_place(values, same)
    assert values == expected


def test_the_list_keeps_its_length_with_a_long_old_buffer():
    buffer = ["old"] * 6
    values = [2, 1]
    sort_in_place(values, same, buffer)
    assert values == [1, 2]


def test_the_buffer_is_used_again_and_never_shrinks():
    buffer = []
    for length in (7, 2, 5):
        values = list(range(length, 0, -1))
        sort_in_place(values, same, buffer)
        assert values == list(range(1, length + 1))
        assert len(buffer) == 7


def test_ties_keep_their_order():
    values = [(1, "a"), (0, "b"), (1, "c"), (0, "d"), (1, "e")]
    sort_in_place(values, lambda pair: pair[0])
    assert values == [(0, "b"), (0, "d"), (1, "a"), (1, "c"), (1, "e")]


def test_merging_leaves_the_rest_of_the_target_alone():
    target = [None] * 6
    merge_runs([9, 1, 4, 2, 3, 9], target, 1, 3, 5, same)
    assert target == [None, 1, 2, 3, 4, None]
