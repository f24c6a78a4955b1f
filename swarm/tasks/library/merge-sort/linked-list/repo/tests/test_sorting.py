import random

import pytest

from playlist.nodes import chain, items, nodes
from playlist.sorting import merge, sort_chain, split


def same(item):
    return item


@pytest.mark.parametrize(
    ("given", "first", "second"),
    [("", "", ""), ("a", "a", ""), ("ab", "a", "b"), ("abc", "ab", "c"), ("abcd", "ab", "cd"), ("abcde", "abc", "de")],
)
def test_split_cuts_in_the_middle(given, first, second):
    head = chain(given)
    rest = split(head)
    assert "".join(items(head)) == first
    assert "".join(items(rest)) == second


@pytest.mark.parametrize(
    ("a", "b", "merged"), [("", "", ""), ("a", "", "a"), ("", "b", "b"), ("ac", "bd", "abcd"), ("ab", "cd", "abcd"), ("d", "abc", "abcd")]
)
def test_merge_loses_nothing(a, b, merged):
    assert "".join(items(merge(chain(a), chain(b), same))) == merged


def test_ties_go_to_the_first_chain():
    merged = merge(chain(["x1", "y1"]), chain(["x2", "y2"]), key=lambda item: item[0])
    assert items(merged) == ["x1", "x2", "y1", "y2"]


def test_a_short_chain():
    assert items(sort_chain(chain([3, 1, 2]), same)) == [1, 2, 3]


def test_a_long_chain():
    numbers = random.Random(5).choices(range(1000), k=3000)
    assert items(sort_chain(chain(numbers), same)) == sorted(numbers)


def test_the_nodes_are_relinked_and_not_copied():
    head = chain([2, 3, 1])
    before = {id(node) for node in nodes(head)}
    assert {id(node) for node in nodes(sort_chain(head, same))} == before
