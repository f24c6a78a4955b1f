"""Carts and orders, in memory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """What was ordered; `total` is in cents."""

    number: int
    cart: str
    articles: tuple[tuple[str, int], ...]
    total: int


class CartStore:
    """Counts by cart and article. A count of 0 is not stored."""

    def __init__(self) -> None:
        self._carts: dict[str, dict[str, int]] = {}
        self._orders: list[Order] = []

    def lines(self, cart: str) -> dict[str, int]:
        """A copy of what is in a cart, sorted by article."""
        return dict(sorted(self._carts.get(cart, {}).items()))

    def put(self, cart: str, article: str, count: int) -> None:
        lines = self._carts.setdefault(cart, {})
        if count:
            lines[article] = count
        else:
            lines.pop(article, None)

    def order(self, cart: str, total: int) -> Order:
        """Turns a cart into an order, and empties it."""
        order = Order(len(self._orders) + 1, cart, tuple(self.lines(cart).items()), total)
        self._orders.append(order)
        self._carts.pop(cart, None)
        return order
