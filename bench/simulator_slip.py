"""How punctual is the simulated server, and what does a token cost it?

Start slip (first write of a step minus its planned time) of the simulator at 64 streams of 100 tok/s, against that of a
bare asyncio loop that only waits for a timer and writes as many bytes; in turns, on the same machine. Then the CPU
time of the server per token and per request. The client is a process of its own that does nothing but read.

    python bench/simulator_slip.py [--streams 64] [--rate 100] [--seconds 5] [--rounds 3]
    python bench/simulator_slip.py --grow 1,8,64,256,1000 [--rate 10]      the same against the number of streams
"""

import argparse
import asyncio
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from swarm.simulator.engine.constant_rate import steady

CHUNK = 300
"""Bytes that the bare loop writes per stream and tick: about those of one streamed token."""


def steady_profile(directory: Path, tokens_per_s: float) -> Path:
    """A profile whose steps all take 1 / `tokens_per_s` seconds, whatever is in them."""
    path = directory / f"steady-{tokens_per_s:g}.json"
    path.write_text(json.dumps(asdict(steady(tokens_per_s))))
    return path


class Process:
    """A server of ours: says where it listens in its first line, and what CPU time it has used."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        address = re.search(r"http://127\.0\.0\.1:(\d+)", self._process.stdout.readline())
        if address is None:
            raise SystemExit(f"{command}: did not start")
        self.port = int(address[1])

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mib(self) -> float:
        (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        return int(line) / 1024

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as reply:
            return json.load(reply)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


def request_bytes(tokens: int) -> bytes:
    body = {
        "messages": [{"role": "user", "content": "Write."}],
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "max_tokens": tokens,
        "min_tokens": tokens,
        "ignore_eos": True,
    }
    data = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def read_streams(port: int, streams: int, requests: int, tokens: int) -> None:
    """The client: each connection sends its requests one after the other and reads, as cheaply as can be."""
    selector = selectors.DefaultSelector()
    request = request_bytes(tokens)
    for _ in range(streams):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        selector.register(connection, selectors.EVENT_READ, [requests - 1, b""])
    while selector.get_map():
        for key, _ in selector.select():
            connection, state = key.fileobj, key.data
            assert isinstance(connection, socket.socket)
            data = connection.recv(65536)
            tail = state[1] + data[-5:]
            state[1] = tail[-5:]
            if data and not tail.endswith(b"0\r\n\r\n"):
                continue
            if data and state[0]:
                state[0] -= 1
                state[1] = b""
                connection.sendall(request)
            else:
                selector.unregister(connection)
                connection.close()


def run_client(port: int, streams: int, requests: int, tokens: int) -> float:
    """Seconds that the client took, in a process of its own."""
    began = time.perf_counter()
    options = [f"{port}", f"{streams}", f"{requests}", f"{tokens}"]
    subprocess.run([sys.executable, __file__, "client", *options], check=True)
    return time.perf_counter() - began


async def bare_loop(streams: int, rate: float, ticks: int) -> None:
    """The yardstick: waits for a timer, writes to each connection; at the end its slips go to the last one to ask."""
    loop = asyncio.get_running_loop()
    writers: list[asyncio.StreamWriter] = []
    complete = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if len(writers) == streams:
            complete.set()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await complete.wait()
    transports = [writer.transport for writer in writers]
    slips: list[float] = []
    finished = asyncio.Event()
    start = loop.time() + 0.1

    def tick(number: int) -> None:
        slips.append(loop.time() - (start + number / rate))
        for transport in transports:
            transport.write(b"x" * CHUNK)
        if number + 1 < ticks:
            loop.call_at(start + (number + 1) / rate, tick, number + 1)
        else:
            finished.set()

    loop.call_at(start, tick, 0)
    await finished.wait()
    for writer in writers:
        writer.write(b"0\r\n\r\n")
        writer.close()
    print(json.dumps(sorted(slips)), flush=True)


def percentiles(ordered: list[float]) -> dict[str, float]:
    return {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 90, 99)}


def measure_bare(streams: int, rate: float, seconds: float) -> dict[str, float]:
    ticks = round(seconds * rate)
    bare = Process(__file__, "bare", f"{streams}", f"{rate}", f"{ticks}")
    run_client(bare.port, streams, 1, 1)
    assert bare._process.stdout
    slips = json.loads(bare._process.stdout.readline())
    bare._process.wait()
    return percentiles(slips)


def measure_simulator(
    profile: Path, streams: int, rate: float, seconds: float
) -> tuple[dict[str, float], float, float]:
    """Start slips, CPU seconds per token, and the most memory in MiB."""
    simulator = Process("-m", "swarm.simulator", f"--profile={profile}")
    tokens = round(seconds * rate)
    before = simulator.cpu_s()
    run_client(simulator.port, streams, 1, tokens)
    cpu_s = simulator.cpu_s() - before
    slip, peak_mib = simulator.get("/swarm/slip"), simulator.peak_mib()
    simulator.stop()
    return slip["start_s"] | {"written_p99": slip["written_s"]["p99"]}, cpu_s / (streams * tokens), peak_mib


def measure_requests(profile: Path, streams: int, requests: int) -> tuple[float, float]:
    """CPU seconds of the server per request of 1 token, and requests per second of wall time."""
    simulator = Process("-m", "swarm.simulator", f"--profile={profile}")
    run_client(simulator.port, 1, 1, 1)  # warm-up
    before = simulator.cpu_s()
    wall_s = run_client(simulator.port, streams, requests // streams, 1)
    cpu_s = simulator.cpu_s() - before
    simulator.stop()
    return cpu_s / requests, requests / wall_s


def main() -> None:
    if sys.argv[1:2] == ["client"]:
        read_streams(*map(int, sys.argv[2:6]))
        return
    if sys.argv[1:2] == ["bare"]:
        asyncio.run(bare_loop(int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--rate", type=float, help="tokens per second of each stream (100)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grow", metavar="N,N,...", help="numbers of streams; --rate is then 10 unless given")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if args.grow:
            levels = [int(level) for level in args.grow.split(",")]
            grow(Path(directory), levels, args.rate or 10.0, args.seconds)
            return
        compare(Path(directory), args.streams, args.rate or 100.0, args.seconds, args.rounds)


def compare(directory: Path, streams: int, rate: float, seconds: float, rounds: int) -> None:
    steady, fast = steady_profile(directory, rate), steady_profile(directory, 1000)
    print(f"start slip in ms, {streams} streams x {rate:g} tok/s, {seconds:g} s a measurement")
    print(f"{'':22}{'p50':>8}{'p90':>8}{'p99':>8}{'p99 until all written':>24}")
    ratios, token_s = [], []
    for number in range(rounds):
        bare = measure_bare(streams, rate, seconds)
        ours, per_token, _ = measure_simulator(steady, streams, rate, seconds)
        ratios.append(ours["p99"] / bare["p99"])
        token_s.append(per_token)
        for name, slip in ((f"bare loop {number + 1}", bare), (f"simulator {number + 1}", ours)):
            cells = "".join(f"{slip[p] * 1e3:8.3f}" for p in ("p50", "p90", "p99"))
            written = f"{slip['written_p99'] * 1e3:24.3f}" if "written_p99" in slip else ""
            print(f"{name:22}{cells}{written}")
    per_request, requests_per_s = measure_requests(fast, 16, 1600)
    print(f"p99 ratio, median of {rounds}: {median(ratios):.2f} (goal: at most 1.5)")
    print(f"CPU per token {median(token_s) * 1e6:.1f} us: {1 / median(token_s):,.0f} tokens/s on a core")
    print(f"CPU per request {per_request * 1e6:.0f} us: {1 / per_request:,.0f} requests/s on a core", end=" ")
    print(f"({requests_per_s:,.0f}/s here, one client process beside it)")


def grow(directory: Path, levels: list[int], rate: float, seconds: float) -> None:
    steady = steady_profile(directory, rate)
    print(f"{rate:g} tok/s a stream, {seconds:g} s a measurement; slips in ms: a step's first write, and its last")
    print("streams  tokens/s  slip p50  slip p99  written p99  bare loop p99  CPU us/token  peak MiB  KiB per stream")
    least = None
    for streams in levels:
        bare = measure_bare(streams, rate, seconds)
        ours, per_token, peak_mib = measure_simulator(steady, streams, rate, seconds)
        least = (streams, peak_mib) if least is None else least
        more = f"{(peak_mib - least[1]) * 1024 / (streams - least[0]):.0f}" if streams > least[0] else "-"
        print(
            f"{streams:7}  {streams * rate:8,.0f}  {ours['p50'] * 1e3:8.3f}  {ours['p99'] * 1e3:8.3f}  "
            f"{ours['written_p99'] * 1e3:11.3f}  {bare['p99'] * 1e3:13.3f}  {per_token * 1e6:12.1f}  "
            f"{peak_mib:8.0f}  {more:>14}",
            flush=True,
        )


if __name__ == "__main__":
    main()
