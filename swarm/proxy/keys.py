"""The secrets that a request comes with: they are in no trace, wherever else they turn up."""

import base64
import binascii
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

from multidict import CIMultiDict, CIMultiDictProxy

from swarm.trace.secret_rules import KEYISH_NAME


def keys_of(headers: CIMultiDict[str] | CIMultiDictProxy[str], query: str) -> tuple[str, ...]:
    """The value of every header and parameter whose name says that it is a secret, each once, and what is in it: the
    credentials after a scheme, the password of Basic, the values of cookies."""
    found = dict.fromkeys(
        secret
        for name, value in (*headers.items(), *parse_qsl(query))
        if KEYISH_NAME.search(name) or name.lower() in ("key", "sig", "code") or name.lower().endswith("-key")
        for secret in _inside(name.lower(), value)
        if secret
    )
    return tuple(found)


def _inside(name: str, value: str) -> Iterator[str]:
    if "cookie" in name:
        yield from (part.partition("=")[2].strip().strip('"') for part in value.split(";"))
    elif "authorization" in name:
        scheme, _, credentials = value.strip().partition(" ")
        yield credentials.strip() or scheme
        if scheme.lower() == "basic":
            yield _plain(credentials.strip())
            yield _plain(credentials.strip()).partition(":")[2]
    else:
        yield value.strip()
        yield unquote(value.strip())


def _plain(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
