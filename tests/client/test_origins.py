"""A target's key and headers go to the origin that they were given for, and to no other."""

import asyncio
import os
import subprocess
import sys

import aiohttp
import pytest
from scripted_server import REPLY, answer, scripted

from swarm.client.base import ChatRequest, Connection, Observation
from swarm.client.connect import open_client
from swarm.client.target.gpu import DcgmReader
from swarm.client.target.metrics import MetricsReader
from swarm.client.target.probe import probe
from swarm.client.target.tokenizer import open_tokenizer
from swarm.clock import Clock
from swarm.commands.record import _served, bind
from swarm.errors import BackendError
from swarm.proxy.relay import Relay, Upstream

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # LiteLLM's own
KEY, HEADER = "the-targets-own-key", "the-targets-own-header"
OTHERS = "not-for-this-server"
ASKED = ChatRequest([{"role": "user", "content": "hi"}], [], 5, pinned=False)


def reach(server, **more):
    return Connection(server.url, "m", **({"api_key": KEY, "headers": {"X-Secret": HEADER}} | more))


def elsewhere(thief):
    """A script that sends whoever asks to another origin."""

    def script(received):
        where = thief.url.removesuffix("/v1").replace("127.0.0.1", "localhost") + received.path
        return answer("307 Temporary Redirect", b"", f"Location: {where}\r\n")

    return script


async def complete(route, connection):
    client, seen = open_client(route, connection, Clock()), Observation()
    await client.complete(ASKED, seen)
    await client.close()
    return seen


@pytest.mark.parametrize("route", ["direct", "litellm", "litellm-sdk", "litellm-proxy"])
@pytest.mark.parametrize("provider", ["hosted_vllm", "openai"])
async def test_no_route_follows_a_redirect(route, provider):
    async with scripted(REPLY) as thief, scripted(elsewhere(thief)) as server:
        seen = await complete(route, reach(server, provider=provider))
        assert thief.received == []
        assert len(server.received) == 1
    assert (seen.failure.kind, seen.failure.status) == ("not_found", 307)
    assert f"redirects to {thief.url.replace('127.0.0.1', 'localhost')}/chat/completions" in seen.failure.message


async def test_nothing_that_is_asked_beside_the_load_follows_a_redirect():
    async with scripted(REPLY) as thief, scripted(elsewhere(thief)) as server:
        with pytest.raises(BackendError, match=r"HTTP 307 .* redirects to"):
            await probe(reach(server))
        with pytest.raises(BackendError, match=r"HTTP 307 .* redirects to"):
            async with open_tokenizer(reach(server)):
                pass
        with pytest.raises(BackendError, match=r"HTTP 307 .* redirects to"):
            await _served(reach(server))
        async with MetricsReader(reach(server)) as reader:
            assert await reader.read() is None
        async with DcgmReader(server.url + "/metrics", None) as dcgm:
            assert await dcgm.read() == {}
        assert len(server.received) >= 5
        assert thief.received == []


async def test_pages_beside_the_api_follow_no_redirect_either():
    def script(received):
        return (
            answer("200 OK", {"data": [{"id": "m"}]})
            if received.path == "/v1/models"
            else REPLY
            if received.path == "/v1/chat/completions"
            else elsewhere(thief)(received)
        )

    async with scripted(REPLY) as thief, scripted(script) as server:
        facts = await probe(reach(server))
        assert (facts.version, facts.metrics) == (None, False)
        assert {"/version", "/props", "/metrics"} <= {received.path for received in server.received}
        assert thief.received == []


async def test_the_recording_proxy_hands_a_redirect_to_its_client_and_follows_none():
    async with scripted(REPLY) as thief, scripted(elsewhere(thief)) as server:
        relay = Relay(Upstream(reach(server)), Clock(), lambda _: None)
        listening = bind(0)
        await relay.serve(listening)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            async with aiohttp.ClientSession() as session:
                for method, path, status in (
                    ("POST", "/v1/chat/completions", 307),
                    ("POST", "/v1/responses", 307),
                    ("GET", "/v1/models", 307),
                ):
                    body = {"model": "m", "messages": []} if method == "POST" else None
                    async with session.request(method, address + path, json=body, allow_redirects=False) as reply:
                        assert reply.status == status
        finally:
            await relay.close()
        assert len(server.received) == 3
        assert thief.received == []


@pytest.mark.parametrize("more", [{}, {"metrics_headers": {"X-Page": "p"}}])
async def test_a_metrics_page_elsewhere_gets_its_own_headers_and_neither_key_nor_headers_of_the_target(more):
    async with scripted(answer("200 OK", b"")) as server, scripted(answer("200 OK", b"")) as other:
        page = other.url.replace("/v1", "/metrics")
        for url in (page, page.replace("127.0.0.1", "localhost")):
            async with MetricsReader(reach(server, metrics_url=url, **more)) as reader:
                await reader.read()
        for received in other.received:
            assert received.headers.get("x-page") == more.get("metrics_headers", {}).get("X-Page")
            assert KEY not in str(received.headers)
            assert HEADER not in str(received.headers)


async def test_a_metrics_page_at_the_targets_own_origin_gets_its_key_too():
    async with scripted(answer("200 OK", b"")) as server:
        for url in (None, server.url.replace("/v1", "/other/metrics")):
            async with MetricsReader(reach(server, metrics_url=url, metrics_headers={"X-Page": "p"})) as reader:
                await reader.read()
        for received in server.received:
            assert received.headers["authorization"] == f"Bearer {KEY}"
            assert (received.headers["x-secret"], received.headers["x-page"]) == (HEADER, "p")


ASK = """
import asyncio, sys
from swarm.client.base import ChatRequest, Connection, Observation
from swarm.client.connect import open_client
from swarm.clock import Clock

async def ask(route, provider):
    client, seen = open_client(route, Connection(sys.argv[1], "m", provider=provider), Clock()), Observation()
    await client.complete(ChatRequest([{"role": "user", "content": "hi"}], [], 5, pinned=False), seen)
    await client.close()
    assert seen.failure is None, seen.failure

async def all():
    for route in ("direct", "litellm", "litellm-sdk"):
        for provider in ("hosted_vllm", "openai"):
            await ask(route, provider)

asyncio.run(all())
"""


async def test_neither_a_proxy_of_the_environment_nor_a_key_that_the_scenario_does_not_name_is_used():
    names = ("OPENAI_API_KEY", "HOSTED_VLLM_API_KEY", "LITELLM_API_KEY")
    async with scripted(answer("500 No", b"")) as proxy, scripted(REPLY) as server:
        address = proxy.url.removesuffix("/v1")
        proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), address)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", ASK, server.url),
            env={
                **os.environ,
                **proxies,
                "NO_PROXY": "",
                "no_proxy": "",
                **dict.fromkeys(names, "not-for-this-server"),
            },
            stderr=subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        assert proxy.received == []
        assert len(server.received) == 6
        assert OTHERS not in str([received.headers for received in server.received])
