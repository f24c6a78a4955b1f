"""The API."""

from typing import Mapping

from shop.service import BadCount, CartService, EmptyCart, UnknownArticle
from shop.store import CartStore
from shop.web import App, Request, Response


def make_app(catalog: Mapping[str, int]) -> App:
    app = App()
    service = CartService(CartStore(), catalog)
    app.on_error(UnknownArticle, 404)
    app.on_error(BadCount, 400)
    app.on_error(EmptyCart, 409)

    @app.route("/carts/<name>/<article>", "PUT")
    def put(request: Request, name: str, article: str) -> Response:
        data = request.json()
        service.put(name, article, data.get("count") if isinstance(data, dict) else None)
        return show(request, name)

    @app.route("/carts/<name>")
    def show(request: Request, name: str) -> Response:
        lines = []
        goods = 0
        discount = 0
        for article, count in service.lines(name).items():
            full = count * catalog[article]
            off = full - full * 9 // 10 if count >= 10 else 0
            lines.append({"article": article, "count": count, "cents": full - off})
            goods += full - off
            discount += off
        shipping = 0 if goods == 0 or goods >= 5000 else 490
        total = goods + shipping
        return Response(
            200, {"lines": lines, "goods": goods, "discount": discount, "shipping": shipping, "total": total}
        )

    @app.route("/carts/<name>/order", "POST")
    def order(request: Request, name: str) -> Response:
        goods = 0
        for article, count in service.lines(name).items():
            full = count * catalog[article]
            goods += full * 9 // 10 if count >= 10 else full
        placed = service.order(name, goods + (0 if goods >= 5000 else 490))
        return Response(201, {"order": placed.number, "total": placed.total})

    return app
