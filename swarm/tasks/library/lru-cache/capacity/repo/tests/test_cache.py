import pytest

from thumbs import LRUCache


def filled(capacity, *keys):
    cache = LRUCache(capacity)
    for number, key in enumerate(keys):
        cache.put(key, number)
    return cache


def test_it_never_holds_more_than_its_capacity():
    cache = LRUCache(3)
    for number in range(100):
        cache.put(number, str(number))
        assert len(cache) == min(number + 1, 3)
    assert list(cache) == [97, 98, 99]


def test_the_oldest_entry_goes_first():
    cache = filled(2, "a", "b")
    cache.put("c", 9)
    assert "a" not in cache
    assert cache.get("b") == 1
    assert cache.get("c") == 9


def test_reading_a_key_keeps_it():
    cache = filled(2, "a", "b")
    assert cache.get("a") == 0
    cache.put("c", 9)
    assert list(cache) == ["a", "c"]


def test_writing_a_key_again_keeps_it_and_drops_nothing():
    cache = filled(2, "a", "b")
    cache.put("a", 7)
    assert len(cache) == 2
    cache.put("c", 9)
    assert cache.peek("a") == 7
    assert "b" not in cache


def test_looking_does_not_count_as_use():
    cache = filled(2, "a", "b")
    assert cache.peek("a") == 0
    assert "a" in cache
    cache.put("c", 9)
    assert list(cache) == ["b", "c"]


def test_a_missing_key_gives_the_default_and_stores_nothing():
    cache = filled(2, "a")
    assert cache.get("x") is None
    assert cache.get("x", 5) == 5
    assert len(cache) == 1


def test_a_stored_none_counts_as_used_too():
    cache = LRUCache(2)
    cache.put("a", None)
    cache.put("b", 1)
    assert cache.get("a", "default") is None
    cache.put("c", 2)
    assert list(cache) == ["a", "c"]


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_below_one_is_refused(capacity):
    with pytest.raises(ValueError, match="at least 1"):
        LRUCache(capacity)
