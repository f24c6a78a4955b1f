"""Every way a request can go wrong, as one of our kinds: the one place that knows foreign exceptions and error bodies.

A message says what happened, where, and what a person can do about it.
"""

import asyncio
import errno
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from math import isfinite
from time import time
from typing import Any

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from swarm.client import loose_json
from swarm.client.base import Failure
from swarm.client.dialects import SERVERS
from swarm.recording.records import ErrorKind

JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Errors that decoding a server's JSON raises."""

_EXCERPT = 300  # characters of a server's own words
_ERRORS = ("error", "errors", "error_message", "error_msg", "errorMessage")
_WORDS = (*_ERRORS, "message", "msg", "detail")
_CODES = ("code", "error_code", "errorCode", "status_code", "statusCode", "error_type", "errorType")
_WELL = (None, "", 0, 200, "0", "200", "ok", "OK", "success")
_OVERFLOW = tuple(words for server in SERVERS for words in server.overflow)


def error_text(body: bytes) -> str:
    """The words of an error in any of the forms that servers have for it, or of plain text; shortened, one line."""
    text = _own_words(body) or body.decode("utf-8", "replace")
    text = " ".join(text.split())
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"


def error_in(event: bytes) -> str | None:
    """The words of an error that came in the place of a chunk; None: it is none."""
    try:
        document = loose_json.loads(event)
    except JSON_ERRORS:
        return None
    if not isinstance(document, dict):
        return None
    if inner := _error_of_choice(document.get("choices")):
        return error_text(loose_json.dumps({"error": inner}).encode(errors="replace"))
    return error_text(event) if _is_error(document) else None


def _error_of_choice(choices: Any) -> Any:
    """The error that one of the choices, or its delta, holds."""
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    found += [choice["delta"] for choice in found if isinstance(choice.get("delta"), dict)]
    return next((error for each in found if (error := each.get("error"))), None)


def _is_error(document: dict[str, Any]) -> bool:
    """An error by its key, or one in the place of choices; a message alone may be a progress report."""
    if any(document.get(key) for key in _ERRORS):
        return True
    if document.get("choices") or document.get("usage"):
        return False
    marked = any(document.get(key) not in _WELL for key in _CODES)
    kinds = [str(document.get(key)).lower() for key in ("object", "type", "status")]
    named = any("error" in kind or "fail" in kind for kind in kinds)
    return named or bool(document.get("detail")) or (marked and any(document.get(key) for key in _WORDS))


def _own_words(body: bytes) -> str | None:
    try:
        error = loose_json.loads(body)
    except JSON_ERRORS:
        return None
    named, nested = None, False
    while isinstance(error, dict) and (inner := _worded(error)) is not None:
        named = (error.get("type") or error.get("code")) if nested else None
        error, nested = inner, True
    if isinstance(error, dict) and not nested:
        return None
    if isinstance(error, str):
        return loose_json.text([f"{error} ({named})" if named else error])
    return None if error is None else loose_json.text([loose_json.dumps(error)])


def _worded(error: dict[str, Any]) -> Any:
    return next((found for key in _WORDS if isinstance(found := error.get(key), str | dict | list) and found), None)


def from_status(status: int, headers: Mapping[str, str], body: bytes, url: str) -> Failure:
    """An HTTP answer other than 200, or a 200 that is no stream."""
    words = error_text(body)
    said = f"HTTP {status} from {url}" + (f": {words}" if words else "")
    if status in (401, 403):
        return Failure("unauthorized", f"{said} (is the key in api_key_env the right one?)", status)
    if status == 429:
        return Failure("rate_limited", said, status, _retry_after(headers.get("Retry-After")))
    if status in (400, 413, 422) and any(mark in words.lower() for mark in _OVERFLOW):
        return Failure("context_overflow", said, status)
    if status == 404:
        return Failure("not_found", f"{said} (is api_base right, up to its /v1, and does it serve this model?)", status)
    if 300 <= status < 400:
        where = headers.get("Location", "another address")
        return Failure("not_found", f"{said}: the server redirects to {where}; put that into api_base", status)
    return Failure("server_error", said, status, _retry_after(headers.get("Retry-After")))


def not_a_stream(content_type: str, body: bytes, url: str) -> Failure:
    """A 200 that carries one document where a stream was asked for."""
    words = _own_words(body)
    if words is not None:
        return Failure("in_band", f"{url} answered 200 with an error inside: {words[:_EXCERPT]}", 200)
    return Failure("malformed", f"{url} answered with {content_type} where a stream was asked for: {body[:120]!r}", 200)


