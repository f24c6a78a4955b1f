import ast
import importlib
from pathlib import Path

import pytest

import shop

ALLOWED = {
    "routes": {"shop.service", "shop.store", "shop.web", "shop.prices", "typing"},
    "service": {"shop.store", "shop.prices", "typing"},
    "prices": {"dataclasses", "typing"},
    "store": {"dataclasses"},
}


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_layer_imports_only_what_is_below_it(layer):
    tree = ast.parse((Path(shop.__file__).parent / f"{layer}.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= ALLOWED[layer]


def test_routes_do_not_calculate():
    tree = ast.parse((Path(shop.__file__).parent / "routes.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.BinOp, ast.AugAssign, ast.For))]


def test_prices_need_neither_cart_nor_request():
    price = importlib.import_module("shop.prices").price({"mug": 10, "pen": 1}, {"mug": 650, "pen": 99})
    assert price.lines == (("mug", 10, 5850), ("pen", 1, 99))
    assert (price.goods, price.discount, price.shipping, price.total) == (5949, 650, 0, 5949)


def test_the_service_knows_what_a_cart_costs():
    service = importlib.import_module("shop.service")
    store = importlib.import_module("shop.store")
    carts = service.CartService(store.CartStore(), {"pen": 99})
    carts.put("ann", "pen", 1)
    assert carts.price("ann").total == 589
    assert carts.order("ann").total == 589
    with pytest.raises(service.EmptyCart):
        carts.order("ann")
