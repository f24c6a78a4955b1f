"""Whole load testers against the truth, as a user starts them: `swarm run`, and its peers in environments of their own.

`python tests/install.py vllm guidellm aiperf` installs the peers, pinned; what is not there is left out. All of a
tester's processes are pinned to the client's core, and count in its CPU, memory and number of processes. What each says
of its requests is compared: `vllm bench serve` counts the empty role chunk and the finishing one as tokens, whose gaps
are left out; GuideLLM tells only the mean gap of each request.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from statistics import median, pstdev
from typing import Any, Literal

from bench.fidelity.core import take
from bench.fidelity.drive import HERTZ, busy_s, fetch_log, spread
from bench.footprint import scenario
from bench.peers import PEERS, ROOT, TOKENIZER, Load
from tests.install import python_of

SAMPLE_S = 0.25
REQUESTS = 4
"""Requests of each stream."""
Told = tuple[str, float, list[float]]
"""Report of one request: its key in the truth's log, TTFT and gaps in seconds (one gap: their mean)."""


def swarm_command(route: str) -> Callable[[Load, Path], list[str]]:
    def command(load: Load, folder: Path) -> list[str]:
        path = scenario(folder, f"{load.url}/v1", route, 6, agents=load.streams, tokens=load.tokens)
        return [
            sys.executable,
            "-c",
            "from swarm.cli import main; main()",
            "run",
            f"{path}",
            "-q",
            f"--out={folder}/run",
        ]

    return command


def read_swarm(folder: Path, log: dict[str, Any]) -> Iterator[Told]:
    """Requests carry no name, but both sides know when each was sent, on time lines a fixed distance apart.

    Which distance: the first few of the truth's requests are of swarm's probe, so the best of a few shifts tells.
    """
    lines = (json.loads(line) for line in (folder / "run" / "events.jsonl").read_text().splitlines())
    attempts = sorted(
        (line for line in lines if line["type"] == "attempt" and not line["aborted"] and line.get("chunks")),
        key=lambda line: line["t_ns"],
    )
    received = sorted((request["received_ns"], key) for key, request in log.items())
    distances = (
        [theirs - ours["t_ns"] for (theirs, _), ours in zip(received[shift:], attempts, strict=False)]
        for shift in range(10)
    )
    _, apart = min((pstdev(each[:32]), median(each[:32])) for each in distances if len(each) > 1)
    for attempt in attempts:
        place = _nearest(received, attempt["t_ns"] + apart)
        first, *gaps = attempt["chunks"]
        yield received[place][1], first / 1e9, [gap / 1e9 for gap in gaps]


def _nearest(received: list[tuple[int, str]], t_ns: float) -> int:
    place = bisect_left(received, (round(t_ns), ""))
    return min((max(0, place - 1), min(place, len(received) - 1)), key=lambda at: abs(received[at][0] - t_ns))


def read_vllm(folder: Path, log: dict[str, Any]) -> Iterator[Told]:
    result = json.loads((folder / "result.json").read_text())
    for text, first, gaps in zip(result["generated_texts"], result["ttfts"], result["itls"], strict=True):
        yield text.split(" ", 1)[0], first, gaps[1:-1]  # without the role's and the finishing chunk's


def read_guidellm(folder: Path, log: dict[str, Any]) -> Iterator[Told]:
    benchmark = json.loads((folder / "result.json").read_text())["benchmarks"][0]
    for request in benchmark["requests"]["successful"]:
        mean_s = request["inter_token_latency_ms"] / 1e3
        yield request["output"].split(" ", 1)[0], request["time_to_first_token_ms"] / 1e3, [mean_s]


def read_aiperf(folder: Path, log: dict[str, Any]) -> Iterator[Told]:
    keys = {request["id"]: key for key, request in log.items()}
    for line in (folder / "results" / "profile_export.jsonl").read_text().splitlines():
        record = json.loads(line)
        key, metrics = keys.get(record["metadata"]["x_request_id"]), record["metrics"]
        if key and "inter_chunk_latency" in metrics:
            gaps = [gap / 1e3 for gap in metrics["inter_chunk_latency"]["value"]]
            yield key, metrics["time_to_first_token"]["value"] / 1e3, gaps


@dataclass(frozen=True)
class Tester:
    command: Callable[[Load, Path], list[str]]
    read: Callable[[Path, dict[str, Any]], Iterator[Told]]
    environment: Callable[[Path], dict[str, str]]
    installed: str | None = None
    """Its name in `tests/install.py`; None: swarm's own."""
    processes: Literal["one", "several"] = "one"

    def ready(self) -> bool:
        return self.installed is None or (python_of(self.installed).exists() and TOKENIZER.exists())


def _swarm(route: str) -> Tester:
    return Tester(swarm_command(route), read_swarm, lambda folder: os.environ | {"PYTHONPATH": f"{ROOT}"})


def _peer(name: str, read: Any, installed: str, processes: Literal["one", "several"]) -> Tester:
    return Tester(PEERS[name].command, read, PEERS[name].environment, installed, processes)


