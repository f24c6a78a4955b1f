"""Agents that wait for each other's tests on this machine's few cores: the server has little to do, and looks fast."""

from dataclasses import replace
from pathlib import Path

import pytest
from truth.generate import Counts, Done, End, Finish, Piece, Reply
from truth.runs import Run, carry_out

from swarm.analysis.capacity.judge import judge
from swarm.analysis.results import analyse
from swarm.results import StageResults
from swarm.scenario.thresholds import parse_slo

CORES = 2
SLOS = [parse_slo("ttft_s.p95 < 10s"), parse_slo("agent_output_tokens_per_s.p10 > 1")]


def reply(kind: str) -> Reply:
    tokens = tuple(Piece(at, kind, "{}" if at == 50 else " ", 1) for at in range(50, 250, 20))
    finish = Finish(240, "tool_calls" if kind == "call" else "stop")
    return Reply(50, (*tokens, finish, Counts(240), Done(240)), End(240, "clean"), prompt=500)


SCRIPT = Run(2, (reply("content"),), turns=20, planned=10, tool_ms=200, work_ms=180, slots=CORES, window_ms=25_000)
MODEL = replace(SCRIPT, driver="model", answers=(*[reply("call")] * 7, reply("content")))


def stage_of(run: Run, folder: Path) -> StageResults:
    carry_out(run, folder / f"{run.driver}-{run.agents}")
    return analyse(folder / f"{run.driver}-{run.agents}").targets[0].stages[0]


@pytest.mark.parametrize("run", [SCRIPT, MODEL], ids=["planned", "not planned"])
def test_a_stage_whose_tools_queued_for_a_core_is_invalid_and_no_capacity_whatever_its_latencies(
    run: Run, tmp_path: Path
) -> None:
    few, many = stage_of(run, tmp_path), stage_of(replace(run, agents=24), tmp_path)
    assert few.valid, few.invalid_reasons
    assert judge(few, SLOS).verdict == "holds"

    assert many.achieved.in_flight_mean / 24 < 0.7 * few.achieved.in_flight_mean / 2, "agents wait for tools"
    assert [one.code for one in many.findings if one.kind == "invalid"] == ["tools_late"]
    judged = judge(many, SLOS)
    assert all(value.holds for value in judged.values), "though each objective would hold"
    assert (judged.verdict, judged.holds, judged.sure) == ("undecided", False, None)
