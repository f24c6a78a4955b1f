"""A playlist as the player sees it."""

from dataclasses import dataclass
from typing import Iterator

from playlist.nodes import Node, last, nodes
from playlist.sorting import sort_chain


@dataclass(frozen=True)
class Track:
    artist: str
    title: str
    seconds: int
    added: int = 0


ORDERS = {
    "artist": lambda track: (track.artist.casefold(), track.title.casefold()),
    "title": lambda track: track.title.casefold(),
    "length": lambda track: track.seconds,
    "added": lambda track: track.added,
}


class Playlist:
    """Tracks in the order in which they will be played."""

    def __init__(self) -> None:
        self._head: Node[Track] | None = None
        self._tail: Node[Track] | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Track]:
        return (node.item for node in nodes(self._head))

    def append(self, track: Track) -> None:
        """Puts a track at the end, in constant time."""
        node = Node(track)
        if self._tail is None:
            self._head = node
        else:
            self._tail.next = node
        self._tail = node
        self._length += 1

    def remove(self, track: Track) -> bool:
        """Takes out the first track equal to `track`; False if there is none."""
        before: Node[Track] | None = None
        for node in nodes(self._head):
            if node.item == track:
                if before is None:
                    self._head = node.next
                else:
                    before.next = node.next
                if node is self._tail:
                    self._tail = before
                self._length -= 1
                return True
            before = node
        return False

    def sort(self, order: str) -> None:
        """Sorts by artist, title, length or added; tracks that are equal in that keep their order."""
        if order not in ORDERS:
            raise ValueError(f"no order {order!r}; the orders are {', '.join(ORDERS)}")
        self._head = sort_chain(self._head, ORDERS[order])
        self._tail = last(self._head)

    def seconds(self) -> int:
        return sum(track.seconds for track in self)
