"""The API."""

import hashlib
import hmac
import re
from typing import Any, Callable

from accounts.users import Outbox, User, UserStore
from accounts.web import App, Request, Response


def make_app(store: UserStore, outbox: Outbox, random_hex: Callable[[int], str]) -> App:
    app = App()

    @app.route("/accounts", "POST")
    def sign_up(request: Request) -> Response:
        email, password = _text(request, "email").strip().lower(), _text(request, "password")
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
            return Response(400, {"error": "that is no address"})
        if len(password) < 10 or not re.search(r"[A-Za-z]", password) or not re.search(r"\d", password):
            return Response(400, {"error": "a password has at least 10 characters, with a letter and a digit"})
        if store.find(email):
            return Response(409, {"error": "this address is taken"})
        salt = random_hex(16)
        hashed = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 1000).hex()
        code = f"{int(random_hex(8), 16) % 1000000:06}"
        store.save(User(email, f"{salt}${hashed}", code))
        outbox.send(email, f"Your code is {code}.")
        return Response(201, {"email": email})

    @app.route("/accounts/confirm", "POST")
    def confirm(request: Request) -> Response:
        user = store.find(_text(request, "email").strip().lower())
        if user is None or user.code is None or not hmac.compare_digest(user.code.encode(), _text(request, "code").encode()):
            return Response(400, {"error": "the code is wrong"})
        store.confirm(user.email)
        return Response(200, {"email": user.email, "confirmed": True})

    @app.route("/sessions", "POST")
    def sign_in(request: Request) -> Response:
        user = store.find(_text(request, "email").strip().lower())
        salt, _, hashed = user.password.partition("$") if user else ("", "", "")
        given = hashlib.pbkdf2_hmac("sha256", _text(request, "password").encode(), salt.encode(), 1000).hex()
        if user is None or not hmac.compare_digest(given, hashed):
            return Response(401, {"error": "address or password are wrong"})
        if not user.confirmed:
            return Response(403, {"error": "this address is not confirmed yet"})
        token = random_hex(32)
        store.tokens[token] = user.email
        return Response(201, {"token": token})

    return app


def _text(request: Request, key: str) -> str:
    data: Any = request.json()
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""
