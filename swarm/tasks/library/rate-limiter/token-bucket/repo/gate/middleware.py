"""Between the server and the application."""

import math
from dataclasses import dataclass, field
from typing import Callable

from gate.limiter import TokenBucket


@dataclass(frozen=True)
class Request:
    client: str
    method: str
    path: str


@dataclass
class Response:
    status: int
    headers: dict[str, str] = field(default_factory=dict)


Application = Callable[[Request], Response]

COSTS = {"GET": 1, "HEAD": 1, "POST": 3, "PUT": 3, "DELETE": 3}


class Gate:
    """Lets requests through to `application` as far as `limiter` allows. Exports cost ten times as much."""

    def __init__(self, application: Application, limiter: TokenBucket) -> None:
        self._application = application
        self._limiter = limiter

    def __call__(self, request: Request) -> Response:
        decision = self._limiter.ask(request.client, self.cost(request))
        if decision.allowed:
            response = self._application(request)
        else:
            # Whole seconds, upwards: who waits that long must not be turned away again.
            response = Response(429, {"Retry-After": str(math.ceil(decision.retry_after))})
        response.headers["RateLimit-Limit"] = str(self._limiter.burst)
        response.headers["RateLimit-Remaining"] = str(decision.remaining)
        return response

    def cost(self, request: Request) -> int:
        """Tokens for a request, never more than a full bucket holds."""
        cost = COSTS.get(request.method, 1) * (10 if request.path.startswith("/export") else 1)
        return min(cost, self._limiter.burst)
