"""`swarm doctor`: in ten seconds, what this machine can honestly drive, and whether everything is as it should be."""

import asyncio
import json
import os
import resource
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from swarm.agents.sandbox import open_sandbox
from swarm.client.base import ChatRequest, Client, Connection, Observation, Route
from swarm.client.connect import open_client, warm_up
from swarm.client.probe import probe
from swarm.clock import Clock
from swarm.engine.backends import simulated
from swarm.errors import SwarmError, UsageError
from swarm.scenario.schema import ClientSettings, Simulate
from swarm.simulator.steady import steady

TOKENS_PER_S = 100.0
STREAMS = (8, 32, 128)
SECONDS = 2.0
"""Of each step."""
PROMPT_BYTES = 16_000
REPLY_TOKENS = 100


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis; `ok` None: neither good nor bad."""

    ok: bool | None
    text: str


@dataclass(frozen=True)
class Drive:
    """What it took to read `streams` streams: lag p99 in seconds, CPU as a share of a core and in seconds per token."""

    streams: int
    lag_p99_s: float
    cpu_share: float
    cpu_s_per_token: float
    stamp_source: str

    def honest(self, limits: ClientSettings) -> bool:
        return self.lag_p99_s <= limits.max_lag and self.cpu_share <= limits.max_cpu


async def report_health(api_base: str | None, route: str, out: TextIO) -> bool:
    """Prints each finding as it is made; returns whether nothing is wrong. Raises UsageError, BackendError."""
    if route not in ("litellm", "direct"):
        raise UsageError(f"--route {route}: expected litellm or direct")
    healthy = True
    async for finding in diagnose(api_base, "direct" if route == "direct" else "litellm"):
        mark = "note" if finding.ok is None else " ok " if finding.ok else "FAIL"
        print(f"[{mark}] {finding.text}", file=out, flush=True)
        healthy &= finding.ok is not False
    return healthy


async def diagnose(api_base: str | None, route: Route) -> AsyncIterator[Finding]:
    """Finding after finding, as they are made; the target's, if one is named, come first."""
    limits = ClientSettings()
    if api_base:
        async for finding in _target(api_base):
            yield finding
    yield _open_files()
    yield _ports()
    yield await asyncio.to_thread(_isolation)
    drives = []
    async for drive in _drives(route):
        drives.append(drive)
        yield _told(drive, limits)
    yield _stamps(drives[-1])
    yield _capacity(drives, limits, route)


async def _target(api_base: str) -> AsyncIterator[Finding]:
    facts = await probe(Connection(api_base=api_base, model=None))
    length = f"{facts.max_model_len} tokens" if facts.max_model_len else "unknown"
    yield Finding(True, f"{api_base} serves {', '.join(facts.models) or facts.model}; context {length}")
    for kept, what in (
        (facts.honours.usage, "token counts"),
        (facts.honours.continuous_usage, "token counts with every chunk"),
        (facts.honours.pinned_length, "pinned reply lengths"),
        (facts.honours.tools, "tools"),
        (facts.cached_tokens, "cached prompt tokens"),
        (facts.metrics, "/metrics"),
    ):
        yield Finding(kept or None, f"{'honours' if kept else 'does not honour'} {what}")
    for note in facts.notes:
        yield Finding(None, note)


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Finding(soft >= 1024, f"{soft} open files allowed: enough for {(soft - 100) // 2} agents (ulimit -n)")


def _ports() -> Finding:
    try:
        with socket.socket() as probe_socket:
            probe_socket.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding(False, f"no port can be opened on 127.0.0.1 ({error.strerror}): simulated servers cannot start")
    return Finding(True, "ports can be opened on 127.0.0.1")


def _isolation() -> Finding:
    try:
        open_sandbox()
    except SwarmError as error:
        return Finding(None, f"no sandbox for code that a model writes (driver: model): {error}")
    return Finding(True, "the sandbox for code that a model writes works")


async def _drives(route: Route) -> AsyncIterator[Drive]:
    warming = asyncio.create_task(asyncio.to_thread(warm_up, route))
    with tempfile.TemporaryDirectory(prefix="swarm-") as folder:
        path = Path(folder) / "steady.json"
        path.write_text(json.dumps(asdict(steady(TOKENS_PER_S))))
        async with simulated("doctor", Simulate(profile=str(path))) as address:
            await warming
            for streams in STREAMS:
                yield await _drive(route, Connection(f"{address}/v1", "steady"), streams)


async def _drive(route: Route, connection: Connection, streams: int) -> Drive:
    client = open_client(route, connection, Clock())
    request = ChatRequest([{"role": "user", "content": "word " * (PROMPT_BYTES // 5)}], [], REPLY_TOKENS, pinned=True)
    try:
        until = time.perf_counter() + SECONDS
        cpu, began = time.process_time(), time.perf_counter()
        tokens = sum(await asyncio.gather(*(_stream(client, request, until) for _ in range(streams))))
        cpu, took = time.process_time() - cpu, time.perf_counter() - began
        meter = client.meter()
    finally:
        await client.close()
    lags = sorted(meter.lags_ns)
    lag = lags[len(lags) * 99 // 100] / 1e9 if lags else 0.0
    return Drive(streams, lag, cpu / took, cpu / tokens, meter.stamp_source)


async def _stream(client: Client, request: ChatRequest, until: float) -> int:
    tokens = 0
    while time.perf_counter() < until:
        seen = Observation()
        await client.complete(request, seen)
        if seen.failure:
            raise RuntimeError(f"our own server failed: {seen.failure}")
        tokens += seen.completion_tokens or 0
    return tokens


def _told(drive: Drive, limits: ClientSettings) -> Finding:
    too_many = "" if drive.honest(limits) else ": too many"
    return Finding(
        None if too_many else True,
        f"{drive.streams:>4} agents x {TOKENS_PER_S:.0f} tok/s: lag p99 {drive.lag_p99_s * 1000:.2f} ms, "
        f"{drive.cpu_share:.0%} of a core, {drive.cpu_s_per_token * 1e6:.0f} us a token{too_many}",
    )


def _stamps(drive: Drive) -> Finding:
    if drive.stamp_source == "kernel":
        return Finding(True, "chunks are stamped by the kernel when they arrive")
    return Finding(None, "chunks are stamped by swarm, not by the kernel: its own delays are part of TTFT and ITL")


def _capacity(drives: list[Drive], limits: ClientSettings, route: Route) -> Finding:
    honest = [drive for drive in drives if drive.honest(limits)]
    if not honest:
        return Finding(False, "this machine cannot drive even 8 agents honestly now: see what else runs on it")
    best = honest[-1]
    tokens_per_s = limits.max_cpu / best.cpu_s_per_token
    if best is not drives[-1]:
        tokens_per_s = min(tokens_per_s, best.streams * TOKENS_PER_S)
    agents = ", ".join(f"{tokens_per_s / rate:,.0f} agents at {rate} tok/s" for rate in (50, 100, 200))
    return Finding(True, f"by route {route} it can honestly drive about {agents} ({os.cpu_count()} cores)")
