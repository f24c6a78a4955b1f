"""What the web pages call."""

from typing import Iterable

from thumbs.cache import LRUCache
from thumbs.render import Renderer, Thumbnail, edge_of


class Gallery:
    """Thumbnails by photo and size; the `keep` used last stay in memory."""

    def __init__(self, renderer: Renderer, keep: int = 500) -> None:
        self._renderer = renderer
        self._cache: LRUCache[tuple[str, str], Thumbnail] = LRUCache(keep)

    @property
    def kept(self) -> int:
        """How many thumbnails are in memory."""
        return len(self._cache)

    def thumbnail(self, photo: str, size: str = "medium") -> Thumbnail:
        """One thumbnail, from memory if it was used lately. Raises UnknownSize."""
        edge_of(size)
        found = self._cache.get((photo, size))
        if found is None:
            found = self._renderer.render(photo, size)
            self._cache.put((photo, size), found)
        return found

    def page(self, photos: Iterable[str], size: str = "small") -> list[Thumbnail]:
        """The thumbnails of a page, in the order of `photos`; a photo that occurs twice is rendered once."""
        return [self.thumbnail(photo, size) for photo in photos]

    def forget(self) -> None:
        """Empties the memory, for instance after photos were replaced."""
        self._cache.clear()
