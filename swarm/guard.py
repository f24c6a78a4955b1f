"""Which requests a server on this machine answers: no web page, in a browser on the same machine, may use it.

A page can reach a loopback port in two ways. It asks by a name of its own that resolves to 127.0.0.1 (DNS rebinding):
then `Host` has that name. Or it asks across sites without reading the answer, which spends a key all the same: then the
browser sends `Origin` or `Sec-Fetch-Site`, or a POST of one of the three types that need no permission (preflight).
Imports nothing of swarm, as the simulator uses it too.
"""

import ipaddress
import re
from collections.abc import Collection

from aiohttp import web

_AUTHORITY = re.compile(
    r"(?:\[(?P<six>[0-9a-f:.]+(?:%[\w.%-]+)?)\]|(?P<name>[a-z0-9_.-]+))(?::(?P<port>\d{0,5}))?", re.I | re.A
)
_LOCALHOST = re.compile(r"(?:[a-z0-9_-]+\.)*localhost")
_MEDIA_TYPE = re.compile(r"[\w!#$&^+.-]+/[\w!#$&^+.-]+", re.A)
_SIMPLE_TYPES = frozenset({"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
"""Types that a browser posts to any site without asking first (Fetch standard, "CORS-safelisted request-header")."""
_ASK_FIRST = ("x-api-key", "api-key", "x-goog-api-key")


def host_name(text: str) -> str | None:
    """The name of a `Host` header or of `--allow-host`: lower case, without port and final dot; None: it is none."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or int(found["port"] or 0) > 65535:
        return None
    if found["six"] is not None:
        address = _address(found["six"])
        return None if address is None or (address.version == 4 and ":" not in found["six"]) else str(address)
    return found["name"].lower().removesuffix(".") or None


def allowed_hosts(names: Collection[str]) -> frozenset[str]:
    """The values of `--allow-host`. Raises ValueError for one that is no host name."""
    hosts = {name: host_name(f"{name}:0") or host_name(f"[{name}]:0") for name in names}
    for name, host in hosts.items():
        if host is None:
            raise ValueError(f"--allow-host {name!r}: expected a host name without scheme and port, such as gpu-7")
    return frozenset(host for host in hosts.values() if host)


def objection(request: web.Request, allowed: Collection[str] = ()) -> tuple[int, str] | None:
    """Status and text of a refusal; None for a request that may be answered.

    It is one where `Host` is a loopback name, the address that the connection came in at, or in `allowed`, and no web
    page of another origin sent it.
    """
    hosts = request.headers.getall("Host", [])
    host = host_name(hosts[0]) if len(hosts) == 1 else None
    if not request.raw_path.startswith("/"):  # RFC 9112, 3.2: as one asks a proxy, or CONNECT, or OPTIONS *
        return 403, "the request's target must be a path: give this server's address as base URL, not as a proxy"
    if host is None or not (is_loopback(host) or host in allowed or host == _own_address(request)):
        told = ", ".join(hosts)[:100] or "none"
        return 403, (
            f"the request's Host ({told!a}) is not this machine: ask at 127.0.0.1 or localhost, or start the server "
            "with --allow-host NAME for another name"
        )
    if not all(_own_origin(origin, hosts[0]) for origin in request.headers.getall("Origin", [])) or any(
        site.strip().lower() not in ("same-origin", "none") for site in request.headers.getall("Sec-Fetch-Site", [])
    ):
        return 403, "a web page of another site sent this request (Origin, Sec-Fetch-Site): those are not answered"
    if request.method == "POST" and _needs_no_permission(request):
        return 415, "a POST must say that it is JSON: send the header Content-Type: application/json"
    return None


def is_loopback(host: str) -> bool:
    """Whether a name (of `host_name`) is this machine, whoever resolves it."""
    address = _address(host)
    return address.is_loopback if address else bool(_LOCALHOST.fullmatch(host))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _own_address(request: web.Request) -> str | None:
    """Where the connection came in. A page cannot make a name of its own out of an address, so it may be asked by."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    address = _address(name[0]) if isinstance(name, tuple) else None
    return str(address) if address else None


def _own_origin(origin: str, host: str) -> bool:
    scheme, _, authority = origin.lower().partition("://")
    name = host_name(authority)
    return scheme in ("http", "https") and name is not None and (authority == host.lower() or is_loopback(name))


def _needs_no_permission(request: web.Request) -> bool:
    """Whether a browser would send this POST to another site unasked; with an API's key it would not."""
    headers = request.headers
    if any(name in headers for name in _ASK_FIRST) or headers.get("Authorization", "").lower().startswith("bearer "):
        return False
    types = [value.partition(";")[0].strip().lower() for value in headers.getall("Content-Type", [])]
    return not types or any(kind in _SIMPLE_TYPES or not _MEDIA_TYPE.fullmatch(kind) for kind in types)
