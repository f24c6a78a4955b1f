"""`swarm doctor`: in ten seconds, what load this machine can generate accurately, and what is wrong with it."""

import asyncio
import json
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TextIO

from swarm.agents.sandbox.bubblewrap import Sandbox, open_sandbox
from swarm.analysis.trial.client import Process, Use, use_of
from swarm.client.base import ChatRequest, Client, Connection, Observation, Route
from swarm.client.connect import open_client, warm_up
from swarm.client.target.locate import locate
from swarm.client.target.probe import probe
from swarm.clock import Clock
from swarm.engine.backends import simulated
from swarm.engine.monitor import watch_client
from swarm.errors import SwarmError, UsageError
from swarm.recording.records import ClientSample, Record
from swarm.recording.redaction import shown, styled
from swarm.scenario.credentials import plain_address
from swarm.scenario.schema import ClientSettings, Simulate
from swarm.scratch import scratch
from swarm.simulator.engine.constant_rate import steady
from swarm.text import counted, listed

TOKENS_PER_S = 100.0
PROMPT_BYTES = 16_000
KEPT_UP = 0.9
"""Share of the tokens that a step should bring: with less, the server that it is tried on was the slower one."""

_MARKS = {True: ("ok", "32"), None: ("note", "33"), False: ("FAIL", "31")}


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis; `ok` None: neither good nor bad."""

    ok: bool | None
    text: str


@dataclass(frozen=True)
class Drive:
    """Cost of reading `streams` streams: bound on the error of the times and lag (p99, seconds), CPU as a share of
    a core and in seconds per token, how many tokens a second came, and who used the machine (None: not known)."""

    streams: int
    timing_error_s: float
    lag_s: float
    cpu_share: float
    cpu_s_per_token: float
    tokens_per_s: float
    stamp_source: str
    use: Use | None = None

    def honest(self, limits: ClientSettings) -> bool:
        return self.timing_error_s <= limits.max_lag and self.cpu_share <= limits.max_cpu

    @property
    def kept_up(self) -> bool:
        return self.tokens_per_s >= KEPT_UP * self.streams * TOKENS_PER_S


async def _drive(
    route: Route, connection: Connection, streams: int, server: int, seconds: float = 1.0, reply_tokens: int = 50
) -> Drive:
    """Reads `streams` streams for so many seconds; `server`: the number of the process that serves."""
    clock = Clock()
    client = open_client(route, connection, clock)
    request = ChatRequest([{"role": "user", "content": "word " * (PROMPT_BYTES // 5)}], [], reply_tokens, pinned=True)
    samples: list[Record] = []
    header = {"run": "doctor", "target": "steady", "agents": streams, "trial": 1}
    watching = asyncio.create_task(
        watch_client(client, clock, header, samples.append, str, period_s=seconds / 5, companions=(server,))
    )
    try:
        until = time.perf_counter() + seconds
        cpu, began = time.process_time(), time.perf_counter()
        tokens = sum(await asyncio.gather(*(_stream(client, request, until) for _ in range(streams))))
        cpu, took = time.process_time() - cpu, time.perf_counter() - began
    finally:
        watching.cancel()
        await client.close()
    process = Process()
    for sample in samples:
        if isinstance(sample, ClientSample):
            process.add(sample)
    return Drive(
        streams=streams,
        timing_error_s=process.timing.p99_s() or 0.0,
        lag_s=process.timing.lag_p99_s() or 0.0,
        cpu_share=cpu / took,
        cpu_s_per_token=cpu / tokens,
        tokens_per_s=tokens / took,
        stamp_source="kernel" if process.timing.by_kernel else "user",
        use=use_of(process, [process]),
    )


async def _stream(client: Client, request: ChatRequest, until: float) -> int:
    tokens = 0
    while time.perf_counter() < until:
        seen = Observation()
        await client.complete(request, seen)
        if seen.failure:
            raise RuntimeError(f"our own server failed: {seen.failure}")
        tokens += seen.completion_tokens or 0
    return tokens


@dataclass(frozen=True)
class Parts:
    """The means of a diagnosis; tests exchange them for shorter ones."""

    streams: Sequence[int] = (8, 32, 128)
    drive: Callable[[Route, Connection, int, int], Awaitable[Drive]] = _drive
    open_sandbox: Callable[[], Sandbox] = open_sandbox


PARTS = Parts()


async def report_health(api_base: str | None, route: str, out: TextIO, parts: Parts = PARTS) -> bool:
    """Prints each finding as it is made; returns whether nothing is wrong. Raises UsageError, BackendError."""
    wrong = 0
    async for said in diagnose(*_checked(api_base, route), parts):
        if isinstance(said, Finding):
            wrong += said.ok is False
        styled(out, _line(said, out.isatty() and "NO_COLOR" not in os.environ) + "\n")
        out.flush()
    print(f"\n{counted(wrong, 'problem')} to fix." if wrong else "\nNo problems found.", file=out)
    return not wrong


async def findings_as_json(api_base: str | None, route: str, out: TextIO, parts: Parts = PARTS) -> bool:
    """The same as JSON: each finding with `ok` (true, false, or null: neither). Raises as `report_health`."""
    said = [one async for one in diagnose(*_checked(api_base, route), parts) if isinstance(one, Finding)]
    print(json.dumps({"findings": [asdict(one) for one in said]}, indent=2), file=out)
    return all(one.ok is not False for one in said)


def _checked(api_base: str | None, route: str) -> tuple[str | None, Route]:
    """Raises UsageError for an address, or a route, that is none."""
    if route not in ("litellm", "direct"):
        raise UsageError(f"--route {route}: expected litellm or direct")
    try:
        api_base = plain_address(api_base, "a scenario has `api_key_env` for it") if api_base else None
    except ValueError as error:
        raise UsageError(f"URL: {error}") from None
    return api_base, "direct" if route == "direct" else "litellm"


def _line(said: Finding | str, colour: bool) -> str:
    if isinstance(said, str):
        return shown(said)
    mark, paint = _MARKS[said.ok]
    return f"  \x1b[{paint}m{mark:4}\x1b[0m  {shown(said.text)}" if colour else f"  {mark:4}  {shown(said.text)}"


async def diagnose(api_base: str | None, route: Route, parts: Parts = PARTS) -> AsyncIterator[Finding | str]:
    """Headings and findings, as they are made; the target's, if one is named, come first."""
    limits = ClientSettings()
    if api_base:
        yield f"Server {api_base}"
        async for finding in _target(api_base):
            yield finding
        yield ""
    yield f"This machine ({os.cpu_count()} cores)"
    yield _open_files()
    yield _ports()
    yield await asyncio.to_thread(isolation, parts.open_sandbox)
    drives: list[Drive] = []
    async for drive in _drives(route, limits, parts):
        if not drives:
            yield _stamps(drive)
            yield f"\nReading streams of {TOKENS_PER_S:.0f} tok/s, route {route}"
            yield "        agents   timing error         lag   CPU, of a core   per token"
        drives.append(drive)
        yield _told(drive, limits)
    yield ""
    for finding in _capacity(drives, limits):
        yield finding


