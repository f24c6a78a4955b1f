"""Each cause of slower agents, provoked alone and together with another: its share, against what the engine knows."""

import asyncio
from typing import Any

import pytest
from provoked import DENSE, Provoked, provoke, truth

from swarm.agents.recorded import RecordedTools
from swarm.analysis.slowdown.attribution import CAUSES
from swarm.commands.predict import Parts
from swarm.engine.virtual import VirtualClient

POINTS = 0.05
LATER_S = 85.0
"""When the stage of one agent (20 s and 60 s) is over, and what makes tools or the client slow begins."""
SLOW_PREFILL = {"eta_flops_dense": 0.05, "eta_flops_experts": 0.02}
FULL: dict[str, Any] = {"script": "full", "context": "8k"}

PROVOKED = {
    "decode": ({"agents": 8, "seconds": 40, "reply_scale": 6.0}, {"decode": 0.8}),
    "prefill": ({"agents": 8, "model": SLOW_PREFILL, "think": "2s"}, {"prefill": 0.9}),
    "queue": ({"agents": 8, "seconds": 40, "model": {"max_num_seqs": 1}}, {"queue": 0.95}),
    "cache": ({"agents": 4, "seconds": 700, "model": {"kv_tokens": 9000}, "think": "20s", **FULL}, {"cache": 0.45}),
    "preemption": (
        {
            "agents": 2,
            "seconds": 500,
            "profile": DENSE,
            "model": {"kv_tokens": 8200, "admission": "first_chunk", "max_num_batched_tokens": 512},
            "reply_scale": 8.0,
            **FULL,
        },
        {"preemption": 0.5},
    ),
    "queue and cache": (
        {"agents": 6, "seconds": 600, "model": {"kv_tokens": 9000, "max_num_seqs": 1}, "think": "20s", **FULL},
        {"queue": 0.35, "cache": 0.45},
    ),
    "queue and decode": (
        {"agents": 8, "seconds": 40, "model": {"max_num_seqs": 4}, "reply_scale": 3.0},
        {"queue": 0.3, "decode": 0.3},
    ),
}
"""Cause -> how it is provoked, and the least that its share must be for this to deserve the name."""


@pytest.mark.parametrize("cause", PROVOKED)
def test_each_share_is_right_within_5_points(cause, tmp_path) -> None:
    how, least = PROVOKED[cause]
    run = provoke(tmp_path, **how)
    must_be_right(run, how["agents"], least)


def test_slow_tools_are_told_from_slow_prefill(tmp_path) -> None:
    class Slow(RecordedTools):
        async def execute(self, call, workspace):
            result = await super().execute(call, workspace)
            if asyncio.get_running_loop().time() > LATER_S:
                await asyncio.sleep(call.planned_ns / 1e9 + 2.0)
            return result

    run = provoke(tmp_path, agents=4, seconds=60, model=SLOW_PREFILL, parts=Parts(tools=Slow))
    a_turn = 2.0 * len(run.lines("tool", 4)) / len(run.lines("turn", 4))
    must_be_right(run, 4, {"tools": 0.4, "prefill": 0.3}, {"tools": a_turn})


def test_a_slow_client_is_told_from_the_server(tmp_path) -> None:
    class Slow(VirtualClient):
        async def complete(self, request, seen):
            if asyncio.get_running_loop().time() > LATER_S:
                await asyncio.sleep(0.4)
            await super().complete(request, seen)

    run = provoke(tmp_path, agents=4, seconds=60, parts=Parts(client=Slow))
    must_be_right(run, 4, {"client": 0.5}, {"client": 0.4})


def must_be_right(run: Provoked, agents: int, least: dict[str, float], more: dict[str, float] | None = None) -> None:
    measured, true = run.stage(agents)["attribution"], truth(run, agents, more)
    assert sum(measured.values()) == pytest.approx(1)
    assert {cause: measured[cause] for cause in CAUSES} == pytest.approx(true, abs=POINTS)
    assert {cause: true[cause] > share for cause, share in least.items()} == dict.fromkeys(least, True), true
    assert measured["unknown"] == 0
