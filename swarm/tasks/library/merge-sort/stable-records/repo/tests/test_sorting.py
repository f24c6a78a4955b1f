import math
import random

import pytest

from ledger.sorting import merge_sort


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 100])
def test_it_sorts_like_sorted(size):
    numbers = random.Random(size).choices(range(50), k=size)
    assert merge_sort(numbers).items == sorted(numbers)


def test_the_argument_is_not_changed():
    numbers = [3, 1, 2]
    merge_sort(numbers)
    assert numbers == [3, 1, 2]


def test_equal_items_keep_their_order():
    words = ["delta", "alpha", "beta", "gamma", "ab", "zz", "aa"]
    assert merge_sort(words, key=len).items == ["ab", "zz", "aa", "beta", "delta", "alpha", "gamma"]


def test_equal_items_keep_their_order_in_reverse_too():
    words = ["aa", "delta", "zz", "alpha", "beta"]
    assert merge_sort(words, key=len, reverse=True).items == ["delta", "alpha", "beta", "aa", "zz"]


@pytest.mark.parametrize("reverse", [False, True])
def test_stability_on_many_ties(reverse):
    rng = random.Random(11)
    pairs = [(rng.randrange(5), number) for number in range(200)]
    expected = sorted(pairs, key=lambda pair: pair[0], reverse=reverse)
    assert merge_sort(pairs, key=lambda pair: pair[0], reverse=reverse).items == expected


def test_items_are_never_compared_with_each_other():
    items = [object() for _ in range(5)]
    assert merge_sort(items, key=lambda item: 0).items == items


@pytest.mark.parametrize("size", [2, 10, 64, 100])
def test_the_number_of_comparisons_is_bounded(size):
    numbers = random.Random(size).sample(range(1000), size)
    assert merge_sort(numbers).comparisons <= size * math.ceil(math.log2(size))


@pytest.mark.parametrize("items", [list(range(64)), [7] * 64, list(range(100)), [1, 2]])
def test_order_costs_one_comparison_an_item(items):
    assert merge_sort(items).comparisons == len(items) - 1


def test_the_key_is_asked_once_for_every_item():
    asked = []
    merge_sort([3, 1, 2, 1], key=lambda number: asked.append(number) or number)
    assert sorted(asked) == [1, 1, 2, 3]
