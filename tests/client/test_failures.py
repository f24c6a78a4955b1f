import errno
import socket
import ssl
import time
from email.utils import formatdate
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import BadHttpMessage

from swarm.client.failures import error_text, from_exception, from_litellm, from_status, litellm_kind

URL = "http://gpu:8000/v1/chat/completions"
KEY = ConnectionKey("gpu", 8000, False, True, None, None, None)

VLLM_OVERFLOWS = [
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4500 in the messages, "
    "500 in the completion). Please reduce the length of the messages or completion.",
    "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens "
    "and your request has 300 input tokens (5000 > 4096 - 300).",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` "
    "is no smaller than the number of text tokens.",
    "You passed 5001 input tokens and requested 128 output tokens. However, the model's context length is only 4096 "
    "tokens, resulting in a maximum input length of 3968 tokens.",
]


def vllm_error(message: str, code: int, kind: str = "BadRequestError") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def encoded(body: Any) -> bytes:
    import msgspec

    return body if isinstance(body, bytes) else msgspec.json.encode(body)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        *((400, vllm_error(message, 400), "context_overflow") for message in VLLM_OVERFLOWS),
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, "context_overflow"),
        (400, {"error": {"message": "x", "type": "exceed_context_size_error", "code": 400}}, "context_overflow"),
        (413, b"the prompt exceeds the model's context window", "context_overflow"),
        (400, vllm_error("temperature must be non-negative", 400), "server_error"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "server_error"),
        (401, {"error": "Unauthorized"}, "unauthorized"),
        (403, b"", "unauthorized"),
        (404, vllm_error("The model `x` does not exist.", 404, "NotFoundError"), "not_found"),
        (429, {"error": {"message": "slow"}}, "rate_limited"),
        (307, b"", "not_found"),
        (500, vllm_error("EngineCore died: maximum context length", 500), "server_error"),
        (502, b"<html>bad gateway</html>", "server_error"),
        (503, b"", "server_error"),
        (418, b"teapot", "server_error"),
    ],
)
def test_an_answer_other_than_200_has_its_kind_and_says_status_and_address(status: int, body: Any, kind: str) -> None:
    failure = from_status(status, {}, encoded(body), URL)
    assert failure.kind == kind
    assert failure.status == status
    assert failure.message.startswith(f"HTTP {status} from {URL}")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (vllm_error("no model", 404, "NotFoundError"), "no model (NotFoundError)"),
        ({"object": "error", "message": "old form", "code": 400}, "old form"),
        ({"error": "plain"}, "plain"),
        ({"message": "gateway"}, "gateway"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": [{"msg": "bad"}]}, '[{"msg":"bad"}]'),
        (b"just\n  text", "just text"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, "[" * 299 + "…"),
        (b'{"error": {"message": 5}}', '{"message":5}'),
        (b"null", "null"),
        (b"", ""),
    ],
)
def test_the_servers_own_words_are_found_in_every_form_and_kept_short(body: Any, words: str) -> None:
    assert error_text(encoded(body)) == words


def test_what_to_do_is_said() -> None:
    assert "api_key_env" in from_status(401, {}, b"", URL).message
    assert "/v1" in from_status(404, {}, b"", URL).message
    assert "https://new" in from_status(308, {"Location": "https://new"}, b"", URL).message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-4", 0.0), ("soon", None), ("", None), ("nan", None), ("inf", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert from_status(429, {"Retry-After": value}, b"", URL).retry_after_s == seconds


def test_retry_after_as_a_date() -> None:
    waited = from_status(503, {"Retry-After": formatdate(time.time() + 30, usegmt=True)}, b"", URL).retry_after_s
    assert waited is not None
    assert 28 < waited <= 30
    assert from_status(429, {"Retry-After": formatdate(0, usegmt=True)}, b"", URL).retry_after_s == 0.0


def connector(code: int, text: str = "x") -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(KEY, OSError(code, text))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (connector(errno.ECONNREFUSED), "refused", "is the server up?"),
        (connector(errno.EHOSTUNREACH, "No route to host"), "refused", "No route to host"),
        (connector(errno.EMFILE), "refused", "ulimit -n"),
        (connector(errno.EADDRNOTAVAIL), "refused", "local ports"),
        (connector(errno.ETIMEDOUT), "timeout", "stopped answering"),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "unknown name")), "refused", "does not resolve"),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "bad")), "refused", "client.ca_file"),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("self-signed")),
            "refused",
            "client.ca_file",
        ),
        (ssl.SSLError(1, "decryption failed"), "refused", "TLS"),
        (aiohttp.ConnectionTimeoutError(), "refused", "no connection"),
        (TimeoutError(), "timeout", "no answer"),
        (aiohttp.ServerDisconnectedError(), "reset", "without an answer"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "reset", "reset the connection"),
        (aiohttp.ClientOSError(errno.EPIPE, "pipe"), "reset", "reset the connection"),
        (aiohttp.ClientConnectionResetError("closing transport"), "reset", ""),
        (aiohttp.ClientPayloadError("half"), "cut", "inside the reply"),
        (BadHttpMessage("no\n  status"), "malformed", "no status"),
        (aiohttp.ClientConnectionError("closed"), "reset", "closed"),
    ],
)
def test_what_the_network_raises_has_its_kind(error: Exception, kind: str, words: str) -> None:
    failure = from_exception(error, URL)
    assert failure is not None
    assert failure.kind == kind
    assert words in failure.message


def test_a_bug_of_ours_is_no_failure_of_the_servers() -> None:
    assert from_exception(ValueError("ours"), URL) is None


class RateLimitError(Exception):
    status_code = 429


class MyRateLimitError(RateLimitError):
    """A class of a newer LiteLLM, derived from one we know."""


class MidStreamFallbackError(Exception):
    status_code = 500
    original_exception: Exception | None = None


def test_litellms_exceptions_are_known_by_name_and_by_base() -> None:
    assert litellm_kind(MyRateLimitError()) == "rate_limited"
    assert litellm_kind(ValueError()) is None


def wrapped(outer: Exception, *inner: Exception) -> Exception:
    error = outer
    for cause in inner:
        error.__cause__ = cause
        error = cause
    return outer


def test_the_network_inside_litellms_wrapping_decides() -> None:
    refused = from_litellm(wrapped(RuntimeError("500"), KeyError(), connector(errno.ECONNREFUSED)), URL, False)
    assert (refused.kind, "is the server up?" in refused.message) == ("refused", True)
    cut = MidStreamFallbackError()
    cut.original_exception = wrapped(RuntimeError("x"), aiohttp.ClientPayloadError("half"))
    assert from_litellm(cut, URL, True).kind == "cut"
    cut.__cause__ = cut.original_exception  # a ring of causes must end
    cut.original_exception.__context__ = cut
    assert from_litellm(cut, URL, True).kind == "cut"


def test_litellms_other_exceptions_go_by_class_status_and_place() -> None:
    assert from_litellm(RateLimitError("slow"), URL, False).kind == "rate_limited"
    assert from_litellm(RuntimeError("boom"), URL, False).kind == "server_error"
    assert from_litellm(RuntimeError("died"), URL, True).kind == "in_band"
    assert from_litellm(RuntimeError("ended before a finish_reason"), URL, True).kind == "cut"
    assert from_litellm(wrapped(RuntimeError("x"), ValueError("bad json")), URL, True).kind == "malformed"