async def _target(api_base: str) -> AsyncIterator[Finding]:
    facts = await probe(Connection(api_base=(await locate(Connection(api_base, None))).api_base, model=None))
    length = f"{facts.max_model_len:,} tokens" if facts.max_model_len else "unknown"
    yield Finding(True, f"serves {listed(facts.models) or facts.model}, context {length}")
    able = {
        "token counts": facts.honours.usage,
        "token counts with every chunk": facts.honours.continuous_usage,
        "pinned reply lengths": facts.honours.pinned_length,
        "tools": facts.honours.tools,
        "tool choice": facts.honours.tool_choice,
        "cached prompt tokens": facts.cached_tokens,
        "/metrics": facts.metrics,
    }
    if kept := [what for what, has in able.items() if has]:
        yield Finding(True, f"supports {', '.join(kept)}")
    for what in (what for what, has in able.items() if not has):
        yield Finding(None, f"does not support {what}")
    for note in facts.notes:
        yield Finding(None, note)


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Finding(True, "any number of open files is allowed")
    agents = max(0, soft - 100) // 2
    return Finding(soft >= 1024, f"{soft:,} open files allowed: enough for {agents:,} agents (ulimit -n)")


def _ports() -> Finding:
    try:
        with socket.socket() as probe_socket:
            probe_socket.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding(False, f"no port can be opened on 127.0.0.1 ({error.strerror}): simulated servers cannot start")
    return Finding(True, "ports can be opened on 127.0.0.1")


