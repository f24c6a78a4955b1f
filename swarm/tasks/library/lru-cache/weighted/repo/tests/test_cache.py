import pytest

from tiles.cache import WeightedLRU


@pytest.fixture
def cache():
    return WeightedLRU(10, weigh=lambda key, value: len(value))


def test_entries_are_kept_within_the_budget(cache):
    assert cache.put("a", "xxxx")
    assert cache.put("b", "xxxxxx")
    assert cache.weight == 10
    assert cache.keys() == ["a", "b"]
    assert cache.evicted == 0


def test_the_longest_unused_makes_room(cache):
    cache.put("a", "xxxx")
    cache.put("b", "xxxx")
    cache.get("a")
    cache.put("c", "xxxx")
    assert cache.keys() == ["a", "c"]
    assert cache.weight == 8
    assert cache.evicted == 1


def test_one_heavy_entry_may_drop_many(cache):
    for key in "abcde":
        cache.put(key, "xx")
    cache.put("big", "x" * 7)
    assert cache.keys() == ["e", "big"]
    assert cache.weight == 9
    assert cache.evicted == 4


def test_what_is_too_heavy_is_not_stored_and_drops_nothing(cache):
    cache.put("a", "xxxx")
    assert cache.put("big", "x" * 11) is False
    assert cache.keys() == ["a"]
    assert cache.evicted == 0


def test_an_older_value_of_what_is_too_heavy_goes(cache):
    cache.put("a", "xxxx")
    assert cache.put("a", "x" * 11) is False
    assert "a" not in cache
    assert cache.weight == 0
    assert cache.evicted == 0


def test_an_entry_as_heavy_as_the_budget_fits(cache):
    cache.put("a", "xxxx")
    assert cache.put("big", "x" * 10)
    assert cache.keys() == ["big"]


def test_writing_again_replaces_the_weight(cache):
    cache.put("a", "xxxx")
    cache.put("b", "xx")
    cache.put("a", "x")
    assert cache.weight == 3
    assert cache.keys() == ["b", "a"]
    assert cache.evicted == 0


def test_a_key_that_grows_pushes_out_others_but_not_itself(cache):
    cache.put("a", "xxxx")
    cache.put("b", "xxxx")
    cache.put("a", "x" * 8)
    assert cache.keys() == ["a"]
    assert cache.evicted == 1


def test_entries_without_weight_are_fine():
    cache = WeightedLRU(1, weigh=lambda key, value: 0)
    for number in range(5):
        cache.put(number, None)
    assert len(cache) == 5


def test_a_negative_weight_changes_nothing():
    cache = WeightedLRU(10, weigh=lambda key, value: value)
    cache.put("a", 3)
    with pytest.raises(ValueError, match="-2"):
        cache.put("a", -2)
    assert cache.get("a") == 3
    assert cache.weight == 3


def test_every_put_weighs_once():
    calls = []
    cache = WeightedLRU(10, weigh=lambda key, value: calls.append(key) or 4)
    for key in "abcab":
        cache.put(key, key)
    assert calls == list("abcab")
