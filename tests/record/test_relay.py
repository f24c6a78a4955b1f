"""What goes through the proxy arrives as it was sent, in both directions, whatever either side does."""

import asyncio
import gzip
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import (
    CLOSE,
    DONE,
    HANG,
    REPLY,
    RESET,
    answer,
    delta,
    event,
    scripted,
    usage,
)
from yarl import URL

from swarm.client.base import Connection
from swarm.clock import Clock
from swarm.commands.record import bind, upstream_base
from swarm.errors import UsageError
from swarm.proxy.exchange import BOUNDS
from swarm.proxy.relay import Relay, Upstream
from swarm.proxy.usage import UsageFilter, rewritten

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
ASKS_USAGE = CHAT | {"stream_options": {"include_usage": True}}
BODY = b"".join(step.partition(b"\r\n")[2][:-2] for step in REPLY[1:-1])
"""Of the scripted reply, out of its frames."""


class Proxy:
    def __init__(self, url, relay, kept, session):
        self.url, self.relay, self.kept, self.session = url, relay, kept, session

    def post(self, body, path="/v1/chat/completions", **options):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | options.pop("headers", {})
        return self.session.post(self.url + path, data=data, headers=headers, **options)


@asynccontextmanager
async def proxy(server, **settings):
    kept = []
    named = {name: settings.pop(name, None) for name in ("model", "api_key", "ca_file")}
    bounds = settings.pop("bounds", BOUNDS)
    relay = Relay(Upstream(Connection(server.url, **named), **settings), Clock(), kept.append, bounds=bounds)
    listening = bind(0)
    await relay.serve(listening)
    try:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            yield Proxy(f"http://127.0.0.1:{listening.getsockname()[1]}", relay, kept, session)
    finally:
        await relay.close()


async def until(true):
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.005)


async def test_a_stream_arrives_byte_for_byte_and_so_does_the_request():
    async with scripted(REPLY) as server, proxy(server) as through:
        async with through.post(ASKS_USAGE, headers={"X-Trace": "7", "Authorization": "Bearer k"}) as reply:
            assert (reply.status, reply.content_type) == (200, "text/event-stream")
            assert await reply.read() == BODY
        (received,) = server.received
        assert received.body == ASKS_USAGE
        assert (received.headers["x-trace"], received.headers["authorization"]) == ("7", "Bearer k")
        assert received.headers["host"] == server.url.split("/")[2]
    (kept,) = through.kept
    assert (kept.status, kept.failure, kept.left, kept.keys) == (200, None, False, ("k",))
    assert b"".join(data for data, _ in kept.pieces) == BODY


async def test_a_piece_passes_while_the_server_keeps_the_rest_to_itself():
    async with scripted([*REPLY[:3], HANG]) as server, proxy(server) as through, through.post(ASKS_USAGE) as reply:
        came = b""
        async with asyncio.timeout(5):
            while b"Hello" not in came:
                came += await reply.content.readany()
        assert through.relay.open == 1


async def test_usage_that_the_client_did_not_ask_for_is_asked_for_and_taken_out_again():
    async with scripted(REPLY) as server, proxy(server) as through:
        async with through.post(CHAT) as reply:
            shown = await reply.read()
        assert server.received[0].body == ASKS_USAGE
        assert shown == BODY.replace(event({"choices": [], "usage": usage(11, 2, 8)}), b"")
    assert b'"usage"' in b"".join(data for data, _ in through.kept[0].pieces)


async def test_a_server_that_refuses_the_wish_for_usage_is_asked_without_it_and_never_again():
    def script(received):
        return answer("400 Bad Request", {"error": "stream_options?"}) if "stream_options" in received.body else REPLY

    async with scripted(script) as server, proxy(server) as through:
        for _ in range(2):
            async with through.post(CHAT) as reply:
                assert (reply.status, await reply.read()) == (200, BODY)
        assert ["stream_options" in received.body for received in server.received] == [True, False, False]
    assert [exchange.status for exchange in through.kept] == [200, 200]


