"""The load generator's cost of an agent, against the number of agents and of workers: it should be flat.

    python -m bench.scaling [--workers 1,2,4] [--agents 16,64,256,1024] [--seconds 8]

Agents ask for 40 tokens, look at a file, think for 4 s, and so on, at a simulated server that is large enough for all:
so the load grows with their number. Each row is a run in processes of its own; its figures are over the window. Four
workers on two cores, beside the server, is more than the machine has: what is meant is the CPU, not the speed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

import yaml

from swarm.commands.run import run_scenario
from swarm.engine.schedule import StagePlan, stage_plan
from swarm.recording.records import Attempt, ClientSample, Published, Stage
from swarm.recording.timing import TimingError
from swarm.scaleout.sharing import Sharing
from swarm.scenario.load import load_scenario
from swarm.scenario.schema import Scenario

PROFILE = "qwen3-30b-a3b-awq-1xrtxpro6000"
SCRIPT = {
    "title": "Read the notes",
    "issue": "Tell what the notes say.",
    "reply_tokens": {"median": 40, "spread": 1, "min": 40, "max": 40},
    "turns": [
        {"say": "Looking.", "calls": [{"tool": "list_files", "arguments": {"path": "."}, "takes": "20ms"}]},
        {"say": "Reading.", "calls": [{"tool": "read_file", "arguments": {"path": "notes.txt"}, "takes": "20ms"}]},
        {"say": "Done."},
    ],
}


class OneStage:
    """A course of one stage, and the sink that sees what it costs."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._window = (0, 0)
        self._spent: list[tuple[int, float]] = []
        """When, and this process's CPU seconds until then."""
        self.samples: list[ClientSample] = []
        self.requests = 0

    def add(self, record: Published) -> None:
        if isinstance(record, Stage):
            self._window = record.window_start_ns, record.window_end_ns
        elif isinstance(record, ClientSample) and self._window[0] <= record.t_ns and record.end_ns < self._window[1]:
            self.samples.append(record)
            self._spent.append((time.perf_counter_ns(), time.process_time()))
        elif isinstance(record, Attempt) and self._window[0] <= record.end_ns < self._window[1]:
            self.requests += not record.aborted and record.error is None

    def close(self) -> None: ...

    def stages(self, run: str, say: Callable[[str], None]) -> Iterator[StagePlan]:
        yield stage_plan(self._scenario, run, "it", self._scenario.agents.levels[0], 1)

    def coordinator_share(self) -> float:
        """CPU of this process, as a share of a core."""
        (began, before), (ended, after) = self._spent[0], self._spent[-1]
        return (after - before) / ((ended - began) / 1e9)


def one(workers: int, agents: int, seconds: float) -> dict[str, float]:
    """Runs one stage here, and tells what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = _scenario(Path(folder), agents, seconds)
        course = OneStage(scenario)
        run_scenario(scenario, Path(folder) / "run", None, course=course, sharing=Sharing(workers=workers))
    cpu_s: Counter[int] = Counter()
    watched_s: Counter[int] = Counter()
    memory: Counter[int] = Counter()
    for sample in course.samples:
        cpu_s[sample.shard] += sample.cpu_ns / 1e9
        watched_s[sample.shard] += (sample.end_ns - sample.t_ns) / 1e9
        memory[sample.shard] = max(memory[sample.shard], sample.rss_bytes or 0)
    per_s = course.requests / seconds
    timing = TimingError.of(course.samples)
    return {
        "requests_per_s": per_s,
        "chunks_per_s": timing.chunks / fmean(watched_s.values()),
        "cpu_ms": sum(cpu_s[shard] / watched_s[shard] for shard in cpu_s) / per_s * 1e3,
        "busiest": max(cpu_s[shard] / watched_s[shard] for shard in cpu_s),
        "coordinator_ms": course.coordinator_share() / per_s * 1e3 if workers > 1 else 0.0,
        "mib": memory.total() / 2**20,
        "error_ms": (timing.p99_s() or 0.0) * 1e3,
    }


def _scenario(folder: Path, agents: int, seconds: float) -> Scenario:
    home = folder / "tasks" / "notes" / "short"
    (home / "repo").mkdir(parents=True)
    (home / "repo" / "notes.txt").write_text("The notes.\n" * 8)
    (home / "task.yaml").write_text(yaml.safe_dump(SCRIPT))
    file = folder / "scaling.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "targets": [
                    {
                        "name": "it",
                        "architecture": "moe",
                        "simulate": {"profile": PROFILE, "max_num_seqs": 1024, "kv_tokens": 10_000_000},
                    }
                ],
                "route": "direct",
                "agents": {"levels": [agents], "think": "4s", "system_tokens": 1500, "context": "4k"},
                "tasks": {"path": str(folder / "tasks")},
                "stage": {"warmup": "10s", "duration": f"{seconds:g}s", "trials": 1},
            }
        )
    )
    return load_scenario(file)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--agents", default="16,64,256,1024")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--one", nargs=2, type=int, metavar=("WORKERS", "AGENTS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(*asked.one, asked.seconds)))
        return 0
    print("workers  agents  requests/s  chunks/s   CPU a request, ms      busiest  memory  KiB more  times +-")
    print("                                        workers  coordinator   worker  in MiB  an agent        ms")
    for workers in map(int, asked.workers.split(",")):
        least: tuple[int, float] | None = None
        for agents in map(int, asked.agents.split(",")):
            command = [sys.executable, "-m", "bench.scaling", "--one", str(workers), str(agents)]
            said = subprocess.run([*command, "--seconds", str(asked.seconds)], check=True, stdout=subprocess.PIPE)
            cost = json.loads(said.stdout)
            grown = f"{(cost['mib'] - least[1]) * 1024 / (agents - least[0]):.0f}" if least else "-"
            least = least or (agents, cost["mib"])
            print(
                f"{workers:7}  {agents:6}  {cost['requests_per_s']:10.1f}  {cost['chunks_per_s']:8.0f}  "
                f"{cost['cpu_ms']:7.2f}  {cost['coordinator_ms'] or float('nan'):11.2f}  {cost['busiest']:7.0%}  "
                f"{cost['mib']:6.0f}  {grown:>8}  {cost['error_ms']:8.2f}".replace("nan", "  -"),
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