TESTERS = {
    "swarm run, direct": _swarm("direct"),
    "swarm run, litellm": _swarm("litellm"),
    "vllm bench serve": _peer("vllm bench serve", read_vllm, "vllm", "one"),
    "GuideLLM": _peer("GuideLLM", read_guidellm, "guidellm", "several"),
    "AIPerf": _peer("AIPerf", read_aiperf, "aiperf", "several"),
}


@dataclass(frozen=True)
class Sample:
    """A tester's processes at one time: CPU so far, memory (shared pages shared out), number; and CPU of the rest."""

    t_ns: int
    cpu_s: float
    memory_mb: float
    processes: int
    busy_s: float
    server_cpu_s: float


def load_of(url: str, streams: int, tokens: int) -> Load:
    return Load(url, "truth", streams, REQUESTS * streams, tokens)


def test(name: str, load: Load, core: int, server: int, realtime: bool) -> dict[str, Any]:
    """Runs one tester to its end.

    Real-time priority would change how the processes of a tester share the core, so one of several gets the highest of
    the ordinary priorities in its place. Raises RuntimeError with what it said when it fails."""
    tester = TESTERS[name]
    fetch_log(load.url)
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        began = time.perf_counter_ns()
        with open(folder / "output", "wb") as output:
            process = subprocess.Popen(
                tester.command(load, folder),
                env=tester.environment(folder),
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: _prepare(core, realtime, tester.processes == "one"),
            )
            samples = list(_watch(process, server))
        log = fetch_log(load.url)
        try:
            told = list(tester.read(folder, log["requests"]))
            return {"route": name, "streams": load.streams} | _compare(told, log, samples, began, load.streams)
        except (OSError, KeyError, ValueError, ArithmeticError) as error:
            said = (folder / "output").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{name}: exit code {process.returncode}, {error!r}: {said}") from error


def _prepare(core: int, realtime: bool, one: bool) -> None:
    take(core, realtime and one)
    if realtime and not one:
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def _watch(process: "subprocess.Popen[bytes]", server: int) -> Iterator[Sample]:
    """Until the process ends; CPU of processes that have ended stays counted."""
    cpu: dict[int, float] = {}
    memory = 0.0
    for number in count():
        if process.poll() is not None:
            return
        tree = _tree(process.pid)
        for pid in tree:
            cpu[pid] = max(cpu.get(pid, 0.0), _cpu_s(pid))
        if number % 8 == 0:  # adding the pages of a large process up takes the kernel a while
            memory = sum(map(_memory_mb, tree))
        yield Sample(time.perf_counter_ns(), sum(cpu.values()), memory, len(tree), busy_s(), _cpu_s(server))
        time.sleep(SAMPLE_S)


def _tree(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(found for child in children for found in _tree(child))]


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / HERTZ


def _memory_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _compare(
    told: list[Told], log: dict[str, Any], samples: list[Sample], began_ns: int, streams: int
) -> dict[str, Any]:
    requests = log["requests"]
    itl: list[float] = []
    ttft: list[float] = []
    unlike = 0
    for key, first, gaps in told:
        if key not in requests:
            unlike += 1
            continue
        sends = requests[key]["sends"]
        ttft.append(abs(first * 1e6 - (sends[0] - requests[key]["received_ns"]) / 1e3))
        true = [(after - before) / 1e3 for before, after in pairwise(sends)]
        if len(gaps) == 1 < len(true):
            itl.append(abs(gaps[0] * 1e6 - sum(true) / len(true)))
        elif len(gaps) == len(true):
            itl += [abs(gap * 1e6 - due) for gap, due in zip(gaps, true, strict=True)]
        else:
            unlike += 1
    chunks = sum(len(request["sends"]) for request in requests.values())
    received = sorted(request["received_ns"] for request in requests.values())
    full_ns = received[min(streams, len(received)) - 1]  # as many requests as streams have come
    loaded = [sample for sample in samples if full_ns <= sample.t_ns <= log["last_ns"]]
    if len(loaded) < 2:
        raise ValueError("it was not seen at work twice")
    before, after = loaded[0], loaded[-1]
    took, cpu = (after.t_ns - before.t_ns) / 1e9, after.cpu_s - before.cpu_s
    within = sum(before.t_ns <= send <= after.t_ns for request in requests.values() for send in request["sends"])
    others = (after.busy_s - before.busy_s) - cpu - (after.server_cpu_s - before.server_cpu_s)
    return {
        "requests": len(told),
        "failed": unlike,
        "failures": [],
        "chunks": chunks,
        "chunks_per_s": within / took,
        "itl_error_us": spread(itl),
        "itl_of_means": bool(told) and all(len(gaps) == 1 for _, _, gaps in told),
        "ttft_error_us": spread(ttft),
        "cpu_us_per_chunk": cpu / within * 1e6,
        "cpu_share": cpu / took,
        "others_share": max(0.0, others) / took / (os.cpu_count() or 1),
        "rss_mb": max(sample.memory_mb for sample in loaded),
        "processes": max(sample.processes for sample in loaded),
        "load_after_s": (full_ns - began_ns) / 1e9,
        "lag_us": {},
        "coalesced": 0,
        "stamps": "",
        "server_slip_p99_us": log["slip_p99_ns"] / 1e3,
    }
