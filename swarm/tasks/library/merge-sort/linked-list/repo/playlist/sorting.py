"""Merge sort on a singly linked chain, by relinking its nodes."""

from typing import Any, Callable, TypeVar

from playlist.nodes import Node

T = TypeVar("T")
Key = Callable[[T], Any]


def sort_chain(head: Node[T] | None, key: Key[T]) -> Node[T] | None:
    """The head of the same nodes in the order of `key`; ties keep their order."""
    if head is None or head.next is None:
        return head
    second = split(head)
    return merge(sort_chain(head, key), sort_chain(second, key), key)


def split(head: Node[T] | None) -> Node[T] | None:
    """Cuts a chain after its first half, which is the longer one, and returns the head of the second."""
    if head is None:
        return None
    slow, fast = head, head
    while fast is not None and fast.next is not None:
        slow, fast = slow.next, fast.next.next
    second = slow.next
    slow.next = None
    return second


def merge(a: Node[T] | None, b: Node[T] | None, key: Key[T]) -> Node[T] | None:
    """Links two chains in order into one."""
    head = tail = Node(None)
    while a is not None and b is not None:
        if key(a.item) < key(b.item):
            tail.next, a = a, a.next
        else:
            tail.next, b = b, b.next
        tail = tail.next
    tail.next = a
    return head.next
