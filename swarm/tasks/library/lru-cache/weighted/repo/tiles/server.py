"""Answers requests for tiles, from memory if it can."""

from collections import Counter
from typing import Protocol

from tiles.cache import WeightedLRU
from tiles.source import TileId

OVERHEAD = 120
"""Bytes that an entry takes besides its tile: the key, the tuple and the links."""


class Source(Protocol):
    def read(self, tile: TileId) -> bytes | None: ...


def tile_weight(_: TileId, data: bytes) -> int:
    return len(data) + OVERHEAD


class TileServer:
    """Tiles of `source`; up to `memory` bytes of them are kept."""

    def __init__(self, source: Source, memory: int = 64_000_000) -> None:
        self._source = source
        self._cache: WeightedLRU[TileId, bytes] = WeightedLRU(memory, tile_weight)
        self.hits: Counter[int] = Counter()
        self.misses: Counter[int] = Counter()

    def tile(self, tile: TileId) -> bytes | None:
        """The bytes of a tile, or None if there is none. Missing tiles are not remembered."""
        known = self._cache.get(tile)
        if known is not None:
            self.hits[tile.zoom] += 1
            return known
        self.misses[tile.zoom] += 1
        data = self._source.read(tile)
        if data is not None:
            self._cache.put(tile, data)
        return data

    @property
    def memory(self) -> int:
        """Bytes in use, overhead included."""
        return self._cache.weight

    def changed(self, tile: TileId) -> None:
        """Forgets a tile that was drawn again, and all tiles that show it at lower zoom."""
        above: TileId | None = tile
        while above is not None:
            self._cache.remove(above)
            above = above.parent
