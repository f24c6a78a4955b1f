import pytest

from geocode.cache import TTLCache


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cache(clock):
    return TTLCache(3, ttl=10.0, clock=clock)


def test_an_entry_is_there_until_just_before_its_end(cache, clock):
    cache.put("a", 1)
    clock.now += 9.999
    assert cache.get("a") == 1
    assert "a" in cache


def test_an_entry_is_gone_at_its_end(cache, clock):
    cache.put("a", 1)
    clock.now += 10.0
    assert cache.get("a") is None
    assert cache.get("a", "default") == "default"
    assert "a" not in cache


def test_expired_entries_are_not_counted(cache, clock):
    cache.put("a", 1)
    clock.now += 6
    cache.put("b", 2)
    clock.now += 6
    assert len(cache) == 1


def test_reading_does_not_make_an_entry_younger(cache, clock):
    cache.put("a", 1)
    for _ in range(4):
        clock.now += 2
        assert cache.get("a") == 1
    clock.now += 2
    assert cache.get("a") is None


def test_writing_makes_an_entry_young_again(cache, clock):
    cache.put("a", 1)
    clock.now += 9
    cache.put("a", 2)
    clock.now += 9
    assert cache.get("a") == 2


def test_the_least_recently_used_goes_when_all_are_fresh(cache):
    for key in "abc":
        cache.put(key, key)
    cache.get("a")
    cache.put("d", "d")
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]


def test_expired_entries_go_before_fresh_ones(cache, clock):
    cache.put("fresh", 1)
    cache.put("old", 2)
    clock.now += 5
    cache.put("fresh", 1)
    cache.put("other", 3)
    clock.now += 5
    cache.get("other")
    cache.get("fresh")
    cache.put("new", 4)
    assert len(cache) == 3
    assert "fresh" in cache and "other" in cache and "new" in cache


def test_a_read_of_an_old_entry_does_not_save_it(cache, clock):
    cache.put("old", 1)
    clock.now += 5
    cache.put("b", 2)
    cache.put("c", 3)
    cache.get("old")
    clock.now += 5
    cache.put("d", 4)
    assert "b" in cache and "c" in cache and "d" in cache


@pytest.mark.parametrize("ttl", [0, -1.5])
def test_a_ttl_of_nothing_is_refused(ttl):
    with pytest.raises(ValueError, match="more than 0"):
        TTLCache(1, ttl)