async def test_a_request_that_is_refused_for_itself_says_so_once_and_usage_is_asked_for_again():
    refused = answer("400 Bad Request", {"error": {"message": "maximum context length"}})
    async with scripted(lambda got: refused if got.body["model"] == "x" else REPLY) as server, proxy(server) as through:
        async with through.post(CHAT | {"model": "x"}) as reply:
            assert (reply.status, await reply.json()) == (400, {"error": {"message": "maximum context length"}})
        async with through.post(CHAT) as reply:
            assert reply.status == 200
        assert "stream_options" in server.received[-1].body
    assert [exchange.status for exchange in through.kept] == [400, 200]


@pytest.mark.parametrize(
    ("status", "headers"), [("429 Too Many", "Retry-After: 7\r\n"), ("401 Unauthorized", ""), ("503 Loading", "")]
)
async def test_refusals_pass_with_their_status_words_and_headers(status, headers):
    script = answer(status, {"error": {"message": "no"}}, headers)
    async with scripted(script) as server, proxy(server) as through, through.post(CHAT) as reply:
        assert (reply.status, await reply.json()) == (int(status[:3]), {"error": {"message": "no"}})
        assert reply.headers.get("Retry-After") == ("7" if headers else None)
    assert through.kept[0].status == int(status[:3])


async def test_what_a_server_packs_passes_packed():
    packed = gzip.compress(json.dumps({"choices": []}).encode())
    script = answer("200 OK", packed, "Content-Encoding: gzip\r\n")
    async with scripted(script) as server, proxy(server) as through:
        async with through.post(ASKS_USAGE, headers={"Accept-Encoding": "gzip"}) as reply:
            assert (reply.headers["Content-Encoding"], await reply.read()) == ("gzip", packed)
        assert server.received[0].headers["accept-encoding"] == "gzip"
    assert json.loads(through.kept[0].body()) == {"choices": []}


async def test_a_request_that_is_packed_is_unpacked_for_the_trace_and_an_unknown_packing_refused():
    async with scripted(REPLY) as server, proxy(server) as through:
        async with through.post(
            gzip.compress(json.dumps(CHAT).encode()), headers={"Content-Encoding": "gzip"}
        ) as reply:
            assert reply.status == 200
        assert "content-encoding" not in server.received[0].headers
        refused = await through.post(b"?", headers={"Content-Encoding": "zstd"})
        assert refused.status == 415
    assert json.loads(through.kept[0].request) == CHAT


async def test_a_client_that_leaves_stops_the_server_and_is_recorded():
    async with scripted([*REPLY[:3], HANG]) as server, proxy(server) as through:
        async with through.post(ASKS_USAGE) as reply:
            await reply.content.readany()
            reply.close()
        await asyncio.wait_for(server.gone.wait(), 5)
        await until(lambda: through.kept)
    assert (through.kept[0].left, through.relay.open) == (True, 0)


@pytest.mark.parametrize("end", [RESET, CLOSE])
async def test_a_stream_that_breaks_is_broken_for_the_client_too(end):
    async with scripted([*REPLY[:3], end]) as server, proxy(server) as through:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with through.post(ASKS_USAGE) as reply:
                await reply.read()
        await until(lambda: through.kept)
    assert through.kept[0].failure.kind in ("cut", "reset")


async def test_a_server_that_is_not_there_is_told_with_502_in_the_clients_form():
    async with scripted(REPLY) as server:
        pass
    async with proxy(server) as through, through.post(CHAT) as reply:
        assert reply.status == 502
        assert "connection refused" in (await reply.json())["error"]["message"]
        assert (await through.session.get(through.url + "/v1/models")).status == 502
    assert [exchange.failure.kind for exchange in through.kept] == ["refused"]


