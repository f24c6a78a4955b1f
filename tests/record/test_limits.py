"""TLS, and what is too long: for a request, for the trace, and for a client that does not fetch its answer."""

import asyncio
import gzip
import json
import socket
import ssl
from itertools import pairwise
from pathlib import Path

import pytest
from scripted_server import END, REPLY, delta, event, piece, scripted, stream_head
from test_recording import Trace
from test_relay import ASKS_USAGE, BODY, CHAT, proxy, until

from swarm.proxy.exchange import Bounds

TLS = Path(__file__).parents[1] / "client" / "tls"
LONG = [stream_head(), *(piece(event(delta(content="word " * 400))) for _ in range(20)), *REPLY[1:]]
"""A reply of 40 kB."""


def tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    return context


async def test_an_upstream_with_tls_is_read_and_stamped_where_its_certificate_is_named():
    paced = [step for part in REPLY for step in (part, 0.002)]
    async with scripted(paced, tls=tls_context()) as server, proxy(server, ca_file=str(TLS / "cert.pem")) as through:
        reply = await through.post(ASKS_USAGE)
        assert (reply.status, await reply.read()) == (200, BODY)
    (kept,) = through.kept
    stamps = [stamp_ns for _, stamp_ns in kept.pieces]
    assert b"".join(data for data, _ in kept.pieces) == BODY
    assert kept.sent_ns < stamps[0]
    assert all(later - earlier > 1_000_000 for earlier, later in pairwise(stamps))


async def test_an_upstream_whose_certificate_nobody_vouches_for_gets_no_request():
    async with scripted(REPLY, tls=tls_context()) as server, proxy(server) as through:
        async with through.post(CHAT) as reply:
            assert reply.status == 502
            assert "no trusted TLS connection" in (await reply.json())["error"]["message"]
        assert server.received == []
    assert [exchange.failure.kind for exchange in through.kept] == ["refused"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v1/chat/completions", {"type": "proxy_error", "code": 413}),
        ("/v1/responses", {"type": "proxy_error", "code": 413}),
        ("/v1/messages", {"type": "request_too_large"}),
    ],
)
async def test_a_request_that_is_too_long_is_refused_and_reaches_no_server(path, error):
    async with scripted(REPLY) as server, proxy(server, api="anthropic", bounds=Bounds(request=1000)) as through:
        async with through.post(CHAT | {"user": "x" * 1000}, path) as reply:
            said = (await reply.json())["error"]
            assert (reply.status, said.pop("message")) == (413, "the proxy takes requests of at most 1000 bytes")
            assert said == error
        assert (server.received, through.kept) == ([], [])
        async with through.post(CHAT, path) as reply:
            assert reply.status == 200


async def test_a_request_that_unpacks_to_too_much_is_refused():
    packed = gzip.compress(json.dumps(CHAT | {"user": "x" * 1000}).encode())
    async with scripted(REPLY) as server, proxy(server, bounds=Bounds(request=1000)) as through:
        async with through.post(packed, headers={"Content-Encoding": "gzip"}) as reply:
            assert (len(packed) < 1000, reply.status) == (True, 415)
            assert "holds too much" in (await reply.json())["error"]["message"]
        assert server.received == []


async def test_an_answer_that_is_too_long_to_keep_reaches_its_client_whole(tmp_path):
    def script(received):
        return LONG if received.body["user"] == "long" else REPLY

    async with scripted(script) as server, proxy(server, bounds=Bounds(reply=10_000)) as through:
        for user in ("long", "short"):
            async with through.post(ASKS_USAGE | {"user": user}) as reply:
                came = await reply.read()
                assert came.endswith(BODY)
                assert len(came) > 40_000 or user == "short"
    long, short = through.kept
    assert (long.too_long, long.body(), sum(len(data) for data, _ in long.pieces) <= 10_000) == (True, None, True)
    trace = Trace(tmp_path / "t")
    assert trace.take(long).unreadable == 1
    assert trace.take(short).turns == 1


@pytest.mark.realtime
async def test_a_client_that_does_not_fetch_its_answer_is_cut_off_and_others_are_served():
    endless = [stream_head(), *([piece(b": " + b"x" * 65_000 + b"\n\n")] * 400), END]

    def script(received):
        return endless if received.body["user"] == "lazy" else REPLY

    async with scripted(script) as server, proxy(server, bounds=Bounds(unread=100_000)) as through:
        body = json.dumps(ASKS_USAGE | {"user": "lazy"}).encode()
        lazy = socket.socket()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(lazy, ("127.0.0.1", int(through.url.rpartition(":")[2])))
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        await loop.sock_sendall(lazy, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await until(lambda: through.kept)
        assert (through.kept[0].left, through.relay.open) == (True, 0)
        await asyncio.wait_for(server.gone.wait(), 5)
        came = b""
        while data := await loop.sock_recv(lazy, 1 << 20):
            came += data
        lazy.close()
        assert (came[:12], len(came) < 26_000_000, came.endswith(END)) == (b"HTTP/1.1 200", True, False)
        async with through.post(ASKS_USAGE | {"user": "keen"}) as reply:
            assert await reply.read() == BODY
