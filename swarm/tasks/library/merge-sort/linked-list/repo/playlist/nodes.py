"""The nodes of a chain."""

from dataclasses import dataclass
from typing import Generic, Iterable, Iterator, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Node(Generic[T]):
    """An item and the node after it."""

    item: T
    next: "Node[T] | None" = None


def chain(items: Iterable[T]) -> Node[T] | None:
    """The head of a chain of `items`; None if there are none."""
    head: Node[T] | None = None
    for item in reversed(list(items)):
        head = Node(item, head)
    return head


def nodes(head: Node[T] | None) -> Iterator[Node[T]]:
    """Every node of a chain, from its head on."""
    while head is not None:
        following = head.next
        yield head
        head = following


def items(head: Node[T] | None) -> list[T]:
    return [node.item for node in nodes(head)]


def last(head: Node[T] | None) -> Node[T] | None:
    """The last node of a chain."""
    found = None
    for found in nodes(head):
        pass
    return found
