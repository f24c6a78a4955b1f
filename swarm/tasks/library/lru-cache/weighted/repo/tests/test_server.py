import pytest

from tiles.server import OVERHEAD, TileServer
from tiles.source import DirectorySource, TileId


class FixedSource:
    def __init__(self, size):
        self.size = size
        self.reads = 0

    def read(self, tile):
        self.reads += 1
        return b"." * self.size


def test_a_tile_is_read_once():
    source = FixedSource(100)
    server = TileServer(source)
    assert server.tile(TileId(3, 1, 2)) == server.tile(TileId(3, 1, 2))
    assert source.reads == 1
    assert server.hits[3] == 1 and server.misses[3] == 1


def test_memory_stays_within_its_budget():
    server = TileServer(FixedSource(1000), memory=5 * (1000 + OVERHEAD))
    for x in range(8):
        server.tile(TileId(3, x, 0))
    assert server.memory == 5 * (1000 + OVERHEAD)


def test_a_changed_tile_is_read_again_with_all_above_it():
    source = FixedSource(10)
    server = TileServer(source)
    for tile in (TileId(2, 3, 3), TileId(1, 1, 1), TileId(0, 0, 0), TileId(2, 0, 0)):
        server.tile(tile)
    server.changed(TileId(2, 3, 3))
    assert server.memory == 10 + OVERHEAD


def test_a_missing_file_is_no_tile(tmp_path):
    assert TileServer(DirectorySource(tmp_path)).tile(TileId(0, 0, 0)) is None


@pytest.mark.parametrize(("zoom", "x", "y"), [(-1, 0, 0), (20, 0, 0), (1, 2, 0), (1, 0, -1)])
def test_tiles_outside_the_world_are_refused(zoom, x, y):
    with pytest.raises(ValueError):
        TileId(zoom, x, y)
