"""The cost of swarm besides its measuring: size, time to help and to the first request, memory.

    python -m bench.footprint [--install]

The server is a bare loop that answers at once, so that times and memory are swarm's own. `--install` also makes a fresh
virtual environment, as a new user does. Memory is that of the load generator while four agents make requests as fast as
they can: flat means that it does not grow with their number.
"""

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from aiohttp import web

SWARM = Path(sys.executable).with_name("swarm")
ROOT = Path(__file__).parents[1]
ROUNDS = 3
MEMORY_S = 60


@dataclass
class BareServer:
    """OpenAI's protocol with nothing behind it; knows when the first request of a run, not of its probe, came."""

    requests: int = 0
    first: float | None = None
    url: str = ""
    ready: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self.ready.set()
        await asyncio.Event().wait()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "bare", "max_model_len": 32768}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if str(body["messages"][0]["content"]).startswith("Session "):
            self.requests += 1
            self.first = self.first or time.perf_counter()
        count = int(body["max_tokens"])
        chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"content": "word"}}]}] * count
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
        usage = {"prompt_tokens": 100, "completion_tokens": count, "total_tokens": 100 + count}
        chunks.append({"choices": [], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        await response.write(("".join(events) + "data: [DONE]\n\n").encode())
        return response


def scenario(folder: Path, url: str, route: str, seconds: float, agents: int = 4, tokens: int = 4) -> Path:
    """Agents on a task of ten turns whose replies have `tokens` tokens each."""
    repository = folder / "tasks/bench/one/repo"
    repository.mkdir(parents=True)
    (repository / "notes.txt").write_text("Notes.\n")
    look = {"say": "Looking.", "calls": [{"tool": "list_files", "arguments": {"path": "."}, "takes": "1ms"}]}
    script = {
        "title": "Look",
        "issue": "Look around.",
        "reply_tokens": {"median": tokens, "spread": 1, "min": tokens, "max": tokens},
        "turns": [*[look] * 9, {"say": "Done."}],
    }
    (folder / "tasks/bench/one/task.yaml").write_text(json.dumps(script))
    path = folder / "bench.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "targets": [{"name": "bare", "architecture": "dense", "api_base": url}],
                "route": route,
                "client": {"max_lag": "1s", "max_cpu": "100%"},
                "agents": {"levels": [agents], "system_tokens": 1500},
                "tasks": {"path": str(folder / "tasks")},
                "stage": {"warmup": "0s", "duration": f"{seconds:g}s", "trials": 1},
            }
        )
    )
    return path


def run(server: BareServer, route: str, seconds: float) -> tuple[float, list[tuple[int, int]]]:
    """Seconds from the command to its first request, and (requests so far, resident KiB) every half second."""
    server.requests, server.first = 0, None
    with tempfile.TemporaryDirectory() as name:
        path = scenario(Path(name), server.url, route, seconds)
        began = time.perf_counter()
        process = subprocess.Popen(
            [SWARM, "run", path, "--quiet", "--out", Path(name) / "run"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        samples = []
        while process.poll() is None:
            if server.first and (resident := resident_kib(process.pid)):
                samples.append((server.requests, resident))
            time.sleep(0.5)
    if server.first is None:
        raise SystemExit(f"{route}: no request came")
    return server.first - began, samples


def resident_kib(process: int) -> int | None:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), None)


def install() -> tuple[float, float]:
    """Seconds and MB of a fresh environment with swarm in it."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "--no-cache-dir", str(ROOT)]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
        took = time.perf_counter() - began
        size = sum(path.lstat().st_blocks * 512 for path in Path(folder).rglob("*") if not path.is_symlink())
    return took, size / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="also measure a fresh installation")
    arguments = parser.parse_args()
    if arguments.install:
        seconds, megabytes = install()
        print(f"fresh installation: {seconds:.0f} s, {megabytes:.0f} MB (limits: 120 s, 600 MB)")
    for command in (["--help"], ["run", "--help"]):
        took = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            subprocess.run([SWARM, *command], check=True, stdout=subprocess.DEVNULL)
            took.append(time.perf_counter() - began)
        print(f"swarm {' '.join(command)}: {median(took):.2f} s (limit: 0.5 s)")
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # clients that leave are expected here
    server = BareServer()
    threading.Thread(target=server.run, daemon=True).start()
    server.ready.wait()
    for route, limit in (("direct", "3 s"), ("litellm", "3 s and LiteLLM's import")):
        first = median(run(server, route, 1)[0] for _ in range(ROUNDS))
        print(f"first request, route {route}: {first:.1f} s after the command (limit: {limit})")
    _, samples = run(server, "direct", MEMORY_S)
    early = next(sample for sample in samples if sample[0] > 100)
    # The first sample with all requests: what comes after them is the analysis of the run, in the same process.
    late = next(sample for sample in samples if sample[0] == samples[-1][0])
    growth = (late[1] - early[1]) / (late[0] - early[0])
    print(
        f"memory: {early[1] / 1024:.1f} MiB after {early[0]:,} requests, {late[1] / 1024:.1f} MiB after {late[0]:,}: "
        f"{growth * 1024:.0f} bytes a request"
    )


if __name__ == "__main__":
    main()
    os._exit(0)
