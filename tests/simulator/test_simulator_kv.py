import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swarm.simulator.engine.kv import KVCache


def fill(cache, *hashes):
    """Blocks that a request allocated, filled and registered under these hashes."""
    blocks = cache.allocate(len(hashes))
    for block, known_as in zip(blocks, hashes, strict=True):
        cache.register(block, known_as)
    return blocks


def test_a_prefix_is_found_as_far_as_it_is_cached():
    cache = KVCache(8)
    blocks = fill(cache, 11, 12, 13)
    assert cache.lookup([11, 12, 13, 14], limit=4) == blocks
    assert cache.lookup([11, 99, 13], limit=3) == blocks[:1]
    assert cache.lookup([11, 12, 13], limit=2) == blocks[:2]
    assert cache.lookup([99], limit=1) == []


def test_released_blocks_stay_cached_until_they_are_needed():
    cache = KVCache(4)
    blocks = fill(cache, 11, 12)
    cache.release(blocks)
    assert (cache.free, cache.usage) == (4, 0)
    assert cache.lookup([11, 12], limit=2) == blocks
    cache.allocate(3)  # two that were never used, then the least recently used: the end of the sequence
    assert cache.lookup([11, 12], limit=2) == blocks[:1]


def test_what_was_used_last_is_evicted_last():
    cache = KVCache(2)
    first, second = fill(cache, 11), fill(cache, 12)
    cache.release(first)
    cache.release(second)
    cache.acquire(first)
    cache.release(first)
    cache.allocate(1)
    assert cache.lookup([11], limit=1) == first
    assert cache.lookup([12], limit=1) == []


def test_shared_blocks_are_free_only_when_the_last_holder_has_released_them():
    cache = KVCache(4)
    blocks = fill(cache, 11, 12)
    cache.acquire(blocks)
    cache.release(blocks)
    assert cache.free == 2
    cache.release(blocks)
    assert cache.free == 4


def test_allocating_counts_the_cached_blocks_that_are_to_be_kept():
    cache = KVCache(4)
    kept = fill(cache, 11, 12)
    cache.release(kept)
    assert cache.can_allocate(4)
    assert cache.can_allocate(2, besides=kept)
    assert not cache.can_allocate(3, besides=kept)
    cache.acquire(kept)
    assert cache.can_allocate(2, besides=kept)


def test_more_than_is_free_cannot_be_allocated():
    cache = KVCache(2)
    cache.allocate(1)
    with pytest.raises(ValueError, match="2 blocks wanted, 1 free"):
        cache.allocate(2)
    assert cache.free == 1


def test_of_two_blocks_with_the_same_tokens_the_first_is_found():
    cache = KVCache(4)
    first, second = fill(cache, 11), fill(cache, 11)
    assert cache.lookup([11], limit=1) == first
    cache.release(second)
    cache.allocate(3)  # the second one among them: it was never registered
    assert cache.lookup([11], limit=1) == first


class Requests(RuleBasedStateMachine):
    """Requests that share prefixes come, write and go, in a cache of 6 blocks; a model knows what each holds."""

    SIZE = 6

    def __init__(self):
        super().__init__()
        self.cache = KVCache(self.SIZE)
        self.held = []  # of each request: [blocks, hashes of its full blocks]

    @rule(length=st.integers(1, 5), stem=st.integers(0, 2))
    def request_starts(self, length, stem):
        hashes = [hash((stem, at)) for at in range(length)]
        hits = self.cache.lookup(hashes, limit=length - 1)
        if self.cache.can_allocate(length - len(hits), besides=hits):
            self.cache.acquire(hits)
            blocks = hits + self.cache.allocate(length - len(hits))
            self.held.append([blocks, hashes])
        else:
            free = self.cache.free
            with pytest.raises(ValueError, match="wanted"):
                self.cache.allocate(free + 1)
            assert self.cache.free == free

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def request_fills_its_blocks(self, data):
        blocks, hashes = data.draw(st.sampled_from(self.held))
        for block, known_as in zip(blocks, hashes, strict=True):
            self.cache.register(block, known_as)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def request_ends(self, data):
        at = data.draw(st.integers(0, len(self.held) - 1))
        self.cache.release(self.held.pop(at)[0])

    @invariant()
    def no_block_is_lost_or_counted_twice(self):
        held = {block for blocks, _ in self.held for block in blocks}
        assert self.cache.free + len(held) == self.SIZE
        assert held.isdisjoint(self.cache._free)

    @invariant()
    def each_block_knows_its_holders(self):
        for block in range(self.SIZE):
            holders = sum(block in blocks for blocks, _ in self.held)
            assert self.cache._holders[block] == holders

    @invariant()
    def who_shares_a_block_has_the_same_tokens_in_it(self):
        contents = {}
        for blocks, hashes in self.held:
            for block, known_as in zip(blocks, hashes, strict=True):
                assert contents.setdefault(block, known_as) == known_as

    @invariant()
    def what_is_found_is_what_was_registered(self):
        for known_as, block in self.cache._registered.items():
            assert self.cache._hash[block] == known_as
        assert sum(known_as is not None for known_as in self.cache._hash) == len(self.cache._registered)


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
