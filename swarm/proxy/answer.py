"""An answer on its way to a client."""

from typing import Protocol

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from swarm.proxy.exchange import BOUNDS, Api
from swarm.proxy.usage import UsageFilter

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
"""Headers that concern one connection (RFC 9110, 7.6.1)."""


class Answer(Protocol):
    """Takes what the upstream says, in this order: `begin`, `write` as often as bytes come, then `end` or `cut`."""

    @property
    def response(self) -> web.StreamResponse | None:
        """None: nothing has been sent to the client."""

    async def begin(self, reply: aiohttp.ClientResponse) -> object: ...

    def write(self, data: bytes) -> None: ...

    async def end(self) -> None: ...

    def cut(self) -> None:
        """The upstream broke off: so must this answer, that its client does not take it for whole."""


class PlainAnswer:
    """The upstream's answer as it is. Its body goes straight to the transport: no task would be as quick."""

    def __init__(self, http: web.Request, usage: UsageFilter | None = None, unread: int = BOUNDS.unread) -> None:
        """`unread`: the client is cut off when it leaves more bytes than these unfetched."""
        self._http = http
        self._unread = unread
        self._usage = usage
        self._chunked = False
        self.response: web.StreamResponse | None = None

    async def begin(self, reply: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = forwarded(reply.headers, *(("content-length",) if self._usage else ()))
        return await self.start(reply.status, reply.reason, headers)

    async def start(self, status: int, reason: str | None, headers: CIMultiDict[str]) -> web.StreamResponse:
        response = web.StreamResponse(status=status, reason=reason, headers=headers)
        await response.prepare(self._http)
        self._chunked = response.headers.get("Transfer-Encoding") == "chunked"
        self.response = response
        return response

    def write(self, data: bytes) -> None:
        self._send(data if self._usage is None else self._usage.feed(data))

    async def end(self) -> None:
        if self._usage is not None:
            self._send(self._usage.rest())
        if self.response is not None and not self._gone():
            await self.response.write_eof()

    def cut(self) -> None:
        if self.response is not None and self._http.transport is not None:
            self._http.transport.close()  # what was written still goes out; the end of the body does not

    def _send(self, data: bytes) -> None:
        transport = self._http.transport
        if not data or transport is None or transport.is_closing():
            return
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if transport.get_write_buffer_size() > self._unread:
            transport.abort()

    def _gone(self) -> bool:
        return self._http.transport is None or self._http.transport.is_closing()


def forwarded(headers: CIMultiDictProxy[str], *left_out: str) -> CIMultiDict[str]:
    """The headers that concern both ends, without those of `left_out` (lower case)."""
    named = {name.strip().lower() for value in headers.getall("Connection", []) for name in value.split(",")}
    dropped = _HOP_BY_HOP | named | set(left_out)
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def refusal(api: Api, status: int, message: str) -> web.Response:
    """An answer of the proxy's own, in the words that the client knows errors by."""
    return web.Response(body=error_body(api, status, message), status=status, content_type="application/json")


_ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def error_body(api: Api, status: int, message: str) -> bytes:
    """OpenAI's or Anthropic's form of an error (https://docs.anthropic.com/en/api/errors)."""
    if api == "anthropic":
        error = {"type": _ANTHROPIC_ERRORS.get(status, "api_error"), "message": message}
        return msgspec.json.encode({"type": "error", "error": error})
    return msgspec.json.encode({"error": {"message": message, "type": "proxy_error", "code": status}})
