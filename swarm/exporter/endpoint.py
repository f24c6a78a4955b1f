"""`/metrics` of a running swarm: rendered between two turns of the event loop, so that no stream waits for a scrape."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from swarm import guard
from swarm.clock import Clock
from swarm.errors import UsageError
from swarm.exporter.metrics import Metrics
from swarm.exporter.text import CONTENT_TYPE, to_text


class Endpoint:
    """Answers scrapes, and knows how many it has answered."""

    def __init__(self, clock: Clock) -> None:
        self.metrics: Metrics | None = None
        """None until the targets are known: a port that is taken must be found out before they start."""
        self._clock = clock
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        self._scrapes = 0
        self._scraped = asyncio.Event()
        self.local_only = False
        """Whether only requests to loopback names are answered, and none of a web page: nobody else can come by a
        loopback address. Elsewhere the page is open to the network, and scraped by names that are not known here."""

    async def answer(self, http: web.Request) -> web.Response:
        if self.local_only and (objection := guard.objection(http)) is not None:
            status, text = objection
            return web.Response(status=status, text=f"{text}\n")
        page = await self.page()
        self._scrapes += 1
        self._scraped.set()
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})

    async def page(self) -> bytes:
        """The text of now, made in steps of less than 0.5 ms."""
        parts = [generate_latest(self._process)]
        if self.metrics is not None:
            for _ in self.metrics.flush():
                await asyncio.sleep(0)
            for family in self.metrics.families(self._clock.now()):
                if family.samples:
                    parts.append(to_text(family).encode())
                    await asyncio.sleep(0)
        return b"".join(parts)

    async def linger(self, limit_s: float, scrapes: int = 2) -> None:
        """Waits until so many further scrapes were answered, at most `limit_s`."""
        wanted = self._scrapes + scrapes

        async def seen() -> None:
            while self._scrapes < wanted:
                self._scraped.clear()
                await self._scraped.wait()

        try:
            await asyncio.wait_for(seen(), limit_s)
        except TimeoutError:
            return


@asynccontextmanager
async def serving(endpoint: Endpoint, host: str, port: int) -> AsyncIterator[str]:
    """Serves `/metrics`; yields its address. Raises UsageError where the address cannot be had."""
    endpoint.local_only = guard.is_loopback(guard.host_name(host) or guard.host_name(f"[{host}]") or "")
    app = web.Application()
    app.router.add_get("/metrics", endpoint.answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise UsageError(
                f"prometheus: cannot listen at {host}:{port}: {error.strerror or error}; choose another "
                "--prometheus-port (0: any free one) or --prometheus-host"
            ) from None
        bound = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}/metrics"
    finally:
        await runner.cleanup()