def from_exception(error: BaseException, url: str) -> Failure | None:
    """Failure that an error of the network or the HTTP layer stands for; None for any other, which is a bug of ours."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return Failure("refused", f"the host name of {url} does not resolve ({error.os_error}): check api_base")
        case aiohttp.ClientSSLError() | ssl.SSLError() | aiohttp.ClientConnectorCertificateError():
            return Failure(
                "refused",
                f"no trusted TLS connection to {url} ({error}): check https, or name its CA in client.ca_file",
            )
        case aiohttp.ConnectionTimeoutError():
            return Failure("refused", f"no connection to {url} in time: is the host right and reachable?")
        case asyncio.TimeoutError():
            return Failure("timeout", f"no answer from {url} in time: is it the right server, and not stuck?")
        case aiohttp.ServerDisconnectedError():
            return Failure("reset", f"{url} closed the connection without an answer: did the server crash or restart?")
        case aiohttp.ClientPayloadError():
            return Failure("cut", f"{url} closed the connection inside the reply: did the server crash or restart?")
        case aiohttp.TooManyRedirects():
            return from_status(error.status, error.headers or {}, b"", url)
        case aiohttp.ClientResponseError() | HttpProcessingError():
            words = " ".join(error.message.split())
            return Failure("malformed", f"{url} does not answer in HTTP ({words}): check its scheme and port")
        case OSError():
            return _from_os_error(error, url)
        case aiohttp.ClientConnectionError():
            return Failure("reset", f"the connection to {url} broke ({error}): did the server crash or restart?")
    return None


def _from_os_error(error: OSError, url: str) -> Failure:
    if isinstance(error, ConnectionRefusedError) or error.errno == errno.ECONNREFUSED:
        return Failure("refused", f"nothing listens at {url} (connection refused): is the server up?")
    if isinstance(error, ConnectionError) or error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
        return Failure("reset", f"{url} reset the connection: did the server crash or restart?")
    if error.errno == errno.ETIMEDOUT:
        return Failure("timeout", f"{url} stopped answering (the network timed out): is the host reachable?")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Failure("refused", "this machine is out of file descriptors: raise the limit (ulimit -n)")
    if error.errno == errno.EADDRNOTAVAIL:
        return Failure("refused", f"this machine is out of local ports for {url}: use fewer agents, or more workers")
    return Failure("refused", f"no connection to {url} ({error.strerror or error}): is the host right and reachable?")


def total_timeout(timeout_s: float, url: str) -> Failure:
    return Failure("timeout", f"{url} had not finished after {timeout_s:g} s (client.timeout)")


def idle_timeout(idle_s: float, url: str) -> Failure:
    return Failure("timeout", f"{url} sent no chunk for {idle_s:g} s inside the reply (client.idle_timeout)")


def too_long(limit: int, url: str) -> Failure:
    return Failure("cut", f"the reply of {url} was cut off after {limit} bytes (client.max_reply_bytes)")


def _retry_after(value: str | None) -> float | None:
    """Seconds; the header holds a number of them or an HTTP date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if isfinite(seconds) else None


_LITELLM_KINDS: dict[str, ErrorKind] = {
    "ContextWindowExceededError": "context_overflow",
    "AuthenticationError": "unauthorized",
    "PermissionDeniedError": "unauthorized",
    "NotFoundError": "not_found",
    "RateLimitError": "rate_limited",
    "Timeout": "timeout",
    "APITimeoutError": "timeout",
}


def litellm_kind(error: BaseException) -> ErrorKind | None:
    """The kind of LiteLLM's exception, by the name of its class or the nearest base; None: no more than "an error".

    By name, because importing LiteLLM takes seconds and the other routes do without it.
    """
    for base in type(error).__mro__:
        if base.__name__ in _LITELLM_KINDS:
            return _LITELLM_KINDS[base.__name__]
    return None


def from_litellm(error: Exception, url: str, streaming: bool) -> Failure:
    """Failure that an error of `litellm.acompletion` stands for, before or (`streaming`) inside the stream.

    LiteLLM wraps what happened up to five deep and calls most of it an internal server error, so where there is an
    exception of the network's inside, that one decides.
    """
    causes = list(_causes(error))
    for cause in causes:
        network = from_exception(cause, url) if isinstance(cause, aiohttp.ClientError | OSError) else None
        if network is not None:
            return network
    if streaming:
        words = error_text(str(causes[-1]).encode())
        unread = any(isinstance(cause, ValueError) for cause in causes)
        ended = "finish_reason" in words and "abort" not in words  # it raises for an aborted reply too
        kind: ErrorKind = "malformed" if unread else "cut" if ended else "in_band"
        return Failure(kind, f"the stream of {url} broke off: {words}")
    headers: Mapping[str, str] = {}
    answer = str(error).encode()
    for cause in causes:
        headers = getattr(getattr(cause, "response", None), "headers", None) or headers
        body = str(getattr(cause, "message", "")).encode()
        answer = body if _own_words(body) else answer  # the server's own words
    failure = from_status(getattr(error, "status_code", 500), headers, answer, url)
    return replace(failure, kind=litellm_kind(error) or failure.kind)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it came from, outermost first, each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "original_exception", None)]
