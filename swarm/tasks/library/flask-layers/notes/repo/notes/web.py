"""Just enough of a web framework: routes with parameters, JSON in, JSON out."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Callable


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: str = ""

    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Response:
    status: int
    data: Any = None

    @property
    def body(self) -> str:
        return "" if self.data is None else json.dumps(self.data)


Handler = Callable[..., Response]


class App:
    """Finds the handler of a request. `<name>` in a rule matches one part of the path."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        self._statuses: dict[type[Exception], int] = {}

    def on_error(self, kind: type[Exception], status: int) -> None:
        """Handlers may let errors of exactly this kind rise: the answer is `status` and the error's text."""
        self._statuses[kind] = status

    def route(self, rule: str, method: str = "GET") -> Callable[[Handler], Handler]:
        pattern = re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", rule))

        def register(handler: Handler) -> Handler:
            self._routes.append((method, pattern, handler))
            return handler

        return register

    def handle(self, request: Request) -> Response:
        """404 if no rule matches the path, 405 if one does but for another method."""
        known = False
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                return self._call(handler, request, match.groupdict())
            known = known or match is not None
        return Response(405 if known else 404, {"error": "method not allowed" if known else "no such page"})

    def _call(self, handler: Handler, request: Request, parameters: dict[str, str]) -> Response:
        try:
            return handler(request, **parameters)
        except tuple(self._statuses) as error:
            return Response(self._statuses[type(error)], {"error": str(error)})

    def get(self, path: str, **query: str) -> Response:
        return self.handle(Request("GET", path, query))

    def post(self, path: str, data: Any) -> Response:
        return self.handle(Request("POST", path, body=json.dumps(data)))

    def delete(self, path: str) -> Response:
        return self.handle(Request("DELETE", path))