def isolation(open_sandbox: Callable[[], Sandbox] = open_sandbox) -> Finding:
    """Whether code that a model wrote can be walled off here."""
    try:
        notes = open_sandbox().notes
    except SwarmError as error:
        return Finding(None, f"no sandbox for code that a model writes (driver: model): {error}")
    return Finding(None if notes else True, "; ".join(["the sandbox for code that a model writes works", *notes]))


def _stamps(drive: Drive) -> Finding:
    if drive.stamp_source == "kernel":
        return Finding(True, "chunks are stamped by the kernel when they arrive")
    return Finding(None, "chunks are stamped by swarm, not by the kernel: its own delays are part of TTFT and ITL")


async def _drives(route: Route, limits: ClientSettings, parts: Parts) -> AsyncIterator[Drive]:
    """Ever more streams, up to the first that are too many; tried twice, as a moment's disturbance does not count."""
    warming = asyncio.create_task(asyncio.to_thread(warm_up, route))
    with scratch() as folder:
        path = folder / "steady.json"
        path.write_text(json.dumps(asdict(steady(TOKENS_PER_S))))
        async with simulated("doctor", Simulate(profile=str(path))) as (address, server):
            await warming
            connection = Connection(f"{address}/v1", "steady")
            for streams in parts.streams:
                drive = await parts.drive(route, connection, streams, server)
                if not drive.honest(limits):
                    drive = await parts.drive(route, connection, streams, server)
                yield drive
                if not drive.honest(limits):
                    break


def _told(drive: Drive, limits: ClientSettings) -> Finding:
    honest = drive.honest(limits)
    slow = "" if drive.kept_up else f"   only {drive.tokens_per_s:,.0f} tok/s came"
    return Finding(
        honest or None,
        f"{drive.streams:>6}   {drive.timing_error_s * 1000:>10.2f} ms   {drive.lag_s * 1000:>6.1f} ms   "
        f"{drive.cpu_share:>14.0%}   {drive.cpu_s_per_token * 1e6:>6.0f} us{'' if honest else '   too many'}{slow}",
    )


def _capacity(drives: Sequence[Drive], limits: ClientSettings) -> list[Finding]:
    """Consequences for a swarm: as many tokens as the CPU limit allows, but where a step failed, no more than came
    before it. A step that failed for want of CPU is a limit; one whose times were wrong all the same is a fault."""
    last = drives[-1]
    honest = drives if last.honest(limits) else drives[:-1]
    told = last.use.strangers() if last.use else None
    others = f"{told} meanwhile" if told else None
    found = []
    if honest:
        found.append(_promise(honest[-1], limits, limited=honest[-1] is not last))
        if not all(drive.kept_up for drive in honest):
            found.append(Finding(None, "the simulated server could not keep up, so more agents may be possible"))
    if not last.honest(limits) and (last.cpu_share <= limits.max_cpu or not honest):
        blamed = f"{others}; close them and run doctor again" if others else "something on this machine slows it down"
        found.append(
            Finding(
                False,
                f"{last.streams} agents are too many now (tried twice): timing error "
                f"{last.timing_error_s * 1000:.3g} ms, {last.cpu_share:.0%} of a core: {blamed}",
            )
        )
    elif others:
        found.append(Finding(None, f"{others}: without them more agents may be possible"))
    return found


def _promise(best: Drive, limits: ClientSettings, *, limited: bool) -> Finding:
    tokens_per_s = limits.max_cpu / best.cpu_s_per_token
    if limited:
        tokens_per_s = min(tokens_per_s, best.tokens_per_s)
    agents = ", ".join(f"{tokens_per_s / rate:,.0f} agents at {rate} tok/s" for rate in (50, 100, 200))
    seen = (
        f"{best.tokens_per_s:,.0f} tok/s of {best.streams} agents were read with a timing error of "
        f"{best.timing_error_s * 1000:.2g} ms and {best.cpu_share:.0%} of a core"
    )
    why = seen if limited else f"{limits.max_cpu:.0%} of a core; {seen}"
    return Finding(True, f"one process can accurately drive about {agents}: {why}")
