"""How much `swarm record` delays what goes through it.

A server that logs when it really sent each token (bench/fidelity) is asked directly and through the proxy, in turns.
All streams' tokens leave it at the same steps, one after the other, as an engine sends them. A delay is the kernel's
stamp of a token's arrival minus the server's of its send; that of the first token also holds the request's way there.

    python -m bench.proxy [--streams 1,8,32] [--rate 50] [--seconds 4] [--rounds 3]
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from bench.fidelity.drive import fetch_log, key_of, spread
from swarm.client import eventloop
from swarm.client.base import Observation
from swarm.client.reply.sse import ChatStream
from swarm.client.stamps import Stamper
from swarm.clock import Clock
from swarm.proxy import anthropic_stream

TOKENS = 100
WORDS = 4000
"""Words of a prompt: 20 kB, an agent's in the middle of its job."""
PATHS = {"direct": "/v1/chat/completions", "proxy": "/v1/chat/completions", "translated": "/v1/messages"}


@contextmanager
def started(*command: str) -> Iterator[str]:
    """A server of ours, by the address that its first line says."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    try:
        yield process.stdout.readline().strip().removeprefix("listening on ")
    finally:
        process.terminate()
        process.wait()


async def load(url: str, streams: int, rate: float, seconds: float) -> list[Observation]:
    """Keeps `streams` replies running for `seconds`, begun one after the other; the last ones are read to their end."""
    clock = Clock(0)
    stamper = Stamper(clock)
    until = clock.now() + round(seconds * 1e9)
    async with aiohttp.ClientSession(connector=stamper.connector(limit=0)) as session:
        body = {
            "model": "truth",
            "messages": [{"role": "user", "content": "word " * WORDS}],
            "max_tokens": TOKENS,
            "stream": True,
        }
        kept: list[Observation] = []

        async def agent(number: int) -> None:
            await asyncio.sleep(number / streams * TOKENS / rate)
            while True:
                kept.append(await ask(session, stamper, url, body))
                if clock.now() >= until:
                    return

        await asyncio.gather(*map(agent, range(streams)))
    stamper.close()
    return kept


async def ask(session: aiohttp.ClientSession, stamper: Stamper, url: str, body: Any) -> Observation:
    pieces: list[tuple[bytes, int]] = []
    seen = Observation()
    with stamper.line() as line:
        async with session.post(url, json=body) as reply:
            await line.deliver(reply, lambda reads: pieces.extend(read[:2] for read in reads))
        seen.send_ns = line.sent_ns
    if url.endswith("/messages"):
        anthropic_stream.read_stream(pieces, seen)
    else:
        stream = ChatStream(seen)
        for data, stamp_ns in pieces:
            stream.feed(data, stamp_ns)
        stream.close()
    return seen


def delays(kept: list[Observation], truth: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Delays of first tokens, both ways, and of all others; microseconds."""
    first, later = [], []
    for seen in kept:
        true = truth[key_of(seen)]
        if seen.send_ns is None or len(seen.stamps) != len(true["sends"]):
            raise SystemExit(f"a reply of {len(true['sends'])} tokens came with {len(seen.stamps)}")
        first.append((seen.stamps[0] - seen.send_ns - (true["sends"][0] - true["received_ns"])) / 1e3)
        later += [(came - sent) / 1e3 for came, sent in zip(seen.stamps, true["sends"], strict=True)][1:]
    return first, later


def measure(case: str, streams: int, rate: float, seconds: float) -> tuple[list[float], list[float]]:
    with (
        tempfile.TemporaryDirectory() as place,
        started("-m", "bench.fidelity.truth", f"--rate={rate}", "--bursts") as server,
    ):
        record = ("-c", "from swarm.cli import main; main()", "record", "--port=0", "--quiet")
        proxy = started(*record, f"--upstream={server}", f"--out={Path(place) / 'trace.jsonl'}")
        with proxy as url:
            url = (server if case == "direct" else url) + PATHS[case]
            eventloop.run(load(url, streams, rate, 0))  # connections, imports
            fetch_log(server)
            kept = eventloop.run(load(url, streams, rate, seconds))
            return delays(kept, fetch_log(server)["requests"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="1,8,32")
    parser.add_argument("--rate", type=float, default=50, help="tokens per second of each stream")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(f"delay in ms, medians of {asked.rounds} rounds of {asked.seconds:g} s; prompts of 20 kB,", end=" ")
    print(f"{asked.rate:g} tok/s a stream in bursts")
    print(f"{'':10}  {'':>7}  {'first token':>26}  {'other tokens':>26}")
    print(f"{'':10}  streams  {'p50':>7} {'p99':>7} {'added':>10}  {'p50':>7} {'p99':>7} {'added':>10}")
    for streams in map(int, asked.streams.split(",")):
        rounds = [
            {case: measure(case, streams, asked.rate, asked.seconds) for case in PATHS} for _ in range(asked.rounds)
        ]
        direct: list[tuple[float, float]] = []
        for case in PATHS:
            cells = []
            for which in (0, 1):
                spreads = [spread(found[case][which]) for found in rounds]
                p50, p99 = (median(each[name] for each in spreads) / 1e3 for name in ("p50", "p99"))
                if case == "direct":
                    direct.append((p50, p99))
                added = f"{p50 - direct[which][0]:.2f}/{p99 - direct[which][1]:.2f}"
                cells.append(f"{p50:7.2f} {p99:7.2f} {added if case != 'direct' else '':>10}")
            print(f"{case:10}  {streams:7}  {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
