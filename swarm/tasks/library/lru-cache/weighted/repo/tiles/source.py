"""Where tiles come from."""

from dataclasses import dataclass
from pathlib import Path

MAX_ZOOM = 19


@dataclass(frozen=True, order=True)
class TileId:
    """Column `x` and row `y` of the grid of `2 ** zoom` by `2 ** zoom` tiles."""

    zoom: int
    x: int
    y: int

    def __post_init__(self) -> None:
        if not 0 <= self.zoom <= MAX_ZOOM:
            raise ValueError(f"zoom {self.zoom} is not between 0 and {MAX_ZOOM}")
        edge = 1 << self.zoom
        if not (0 <= self.x < edge and 0 <= self.y < edge):
            raise ValueError(f"tile {self.x}/{self.y} does not exist at zoom {self.zoom}")

    @property
    def parent(self) -> "TileId | None":
        """The tile that holds this one, one level up; None for the whole world."""
        return TileId(self.zoom - 1, self.x // 2, self.y // 2) if self.zoom else None


class DirectorySource:
    """Tiles as files `<zoom>/<x>/<y>.tile` below a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, tile: TileId) -> bytes | None:
        """The tile's bytes; None if there is no such file."""
        path = self._root / str(tile.zoom) / str(tile.x) / f"{tile.y}.tile"
        return path.read_bytes() if path.is_file() else None
