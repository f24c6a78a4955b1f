"""`/metrics` over HTTP on this machine."""

import asyncio
import socket
import time

import aiohttp
import pytest
from synthetic import Run
from test_exported_series import played

from swarm.clock import Clock
from swarm.errors import UsageError
from swarm.exporter.endpoint import Endpoint, serving


async def scrape(address: str) -> tuple[str, str]:
    async with aiohttp.ClientSession() as session, session.get(address) as reply:
        assert reply.status == 200
        return reply.headers["Content-Type"], await reply.text()


async def test_a_scrape_is_prometheus_text_with_the_process_beside_the_run():
    endpoint = Endpoint(Clock())
    async with serving(endpoint, "127.0.0.1", 0) as address:
        kind, early = await scrape(address)
        run = Run()
        run.healthy()
        endpoint.metrics = played(run)
        _, late = await scrape(address)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert "process_resident_memory_bytes" in early
    assert "swarm_" not in early  # nothing is known yet
    assert "swarm_time_to_first_token_seconds_bucket{" in late


async def test_a_taken_port_is_told_with_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}.*--prometheus-port"):
            async with serving(Endpoint(Clock()), "127.0.0.1", port):
                pass


async def test_lingering_ends_with_the_second_scrape_and_not_before():
    endpoint = Endpoint(Clock())
    async with serving(endpoint, "127.0.0.1", 0) as address:
        await scrape(address)  # an earlier one is none of the two
        lingering = asyncio.create_task(endpoint.linger(30))
        await asyncio.sleep(0)
        await scrape(address)
        assert not lingering.done()
        await scrape(address)
        await asyncio.wait_for(lingering, 5)


async def test_lingering_ends_at_its_limit():
    began = time.monotonic()
    await Endpoint(Clock()).linger(0.05)
    assert time.monotonic() - began < 5
