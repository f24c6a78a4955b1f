import json

import pytest

from shop.routes import make_app
from shop.web import Request

CATALOG = {"mug": 650, "pen": 99, "lamp": 5000}


@pytest.fixture
def app():
    return make_app(CATALOG)


def put(app, article, count, cart="ann"):
    return app.handle(Request("PUT", f"/carts/{cart}/{article}", body=json.dumps({"count": count})))


def test_an_empty_cart_costs_nothing(app):
    assert app.get("/carts/ann").data == {"lines": [], "goods": 0, "discount": 0, "shipping": 0, "total": 0}


def test_a_small_cart_is_shipped_for_a_fee(app):
    put(app, "pen", 2)
    assert put(app, "mug", 1).data == {
        "lines": [{"article": "mug", "count": 1, "cents": 650}, {"article": "pen", "count": 2, "cents": 198}],
        "goods": 848,
        "discount": 0,
        "shipping": 490,
        "total": 1338,
    }


def test_ten_pieces_are_cheaper_and_rounded_down(app):
    cart = put(app, "pen", 11).data
    assert cart["lines"] == [{"article": "pen", "count": 11, "cents": 980}]
    assert cart["discount"] == 109


@pytest.mark.parametrize(("article", "count", "shipping"), [("lamp", 1, 0), ("mug", 7, 490), ("mug", 8, 0)])
def test_shipping_is_free_from_fifty_on(app, article, count, shipping):
    assert put(app, article, count).data["shipping"] == shipping


def test_an_order_empties_the_cart(app):
    put(app, "lamp", 1)
    assert app.post("/carts/ann/order", None).data == {"order": 1, "total": 5000}
    assert app.get("/carts/ann").data["lines"] == []
    assert app.post("/carts/ann/order", None).status == 409


@pytest.mark.parametrize(("article", "count", "status"), [("cup", 1, 404), ("pen", -1, 400), ("pen", 100, 400), ("pen", "2", 400)])
def test_what_is_refused(app, article, count, status):
    assert put(app, article, count).status == status
    assert app.get("/carts/ann").data["lines"] == []
