"""Where a secret may stand: in the environment, and not in an address or a header that is written down with the run.

Messages name the place and never the value, which may be the secret.
"""

import re
from collections.abc import Iterable, Mapping
from string import Template
from urllib.parse import parse_qsl, urlsplit

from swarm.recording.redaction import Redaction

_INSTEAD = "give it by `api_key_env`, or by `headers` with ${VARIABLE}"
_KEYISH = re.compile("key|token|secret|pass|pwd|auth|cookie|cred|sig|jwt|session|bearer", re.IGNORECASE)
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_UNSENDABLE = re.compile("[^\t\x20-\x7e\xa0-\xff]")
"""In a header's value; RFC 9110, 5.5."""


def plain_address(url: str, instead: str = _INSTEAD, *, query: bool = False) -> str:
    """An http(s) address without a final slash; `query`: whether it may have one.

    Raises ValueError, which does not show it, for what is no address, or has a user, password or key in it.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # the port, or brackets
        known = False
    if "@" in url or (known and _secretive(url, (name for name, _ in parse_qsl(parts.query, keep_blank_values=True)))):
        raise ValueError(f"expected an address without a user, password or key in it, as it is written down; {instead}")
    if not known or re.search(r"[\x00-\x20\x7f\\]", url):
        raise ValueError("expected an address such as http://127.0.0.1:8000/v1: http:// or https://, a host, a path")
    if "#" in url or ("?" in url and not query):
        raise ValueError("expected an address without `?` and `#`, as paths are added to its end")
    return url.rstrip("/")


def _secretive(text: str, names: Iterable[str]) -> bool:
    return any(map(_KEYISH.search, names)) or Redaction().text(text) != text


def variable_name(name: str) -> str:
    """The name of an environment variable. Raises ValueError, which does not show it: it may be the key itself."""
    if not _VARIABLE.fullmatch(name) or Redaction().text(name) != name:
        raise ValueError("expected the NAME of an environment variable, which holds the key; not the key")
    return name


def plain_headers(headers: Mapping[str, str]) -> None:
    """Raises ValueError where a name is none, or a value is a secret that is written out."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if not any(True for _ in Template(value).get_identifiers()) and value and _secretive(value, [name]):
            raise ValueError(
                f"{name}: a secret that stands here is copied into every run's scenario.yaml; write ${{VARIABLE}} and "
                "put it into that environment variable"
            )


def sendable(value: str) -> bool:
    """Whether a header can carry the value: no line end, NUL or other control character, and nothing beyond Latin-1."""
    return _UNSENDABLE.search(value) is None
