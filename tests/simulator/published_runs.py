"""Replays the published runs of `data/` through the engine, in virtual time.

`python tests/simulator/published_runs.py` prints the error of the predicted wall times by configuration.
"""

import csv
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

from swarm.simulator.engine.scheduler import Engine, Request
from swarm.simulator.profiles import profiles

DATA = Path(__file__).parent / "data"
PROFILES = {
    "swarm-coder4-tp1-c8.csv": "moe-30b-a3b-awq-1x3090",
    "swarm-coder4-tp2-nvlink-c8.csv": "moe-30b-a3b-awq-2x3090-nvlink",
    "swarm-coder4-tp2-nvlink-rerun.csv": "moe-30b-a3b-awq-2x3090-nvlink",
    "swarm-dense-tp1.csv": "dense-32b-awq-1x3090-eager",
    "swarm-moe-tp1.csv": "moe-30b-a3b-awq-1x3090",
    "swarm-moe-tp2-nvlink.csv": "moe-30b-a3b-awq-2x3090-nvlink",
    "swarm-moe-tp2-pcie.csv": "moe-30b-a3b-awq-2x3090-pcie",
}
"""The profile of each file: the configuration that its runs were made on."""
PROMPT_TOKENS = 200
"""Of every prompt: they had 100 to 300, and the files do not say which."""


@dataclass(frozen=True)
class Task:
    """One published task and what the engine makes of it."""

    concurrency: int
    measured_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        return abs(self.predicted_s / self.measured_s - 1)


def replay(file: str) -> list[Task]:
    """All tasks of a file. Each run starts on an empty server: no two of its prompts share a prefix anyway."""
    with (DATA / file).open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    profile = profiles.load(PROFILES[file])
    tasks = []
    for (concurrency, _), run in groupby(rows, key=lambda row: (int(row["concurrency"]), row["run"])):
        engine = Engine(profile)
        prompts = list(run)
        now = 0.0
        for at in range(0, len(prompts), concurrency):
            batch = prompts[at : at + concurrency]
            walls = batch_walls(engine, [int(row["completion_tokens"]) for row in batch], now)
            now += max(walls)
            tasks += [
                Task(concurrency, float(row["wall_seconds"]), wall) for row, wall in zip(batch, walls, strict=True)
            ]
    return tasks


def batch_walls(engine: Engine, output_tokens: list[int], now: float) -> list[float]:
    """Seconds from `now`, when all requests of a batch arrive together, to the end of each."""
    requests = [Request(PROMPT_TOKENS, tokens) for tokens in output_tokens]
    for request in requests:
        engine.submit(request, now)
    while (due := engine.next_event()) is not None:
        now = max(now, due)
        if engine.step is None:
            engine.begin(now)
        else:
            engine.complete()
    ends = [request.finished_at for request in requests]
    return [end - request.arrived_at for end, request in zip(ends, requests, strict=True) if end is not None]


if __name__ == "__main__":
    for name in PROFILES:
        tasks = replay(name)
        print(
            f"{name:36} {PROFILES[name]:32} {len(tasks):3} tasks  mean error {fmean(t.error for t in tasks):.2%}  "
            f"worst {max(t.error for t in tasks):.2%}"
        )
