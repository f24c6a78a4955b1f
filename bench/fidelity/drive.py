"""One load through one of swarm's routes, or the bare loop, and the truth: prints a line of JSON, microseconds."""

import argparse
import asyncio
import gc
import json
import os
import resource
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.fidelity.bare import observations, receive
from bench.fidelity.core import take
from swarm.client import eventloop
from swarm.client.base import ChatRequest, Client, Connection, Observation
from swarm.client.connect import open_client, warm_up
from swarm.client.direct import body_of
from swarm.clock import Clock

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
BARE = "bare loop"
"""In the place of a route: what receiving alone costs."""
HERTZ = os.sysconf("SC_CLK_TCK")


def drive(url: str, route: Any, streams: int, tokens: int, seconds: float, words: int) -> dict[str, Any]:
    """Keeps `streams` replies of `tokens` tokens running for `seconds`; the last ones are read to their end."""
    messages = [{"role": "system", "content": "word " * words}, {"role": "user", "content": "go on"}]
    connection = Connection(url + "/v1", "truth")

    def load(tokens: int, seconds: float) -> Any:
        request = ChatRequest(messages, [], tokens, True)
        if route == BARE:
            return receive(url, body_of(request, connection), streams, seconds)
        return eventloop.run(_load(connection, route, request, streams, seconds))

    load(4, 0)  # connections, caches, imports
    before = fetch_log(url)
    began, cpu, busy = time.perf_counter(), time.process_time(), busy_s()
    came = load(tokens, seconds)
    took, cpu, busy = time.perf_counter() - began, time.process_time() - cpu, busy_s() - busy
    kept, meter = (observations(came), None) if route == BARE else came
    log = fetch_log(url)
    server_cpu = (log["cpu_ns"] - before["cpu_ns"]) / 1e9
    itl, ttft = errors(kept, log["requests"])
    chunks = sum(len(seen.stamps) for seen in kept)
    return {
        "route": route,
        "streams": streams,
        "requests": len(kept),
        "failed": sum(seen.failure is not None for seen in kept),
        "failures": sorted({str(seen.failure) for seen in kept if seen.failure})[:3],
        "chunks": chunks,
        "tokens": sum(seen.completion_tokens or 0 for seen in kept),
        "chunks_per_s": chunks / took,
        "itl_error_us": itl,
        "ttft_error_us": ttft,
        "cpu_us_per_chunk": cpu / chunks * 1e6,
        "cpu_share": cpu / took,
        "others_share": max(0.0, busy - cpu - server_cpu) / took / (os.cpu_count() or 1),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "lag_us": spread(lag / 1e3 for lag in meter.lags_ns) if meter else {},
        "coalesced": sum(seen.coalesced for seen in kept),
        "stamps": meter.stamp_source if meter else "kernel",
        "server_slip_p99_us": log["slip_p99_ns"] / 1e3,
    }


async def _load(
    connection: Connection, route: Any, request: ChatRequest, streams: int, seconds: float
) -> tuple[list[Observation], Any]:
    clock = Clock(0)
    client = open_client(route, connection, clock)
    kept: list[Observation] = []
    until = clock.now() + round(seconds * 1e9)
    await asyncio.gather(*(_agent(client, request, until, clock, kept) for _ in range(streams)))
    meter = client.meter()
    await client.close()
    return kept, meter


async def _agent(client: Client, request: ChatRequest, until_ns: int, clock: Clock, kept: list[Observation]) -> None:
    while True:
        seen = Observation()
        await client.complete(request, seen)
        kept.append(seen)
        if clock.now() >= until_ns:
            return


def fetch_log(url: str) -> Any:
    with urllib.request.urlopen(url + "/log") as answer:
        return json.load(answer)


def key_of(seen: Observation) -> str:
    """The server writes a reply's key as its first token, whatever its shape."""
    text = seen.content or seen.reasoning or (seen.tool_calls[0].id if seen.tool_calls else "")
    return text.split(" ", 1)[0]


def errors(kept: list[Observation], truth: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Spreads of the absolute errors of every gap and every TTFT; a reply that lost chunks counts as infinite."""
    itl: list[float] = []
    ttft: list[float] = []
    for seen in kept:
        if seen.failure is not None or seen.send_ns is None:
            continue
        true = truth[key_of(seen)]
        sends, stamps = true["sends"], seen.stamps
        if len(sends) != len(stamps):
            itl.append(float("inf"))
            continue
        ttft.append(abs((stamps[0] - seen.send_ns) - (sends[0] - true["received_ns"])) / 1e3)
        itl += [abs((stamps[i] - stamps[i - 1]) - (sends[i] - sends[i - 1])) / 1e3 for i in range(1, len(sends))]
    return spread(itl), spread(ttft)


def spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    return (
        {name: ordered[min(len(ordered) - 1, int(len(ordered) * q))] for name, q in QUANTILES.items()}
        if ordered
        else {}
    )


def busy_s() -> float:
    """CPU seconds that all processes of the machine have used, or that the host of a virtual machine has taken.

    Without interrupts: nearly all of them bring the load's own packets, and are counted to no process.
    """
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, _, _, _, steal = ticks[:8]
    return (user + nice + system + steal) / HERTZ


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url")
    options.add_argument("--route", default="direct")
    options.add_argument("--streams", type=int, default=32)
    options.add_argument("--tokens", type=int, default=400)
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--prompt", type=int, default=1000, help="words of the prompt")
    options.add_argument("--core", type=int)
    options.add_argument("--realtime", action="store_true")
    chosen = options.parse_args()
    take(chosen.core, chosen.realtime)
    if chosen.route != BARE:
        warm_up(chosen.route)
    gc.collect()
    gc.freeze()  # as a run does before its first stage
    print(json.dumps(drive(chosen.url, chosen.route, chosen.streams, chosen.tokens, chosen.seconds, chosen.prompt)))


if __name__ == "__main__":
    main()
