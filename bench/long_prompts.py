"""The cost of prompts of 200,000 tokens for the load loop: its lag beside that with prompts of 4,000.

Agents work through sessions, as in a run: they make each prompt, encode it and send it, while the replies of the others
arrive. The server, a process of its own, reads a request and answers at a fixed rate. The lag is the client's own: from
the kernel's stamp of what arrives to its reading. The two are measured in turns, as a machine's speed changes.

    python -m bench.long_prompts [--agents 8] [--seconds 20] [--rounds 3]

Exits with 1 where the lag's p99 rises by 1 ms or more.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from statistics import median, quantiles

from swarm.agents.session import session_jobs
from swarm.agents.trace import TraceDriver
from swarm.client import eventloop
from swarm.client.base import Connection, Observation
from swarm.client.direct import DirectClient
from swarm.clock import Clock
from swarm.engine.agent_pool import make_calm
from swarm.engine.virtual import VirtualTokenizer
from swarm.engine.workloads.sessions import prepare_sessions, sessions_of
from swarm.sessions.plan import plan
from swarm.sessions.presets import PRESETS
from swarm.sessions.spread import Spread

LIMIT_MS = 1.0
RATE = 50
"""Tokens a second of each reply."""
SIZES = {"short": 4_000, "long": 200_000}
SERVER = f"""
import asyncio
async def answer(reader, writer):
    while True:
        try:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
        except asyncio.IncompleteReadError:
            return writer.close()
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0]))
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n")
        writer.write(b"Transfer-Encoding: chunked\\r\\n\\r\\n")
        for number in range(100):
            end = '"stop"' if number == 99 else "null"
            text = 'data: {{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,'
            text += '"delta":{{"content":"word"}},"finish_reason":' + end + '}}]}}\\n\\n'
            if number == 99:
                text += "data: [DONE]\\n\\n"
            writer.write(f"{{len(text):x}}\\r\\n{{text}}\\r\\n".encode())
            await writer.drain()
            await asyncio.sleep(1 / {RATE})
        writer.write(b"0\\r\\n\\r\\n")
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 22)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def measure(port: int, context: int, agents: int, seconds: float) -> tuple[list[float], list[float]]:
    """Lags of the client, and times to make a prompt, in milliseconds."""
    first = round(context * 0.9)
    shape = replace(
        PRESETS["claude-code"],
        context=context,
        system=min(2_000, context // 4),
        prompt=Spread(first, first, first, first // 2),
        reply=Spread(100, 100, 100),
        growth=Spread(min(700, context // 20), min(4_000, context // 10), context // 10),
        compaction=False,
        side_calls=False,
        sub_agents=replace(PRESETS["claude-code"].sub_agents, share=0.0),
    )
    sessions = plan(shape, 7, 4)
    prepared = await prepare_sessions(sessions, VirtualTokenizer())
    driver = TraceDriver(prepared.replay, "0" * 16, context)
    make_calm()
    client = DirectClient(Connection(f"http://127.0.0.1:{port}/v1", "m"), Clock())
    until, made = time.perf_counter() + seconds, list[float]()

    async def agent(number: int) -> None:
        await asyncio.sleep(number / agents * 2)
        before = None
        for job in session_jobs(sessions_of(sessions), "7", number, f"7-{number}"):
            conversation = before = driver.begin(job, before)
            while not conversation.answered:
                began = time.perf_counter()
                request = conversation.request()
                made.append((time.perf_counter() - began) * 1000)
                assert request
                seen = Observation()
                await client.complete(request, seen)
                assert seen.failure is None, seen.failure
                conversation.accept(seen)
                if time.perf_counter() > until:
                    return

    lags: list[float] = []

    async def look() -> None:
        while True:
            await asyncio.sleep(1)
            lags.extend(lag / 1e6 for lag in client.meter().lags_ns)

    looking = asyncio.create_task(look())
    await asyncio.gather(*map(agent, range(agents)))
    looking.cancel()
    await client.close()
    return lags, made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = int(server.stdout.readline())
        p99s: dict[str, list[float]] = {name: [] for name in SIZES}
        print("prompts  lag p50 ms  lag p99 ms  prompt made in ms (median)  requests")
        for _ in range(asked.rounds):
            for name, context in SIZES.items():
                lags, made = eventloop.run(measure(port, context, asked.agents, asked.seconds))
                cuts = quantiles(lags, n=100)
                p99s[name].append(cuts[98])
                print(f"{name:7}  {cuts[49]:10.3f}  {cuts[98]:10.3f}  {median(made):26.3f}  {len(made):8}", flush=True)
        server.terminate()
    rise = median(long - short for short, long in zip(p99s["short"], p99s["long"], strict=True))
    print(f"lag p99 rises by {rise:.3f} ms (limit {LIMIT_MS:g} ms, median of {asked.rounds} rounds)")
    return int(rise >= LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
