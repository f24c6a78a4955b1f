"""Which targets are neither on this machine nor on a private network: loading those asks for a yes."""

import ipaddress
import socket
from urllib.parse import urlsplit

from swarm.scenario.schema import Scenario


def public_hosts(scenario: Scenario) -> list[str]:
    """Hosts of the targets with an address that is neither loopback nor private, each once."""
    hosts = dict.fromkeys(urlsplit(target.api_base).hostname or "" for target in scenario.targets if target.api_base)
    return [host for host in hosts if not is_private(host)]


def is_private(host: str) -> bool:
    """Whether all addresses of a host are loopback or private; a name that does not resolve is no public host."""
    try:
        found = [ipaddress.ip_address(host)]
    except ValueError:
        try:
            found = [ipaddress.ip_address(entry[4][0]) for entry in socket.getaddrinfo(host, None)]
        except OSError:
            return True  # the probe will say that it cannot be reached
    return all(address.is_loopback or address.is_private for address in found)


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine by name or address: every machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
