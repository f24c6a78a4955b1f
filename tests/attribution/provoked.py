"""Runs in virtual time in which agents get slower for a known reason, and what the simulated engine knows of it.

The truth is computed by the rule of docs/attribution.md, from what the engine wrote down of each request: turn by turn
against the same turn alone.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from as_json import analyse

from swarm.analysis.slowdown.attribution import CAUSES
from swarm.commands.predict import PARTS, Parts, predict_scenario
from swarm.engine.virtual import VirtualServer
from swarm.scenario.load import load_scenario
from swarm.simulator.engine.scheduler import Request
from swarm.simulator.engine.time_breakdown import Spent
from swarm.simulator.profiles import profiles

MOE = "moe-30b-a3b-awq-1x3090"
DENSE = "dense-32b-awq-1x3090"
CAUSE_OF = {
    "queue": "queue",
    "prefill_alone": "cache",
    "prefill_interference": "prefill",
    "preemption": "preemption",
    "decode": "decode",
}
Key = tuple[str, int]
"""A turn: its template and its number."""


@dataclass
class Provoked:
    """A run: where it lies, its results, and what the engine says of each of its requests."""

    directory: Path
    results: dict[str, Any]
    requests: list[Request]

    def stage(self, agents: int) -> dict[str, Any]:
        (target,) = self.results["targets"]
        return next(stage for stage in target["stages"] if stage["agents"] == agents)

    def lines(self, kind: str, agents: int) -> list[dict[str, Any]]:
        lines = map(json.loads, (self.directory / "events.jsonl").read_text().splitlines())
        return [line for line in lines if line["type"] == kind and line["agents"] == agents]


def provoke(
    folder: Path,
    *,
    agents: int,
    seconds: float = 120,
    profile: str = MOE,
    model: dict[str, Any] | None = None,
    parts: Parts = PARTS,
    **settings: Any,
) -> Provoked:
    """1 agent and `agents` agents on a profile; `model` replaces fields of it, `settings` are those of `agents:`."""
    loaded = profiles.load(profile, **(model or {}))
    (folder / "profile.json").write_text(json.dumps(asdict(loaded)))
    plan = {
        "targets": [{"name": "it", "architecture": loaded.architecture, "simulate": str(folder / "profile.json")}],
        "agents": {"levels": [1, agents], "script": "quick", "system_tokens": 1500} | settings,
        "stage": {"warmup": "20s", "duration": f"{seconds:g}s", "trials": 1},
        "tasks": ["lru-cache"],
    }
    (folder / "provoked.yaml").write_text(yaml.safe_dump(plan))
    requests: list[Request] = []

    class Remembering(VirtualServer):
        async def serve(self, request, stamps):
            await super().serve(request, stamps)
            requests.append(request)

    loaded = load_scenario(folder / "provoked.yaml")
    directory = predict_scenario(loaded, folder / "run", None, parts=replace(parts, server=Remembering)).directory
    return Provoked(directory, analyse(directory), requests)


def truth(run: Provoked, agents: int, more: dict[str, float] | None = None) -> dict[str, float]:
    """The shares of what the engine knows; `more`: growth of other causes, seconds per turn."""
    spent = {(round(r.arrived_at * 1e9), r.prompt_tokens): r.spent for r in run.requests}
    now, alone = (_turns(run, level, spent) for level in (agents, 1))
    shared = now.keys() & alone.keys()
    turns = sum(len(now[key]) for key in shared)
    grown = dict.fromkeys(CAUSES, 0.0) | (more or {})
    for part, cause in CAUSE_OF.items():
        growth = sum(_sum(now[key], part) - _mean(alone[key], part) * len(now[key]) for key in shared)
        grown[cause] = max(0.0, growth / turns)
    return {cause: seconds / sum(grown.values()) for cause, seconds in grown.items()}


def _turns(run: Provoked, agents: int, spent: dict[tuple[int, int], Spent]) -> dict[Key, list[Spent]]:
    (stage,) = run.lines("stage", agents)
    ended = {
        turn["id"]: turn["number"]
        for turn in run.lines("turn", agents)
        if stage["window_start_ns"] <= turn["end_ns"] < stage["window_end_ns"] and turn["ok"]
    }
    turns = defaultdict(list)
    for attempt in run.lines("attempt", agents):
        if attempt["parent"] in ended:
            key = f"{attempt['task']}/{attempt['variant']}", ended[attempt["parent"]]
            turns[key].append(spent[attempt["t_ns"], attempt["prompt_tokens"]])
    return turns


def _sum(turns: Iterable[Spent], part: str) -> float:
    return sum(getattr(turn, part) for turn in turns)


def _mean(turns: list[Spent], part: str) -> float:
    return _sum(turns, part) / len(turns)
