"""What can be done with a cart."""

from typing import Any, Mapping

from shop.store import CartStore, Order


class UnknownArticle(LookupError):
    """The catalog has no such article."""


class BadCount(ValueError):
    """A count is a whole number from 0 to 99."""


class EmptyCart(Exception):
    """There is nothing to order."""


class CartService:
    """Carts with the prices of `catalog`: cents by article."""

    def __init__(self, store: CartStore, catalog: Mapping[str, int]) -> None:
        self._store = store
        self._catalog = catalog

    def put(self, cart: str, article: str, count: Any) -> None:
        """Sets how many pieces of an article are in a cart. Raises UnknownArticle or BadCount."""
        if article not in self._catalog:
            raise UnknownArticle(f"no article {article}")
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 99:
            raise BadCount("a count is a whole number from 0 to 99")
        self._store.put(cart, article, count)

    def lines(self, cart: str) -> dict[str, int]:
        return self._store.lines(cart)

    def order(self, cart: str, total: int) -> Order:
        """Orders what is in a cart. Raises EmptyCart."""
        if not self._store.lines(cart):
            raise EmptyCart("the cart is empty")
        return self._store.order(cart, total)
