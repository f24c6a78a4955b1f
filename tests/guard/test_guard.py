"""A web page in a browser on this machine gets no answer from a server of swarm's, whatever it tries; programs do."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from scripted_server import REPLY, scripted

from swarm import guard
from swarm.client.base import Connection
from swarm.clock import Clock
from swarm.commands.record import bind
from swarm.exporter.endpoint import Endpoint, serving
from swarm.proxy.relay import Relay, Upstream
from swarm.simulator.profiles import profiles
from swarm.simulator.server import server as simulator

JSON = "Content-Type: application/json"
GOOD_HOSTS = (
    "127.0.0.1:PORT",
    "127.0.0.1",
    "127.9.9.9:PORT",
    "localhost:PORT",
    "LocalHost:PORT",
    "localhost.:PORT",
    "agent.localhost:PORT",
    "[::1]:PORT",
    "[::ffff:127.0.0.1]:PORT",
    "localhost:9",  # forwarded from another port
    "gpu-7:PORT",
    "GPU-7.:PORT",
)
BAD_HOSTS = (
    "evil.example:PORT",
    "localhost.evil.example:PORT",
    "127.0.0.1.evil.example:PORT",
    "notlocalhost:PORT",
    "gpu-7.evil.example",
    "user@127.0.0.1:PORT",
    "127.0.0.1:PORT@evil.example",
    "127.0.0.1:PORT, evil.example",
    "127.0.0.1/evil.example",
    "0.0.0.0:PORT",
    "192.0.2.7:PORT",
    "[::2]:PORT",
    "[::1",
    "::1",
    "[127.0.0.1]",
    "localhost:99999",
    "http://localhost",
    "",
)
GOOD_PAGES = ((), ("Origin: http://127.0.0.1:PORT", "Sec-Fetch-Site: same-origin"), ("Origin: http://localhost:3000",))
BAD_PAGES = (
    ("Origin: https://evil.example",),
    ("Origin: null",),
    ("Origin: http://127.0.0.1.evil.example",),
    ("Origin: http://localhost:PORT", "Origin: https://evil.example"),
    ("Origin: vscode-webview://x",),
    ("Origin: http://localhost@evil.example",),
    ("Origin:",),
    ("Sec-Fetch-Site: cross-site",),
    ("sec-fetch-site: Same-Site",),
    ("Origin: http://localhost:3000", "Sec-Fetch-Site: same-site"),
    ("Origin: http://localhost:PORT", "Sec-Fetch-Site: cross-site"),
)
SIMPLE = (
    ("Content-Type: text/plain",),
    ("Content-Type: TEXT/PLAIN; application/json",),
    ("Content-Type: application/x-www-form-urlencoded",),
    ("Content-Type: multipart/form-data; boundary=x",),
    ("Content-Type: text/plain, application/json",),
    ("Content-Type: application/json", "Content-Type: text/plain"),
    ("Content-Type:",),
    (),
    ("Content-Type: text/plain", "Authorization: Basic dXNlcjpwdw=="),  # a page may put these into an address
)
WITH_A_KEY = (
    ("Content-Type: multipart/form-data; boundary=x", "Authorization: Bearer k"),
    ("Content-Type: text/plain", "X-Api-Key: k"),
)


class Peer:
    """A server under test: sends raw requests and gives the status."""

    def __init__(self, port, path):
        self.port, self.path = port, path

    async def ask(self, *lines, target=None, method="POST", version="1.1", host="127.0.0.1:PORT"):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = [f"{method} {target or self.path} HTTP/{version}", *([] if host is None else [f"Host: {host}"]), *lines]
        if method == "POST":
            head.append("Content-Length: 2")
        text = "\r\n".join([*head, "Connection: close", "", "[]" if method == "POST" else ""])
        writer.write(text.replace("PORT", str(self.port)).encode())
        status = (await reader.read()).decode().partition("\r\n")[0].split()[1]
        writer.close()
        return int(status)


@asynccontextmanager
async def recording_proxy():
    async with scripted(REPLY) as server:
        relay = Relay(
            Upstream(Connection(server.url, None, api_key="spend-me")),
            Clock(),
            lambda _: None,
            guard.allowed_hosts(["gpu-7"]),
        )
        listening = bind(0)
        await relay.serve(listening)
        try:
            peer = Peer(listening.getsockname()[1], "/v1/anything")
            peer.reached = server.received
            yield peer
        finally:
            await relay.close()


@asynccontextmanager
async def simulated_server():
    server = await simulator.start(profiles.load("moe-30b-a3b-awq-1x3090"), allow_hosts=["gpu-7"])
    try:
        yield Peer(server.port, "/swarm/faults")
    finally:
        await server.close()


SERVERS = pytest.mark.parametrize("server", [recording_proxy, simulated_server])


@SERVERS
async def test_loopback_names_and_the_given_one_are_answered_and_no_other_name_is(server):
    async with server() as peer:
        assert {host: await peer.ask(JSON, host=host) for host in GOOD_HOSTS} == dict.fromkeys(GOOD_HOSTS, 200)
        statuses = {host: await peer.ask(JSON, host=host) for host in BAD_HOSTS}
        assert {host: status for host, status in statuses.items() if status not in (400, 403)} == {}


@SERVERS
async def test_no_host_and_two_hosts_are_refused(server):
    async with server() as peer:
        assert await peer.ask(JSON, host=None) in (400, 403)
        assert await peer.ask(JSON, host=None, version="1.0") == 403
        assert await peer.ask(JSON, version="1.0") == 200
        assert await peer.ask(JSON, "Host: evil.example") in (400, 403)
        assert await peer.ask(JSON, "Host: 127.0.0.1:PORT", host="evil.example") in (400, 403)


@SERVERS
async def test_a_target_that_is_no_path_is_refused(server):
    async with server() as peer:
        for target in ("http://evil.example/v1/models", "http://127.0.0.1:PORT/v1/models", "http://u:p@localhost/v1"):
            assert await peer.ask(JSON, target=target) in (400, 403)
        assert await peer.ask(method="OPTIONS", target="*") in (400, 403, 404)
        assert await peer.ask(method="CONNECT", target="127.0.0.1:443") in (400, 403, 404)


@SERVERS
async def test_pages_of_other_sites_are_refused_whatever_the_method(server):
    async with server() as peer:
        for lines in GOOD_PAGES:
            assert await peer.ask(JSON, *lines) == 200, lines
        for lines in BAD_PAGES:
            assert await peer.ask(JSON, *lines) == 403, lines
            assert await peer.ask(*lines, method="GET") == 403, lines
        assert await peer.ask("Origin: https://evil.example", method="OPTIONS") == 403


@SERVERS
async def test_posts_that_a_browser_sends_unasked_are_refused_and_those_with_a_key_or_json_are_not(server):
    async with server() as peer:
        for lines in SIMPLE:
            assert await peer.ask(*lines) in (400, 415), lines
        for lines in WITH_A_KEY:
            assert await peer.ask(*lines) == 200, lines
        assert await peer.ask("Content-Type: application/json; charset=utf-8") == 200
        assert await peer.ask("Content-Type: application/octet-stream") == 200


async def test_what_is_refused_never_reaches_the_upstream_with_the_key():
    async with recording_proxy() as peer:
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/models"):
            assert await peer.ask(JSON, host="evil.example", target=path) == 403
            assert await peer.ask("Content-Type: text/plain", target=path) == 415
        assert await peer.ask(host="evil.example", method="GET") == 403
        assert peer.reached == []


async def test_a_server_that_listens_elsewhere_is_asked_by_the_address_that_it_was_given_and_came_in_at():
    server = await simulator.start(profiles.load("moe-30b-a3b-awq-1x3090"), host="0.0.0.0")
    try:
        peer = Peer(server.port, "/health")
        for host in ("0.0.0.0:PORT", "127.0.0.1:PORT"):
            assert await peer.ask(method="GET", host=host) == 200
        assert await peer.ask(method="GET", host="evil.example") == 403
    finally:
        await server.close()


async def test_metrics_on_loopback_are_shown_to_loopback_names_and_elsewhere_to_whoever_scrapes():
    for bound, by_name in (("127.0.0.1", 403), ("localhost", 403), ("0.0.0.0", 200)):
        async with serving(Endpoint(Clock()), bound, 0) as address:
            peer = Peer(int(address.split(":")[2].split("/")[0]), "/metrics")
            assert await peer.ask(method="GET") == 200
            assert await peer.ask(method="GET", host="swarm:9464") == by_name
            assert await peer.ask("Sec-Fetch-Site: cross-site", method="GET") == by_name


def test_what_is_no_host_name_is_refused_by_the_option():
    assert guard.allowed_hosts(["GPU-7.", "::1", "[::1]", "10.0.0.7"]) == {"gpu-7", "::1", "10.0.0.7"}
    for name in ("http://gpu-7", "gpu-7:8000", "", "*", "a b", "user@gpu-7", "gpu-7/v1"):
        with pytest.raises(ValueError, match="--allow-host"):
            guard.allowed_hosts([name])