async def test_other_paths_pass_unrecorded_and_those_that_ask_something_are_counted():
    async with scripted(answer("200 OK", {"ok": True})) as server, proxy(server) as through:
        async with through.session.get(URL(through.url + "/v1/models?x=1%2F2", encoded=True)) as reply:
            assert await reply.json() == {"ok": True}
        async with through.post({"input": "hi"}, "/v1/embeddings") as reply:
            assert await reply.json() == {"ok": True}
        async with through.post({"prompt": "hi"}, "/tokenize") as reply:
            assert await reply.json() == {"ok": True}
        assert [received.path for received in server.received] == ["/v1/models?x=1%2F2", "/v1/embeddings", "/tokenize"]
        assert server.received[1].body == {"input": "hi"}
    assert through.relay.passed == {"/v1/embeddings": 1, "/tokenize": 1}
    assert through.kept == []


async def test_another_model_and_key_take_the_place_of_the_clients():
    async with scripted(REPLY) as server, proxy(server, model="big", api_key="ours") as through:
        async with through.post(ASKS_USAGE, headers={"Authorization": "Bearer theirs"}) as reply:
            await reply.read()
        (received,) = server.received
    assert (received.body, received.headers["authorization"]) == (ASKS_USAGE | {"model": "big"}, "Bearer ours")


async def test_a_request_without_its_v1_goes_to_the_same_place():
    async with scripted(REPLY) as server, proxy(server) as through:
        async with through.post(CHAT, "/chat/completions") as reply:
            assert await reply.read()
        assert server.received[0].path == "/v1/chat/completions"
    assert len(through.kept) == 1


async def test_tokens_are_not_held_back_by_the_sockets():
    """asyncio switches Nagle's algorithm off only where a socket says that it is TCP's."""
    import socket

    made = asyncio.get_running_loop().create_future()

    class Peer(asyncio.Protocol):
        def connection_made(self, transport):
            made.set_result(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    listening = bind(0)
    server = await asyncio.get_running_loop().create_server(Peer, sock=listening)
    _, writer = await asyncio.open_connection(*listening.getsockname())
    assert await made != 0
    writer.close()
    server.close()


async def test_open_answers_may_end_when_the_proxy_is_asked_to_stop():
    paced = [*REPLY[:3], 0.2, *REPLY[3:]]
    async with scripted(paced) as server, proxy(server) as through, through.post(ASKS_USAGE) as reply:
        await reply.content.readany()
        stopping = asyncio.create_task(through.relay.close())
        assert (await reply.read()).endswith(DONE)
        await stopping


@given(st.data())
def test_the_filter_takes_out_the_usage_and_nothing_else_in_whatever_chunks(data):
    end = data.draw(st.sampled_from([b"\n\n", b"\r\n\r\n"]))
    texts = data.draw(st.lists(st.text(max_size=5) | st.just('"usage"'), max_size=4))
    events = [json.dumps(delta(content=text)).encode() for text in texts]
    plain = b"".join(b"data: " + one + end for one in [*events, b"[DONE]"])
    count = b"data: " + json.dumps({"choices": [], "usage": usage(1, 2)}).encode() + end
    whole = plain[: -len(b"data: [DONE]" + end)] + count + b"data: [DONE]" + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    one = UsageFilter()
    passed = b"".join(one.feed(whole[a:b]) for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True))
    assert passed + one.rest() == plain


def test_values_that_are_not_ours_keep_their_bytes():
    body = b'{ "messages": [ {"x":1.50e3} ],"model" :"a", "stream":true }'
    assert rewritten(body, None, usage=False) == (body, False)
    asked, ours = rewritten(body, "b", usage=True)
    assert ours
    assert b'[ {"x":1.50e3} ]' in asked
    assert json.loads(asked)["model"] == "b"
    assert rewritten(b"[", "b", usage=True) == (b"[", False)


@pytest.mark.parametrize(
    ("given_url", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
    ],
)
def test_an_upstream_may_be_named_with_and_without_its_version(given_url, base):
    assert upstream_base(given_url) == base


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x/v1", "http://", "http://u:p@x/v1", "http://x:y/v1", "http://x/v1?k=1"]
)
def test_what_is_no_address_of_an_upstream_is_refused(url):
    with pytest.raises(UsageError, match="--upstream: expected an address"):
        upstream_base(url)
