"""The cost of a scrape for the streams: lateness of the event loop with 64 agents, scraped and not scraped.

An event loop takes the records of 64 agents as they come in a run (replies of 200 chunks, tools, turns), and a timer of
2 ms measures how late it wakes. In turns: nobody scrapes; swarm's `/metrics`, twice a second; and, for comparison, the
same series written by prometheus_client. The scraper is a process of its own.

    python bench/scrape.py [--agents 64] [--seconds 8] [--rounds 3]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from swarm.clock import Clock
from swarm.exporter.endpoint import Endpoint, serving
from swarm.exporter.info import RunInfo
from swarm.exporter.metrics import Metrics
from swarm.recording.records import Attempt, Stage, Tool, Turn
from swarm.recording.status import AgentStatus

TICK_S = 0.002
CHUNKS = 200
TURN_S = 4.0
"""Seconds of a turn of each agent: 64 of them then bring 3,200 chunks a second."""
SCRAPE = """
import sys, time, urllib.request
while True:
    urllib.request.urlopen(sys.argv[1]).read()
    time.sleep(0.5)
"""


class Library(Endpoint):
    """The same series through prometheus_client's own objects and text, at once, as its handlers do it."""

    async def page(self) -> bytes:
        assert self.metrics is not None
        for _ in self.metrics.flush():
            pass
        return generate_latest(self)  # type: ignore[arg-type]

    def collect(self) -> Iterator[Any]:
        assert self.metrics is not None
        for family in self.metrics.families(self._clock.now()):
            yield _as_objects(family.name, family.kind, list(family.samples))


def _as_objects(name: str, kind: str, samples: list[tuple[str, float]]) -> Any:
    text = f"# TYPE {name}{'_total' * (kind == 'counter')} {kind}\n" + "".join(f"{s} {v}\n" for s, v in samples)
    known = _PARSED.get(name)
    if known is None or len(known.samples) != len(samples):
        (known,) = text_string_to_metric_families(text)
        _PARSED[name] = known
    return known


_PARSED: dict[str, Any] = {}
"""Built once, so that only the library's writing is counted against it."""


async def load(metrics: Metrics, clock: Clock, agents: int) -> None:
    """The records of agents that each end a turn every `TURN_S` seconds, spread evenly, and their flush."""
    header = {"run": "bench", "target": "moe", "agents": agents, "trial": 1}
    metrics.watch([AgentStatus(agent) for agent in range(agents)])
    metrics.add(Stage(**header, id="0", t_ns=0, window_start_ns=0, window_end_ns=10**15, salt="", seed=1))
    gap = round(TURN_S / 2 / CHUNKS * 1e9)
    number = 0
    while True:
        await asyncio.sleep(TURN_S / agents)
        number += 1
        end, own = clock.now(), {**header, "agent": number % agents}
        begin = end - gap * CHUNKS
        metrics.add(
            Attempt(
                **own,
                id=str(number),
                t_ns=begin,
                end_ns=end,
                intended_ns=begin,
                task="t",
                variant="v",
                first_token_ns=begin + gap,
                last_token_ns=end,
                chunks=[gap] * CHUNKS,
                chunk_tokens=[1] * CHUNKS,
                prompt_tokens=1000,
                cached_tokens=900,
                completion_tokens=CHUNKS,
            )
        )
        metrics.add(Tool(**own, id="t", t_ns=begin, end_ns=end, name="read_file", ok=True, work_ns=1))
        metrics.add(Turn(**own, id="u", t_ns=begin, end_ns=end, number=1, ok=True, context_tokens=1200))
        if number % (agents // 4 or 1) == 0:
            for _ in metrics.flush():
                await asyncio.sleep(0)


async def lateness(seconds: float) -> list[float]:
    """How late a timer woke, in milliseconds, ascending."""
    loop, late = asyncio.get_running_loop(), []
    until = loop.time() + seconds
    while (now := loop.time()) < until:
        await asyncio.sleep(TICK_S)
        late.append((loop.time() - now - TICK_S) * 1e3)
    return sorted(late)


def held(endpoint: Endpoint, scrapes: int = 60) -> tuple[float, float]:
    """CPU time of a scrape, and the longest stretch of it in which nothing else can run: medians, in milliseconds."""
    whole, longest = [], []
    for _ in range(scrapes):
        page, steps = endpoint.page(), []
        try:
            while True:
                began = time.thread_time()
                page.send(None)
                steps.append(time.thread_time() - began)
        except StopIteration:
            steps.append(time.thread_time() - began)
        whole.append(sum(steps) * 1e3)
        longest.append(max(steps) * 1e3)
    return median(whole), median(longest)


async def measure(case: str, agents: int, seconds: float) -> tuple[list[float], tuple[float, float]]:
    """Lateness, and the time that a scrape takes."""
    clock = Clock()
    endpoint = Library(clock) if case == "prometheus_client" else Endpoint(clock)
    endpoint.metrics = Metrics(RunInfo("bench", {}, {"moe": {"architecture": "moe"}}))
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(endpoint, "127.0.0.1", 0))
        loading = asyncio.create_task(load(endpoint.metrics, clock, agents))
        stack.callback(loading.cancel)
        await asyncio.sleep(1.5 * TURN_S)  # until every agent has its series
        scraper = None
        if case != "nobody scrapes":
            scraper = await asyncio.create_subprocess_exec(sys.executable, "-c", SCRAPE, address)
            await asyncio.sleep(0.5)
        late = await lateness(seconds)
        if scraper:
            scraper.kill()
            await scraper.wait()
        loading.cancel()
        return late, held(endpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    cases = ("nobody scrapes", "swarm's /metrics", "prometheus_client")
    found: dict[str, list[list[float]]] = {case: [] for case in cases}
    costs = dict.fromkeys(cases, (0.0, 0.0))
    for _ in range(asked.rounds):
        for case in cases:
            late, costs[case] = asyncio.run(measure(case, asked.agents, asked.seconds))
            found[case].append(late)
    print(
        f"{asked.agents} agents, lateness of a timer of 2 ms, medians of {asked.rounds} rounds of {asked.seconds:g} s\n"
    )
    print(
        "| | late p50 ms | p99 ms | p99.9 ms | largest ms | a scrape, CPU ms | at once, CPU ms |\n"
        "|---|--:|--:|--:|--:|--:|--:|"
    )
    for case, rounds in found.items():
        at = [
            median(late[min(len(late) - 1, round(len(late) * share))] for late in rounds)
            for share in (0.5, 0.99, 0.999)
        ]
        largest = median(late[-1] for late in rounds)
        shown = " | ".join(f"{value:.2f}" for value in (*at, largest))
        print(f"| {case} | {shown} | {costs[case][0]:.1f} | {costs[case][1]:.2f} |")


if __name__ == "__main__":
    main()
