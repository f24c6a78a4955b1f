"""The paged KV cache: blocks of tokens, shared by prefix, evicted least recently used first.

A block is free or held by one or more requests. A full block is registered under the hash of all tokens up to its end,
so that a later prompt with the same beginning finds it, while it is held and after it was freed, until it is evicted to
be used again. Only registered blocks are ever shared, and a registered block is never written again.
"""

from collections import OrderedDict
from collections.abc import Sequence


class KVCache:
    """`size` blocks. A request holds the blocks that it acquired or allocated until it releases them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(size))  # least recently used first
        self._holders = [0] * size
        self._hash: list[int | None] = [None] * size
        self._registered: dict[int, int] = {}

    @property
    def free(self) -> int:
        """Blocks that nobody holds; cached ones among them count, for they can be evicted."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """Share of the blocks that are held, 0..1."""
        return 1 - len(self._free) / self.size

    def lookup(self, hashes: Sequence[int], limit: int) -> list[int]:
        """The registered blocks of the longest prefix of `hashes[:limit]`."""
        found = []
        registered = self._registered
        for at in range(min(limit, len(hashes))):
            block = registered.get(hashes[at])
            if block is None:
                break
            found.append(block)
        return found

    def can_allocate(self, count: int, besides: Sequence[int] = ()) -> bool:
        """Whether `count` blocks can be allocated after `besides`, some of them perhaps free, have been acquired."""
        return count <= len(self._free) - sum(1 for block in besides if not self._holders[block])

    def acquire(self, blocks: Sequence[int]) -> None:
        """Holds registered blocks once more."""
        holders = self._holders
        for block in blocks:
            if not holders[block]:
                del self._free[block]
            holders[block] += 1

    def allocate(self, count: int) -> list[int]:
        """`count` blocks to write to, evicted from the cache where they were in it. ValueError if there are too few."""
        if count > len(self._free):
            raise ValueError(f"{count} blocks wanted, {len(self._free)} free")
        blocks = [self._free.popitem(last=False)[0] for _ in range(count)]
        for block in blocks:
            self._holders[block] = 1
            known_as = self._hash[block]
            if known_as is not None:
                del self._registered[known_as]
                self._hash[block] = None
        return blocks

    def register(self, block: int, known_as: int) -> None:
        """Makes a full block findable. Where another block already holds the same tokens, that one stays findable."""
        if self._registered.setdefault(known_as, block) == block:
            self._hash[block] = known_as

    def release(self, blocks: Sequence[int]) -> None:
        """Gives a request's blocks back. The end of a sequence is evicted before its beginning: it is of less use."""
        holders = self._holders
        for block in reversed(blocks):
            holders[block] -= 1
            if not holders[block]:
                self._free[block] = None
