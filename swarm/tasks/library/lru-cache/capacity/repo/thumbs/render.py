"""Rendering of a single thumbnail."""

from dataclasses import dataclass

SIZES = {"small": 64, "medium": 160, "large": 320}


class UnknownSize(ValueError):
    """The size is none of `SIZES`."""


@dataclass(frozen=True)
class Thumbnail:
    """A rendered picture: `pixels` holds `edge * edge` values of 0..255, row by row."""

    photo: str
    edge: int
    pixels: bytes


class Renderer:
    """Renders photos; `rendered` counts how often it had to."""

    def __init__(self) -> None:
        self.rendered = 0

    def render(self, photo: str, size: str) -> Thumbnail:
        """The thumbnail of `photo`. Raises UnknownSize."""
        edge = edge_of(size)
        self.rendered += 1
        seed = sum(photo.encode()) % 256
        row = bytes((seed + column) % 256 for column in range(edge))
        return Thumbnail(photo, edge, row * edge)


def edge_of(size: str) -> int:
    """The edge length in pixels of a named size."""
    try:
        return SIZES[size]
    except KeyError:
        raise UnknownSize(f"no size {size!r}; the sizes are {', '.join(SIZES)}") from None
