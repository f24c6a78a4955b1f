"""Any run, through the client, the agents, the recorder and the analysis: the results are what really happened."""

import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from as_json import analyse
from hypothesis import example, given, settings
from truth.expected_runs import PERCENTS, numbers, reasons, truth
from truth.generate import EXAMPLES, TRUTH, Counts, Done, End, Finish, Piece, Reply
from truth.runs import REFUSALS, Run, carry_out, runs

from swarm.recording.rundir import EVENTS

NEARLY = {"rel": 2e-3, "abs": 2e-6}
"""What histograms keep."""


def results_of(run: Run) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The stage in the results, and the attempts on record."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        carry_out(run, directory)
        lines = [json.loads(line) for line in (directory / EVENTS).read_text().splitlines()]
        return analyse(directory)["targets"][0]["stages"][0], [one for one in lines if one["type"] == "attempt"]


def stats(values: Any) -> dict[str, Any]:
    """Of durations in nanoseconds; of a number, so many that are not told."""
    ordered = sorted(values) if isinstance(values, list) else []
    empty: dict[str, Any] = dict.fromkeys(("mean", "max", *(f"p{percent}" for percent in PERCENTS)))
    if not ordered:
        return {"count": values if isinstance(values, int) else 0} | empty
    at = {f"p{p}": ordered[max(1, int(p * len(ordered) / 100 + 0.5)) - 1] / 1e9 for p in PERCENTS}
    return {"count": len(ordered), "mean": sum(ordered) / len(ordered) / 1e9, "max": ordered[-1] / 1e9} | at


def known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def told(tokens: int, gap: int) -> Reply:
    """A plain reply: a token every so many milliseconds, the first after 20."""
    last = 20 + gap * (tokens - 1)
    said = tuple(Piece(20 + gap * number, "content", "a", 1) for number in range(tokens))
    return Reply(20, (*said, Finish(last, "stop"), Counts(last), Done(last)), End(last, "clean"), "always", prompt=500)


USUAL = Run(2, (told(10, 10),))
FROZEN = Run(2, (told(10, 10),), freeze=(4000, 2000))
ONE_FAILURE = Run(2, (told(10, 10),), odd=(12, REFUSALS[0]))
STREAMING_AT_THE_END = Run(1, (told(50, 20),), turns=1, planned=50, window_ms=12_700)
TOO_LONG = Run(2, (told(12, 10),))
MISCOUNTED = Run(2, (told(10, 10),), counters=1.5)
STALLED_AT_THE_END = Run(2, (told(10, 10),), odd=(30, Reply(20, (), End(20, "never"))))


@example(USUAL)
@example(FROZEN)
@example(TOO_LONG)
@example(MISCOUNTED)
@example(ONE_FAILURE)
@example(STREAMING_AT_THE_END)
@example(STALLED_AT_THE_END)
@settings(TRUTH, max_examples=EXAMPLES // 5)
@given(runs())
def test_what_is_told_of_a_run_is_what_happened(run: Run) -> None:
    true = truth(run)
    stage, attempts = results_of(run)
    compare_attempts(run, true, attempts)
    if true.gone:
        assert not stage["valid"]
        assert "interrupted" in [finding["code"] for finding in stage["findings"]]
    else:
        compare(run, true, stage)


def compare_attempts(run: Run, told: Any, attempts: Any) -> None:
    for agent in range(run.agents):
        mine = [one for one in attempts if one["agent"] == agent and one["t_ns"] < run.stop_ns]
        true = [one for one in told.attempts if one.agent == agent and one.send < run.stop_ns]
        for said, one in zip(mine, true, strict=True):
            outcome = "aborted" if said.get("aborted") else said.get("error") or "complete"
            assert (outcome, said["t_ns"], said["end_ns"]) == (one.seen.outcome, one.send, one.end)
            assert said["intended_ns"] == one.intended
            gaps, stamps = said.get("chunks") or [], [one.send, *one.seen.stamps]
            assert gaps == [after - before for before, after in pairwise(stamps)]
            tokens = said.get("completion_tokens"), said.get("prompt_tokens"), said.get("cached_tokens")
            assert tokens == (one.seen.completion, one.seen.prompt, one.seen.cached)
            assert said.get("finish_reason") == one.seen.finish
            assert said.get("coalesced", 0) == one.seen.coalesced


def compare(run: Run, told: Any, stage: dict[str, Any]) -> None:
    true = numbers(run, told)
    tokens, jobs, throughput, achieved = (stage[key] for key in ("tokens", "jobs", "throughput", "achieved"))
    assert throughput["requests_per_s"] == pytest.approx(true["requests_per_s"])
    assert throughput["output_tokens_per_s"] == pytest.approx(true["output_tokens_per_s"])
    assert throughput["jobs_per_h"] == pytest.approx(true["jobs_per_h"])
    assert stage["tokens_per_job"] == pytest.approx(true["tokens_per_job"])
    assert (tokens["prompt"], tokens["cached_prompt"]) == (true["prompt"], true["cached"])
    assert stage["errors"] == true["errors"]
    assert stage["lost_calls"] == true["lost_calls"]
    assert stage["tool_errors"].get("lost", 0) == true["lost_calls"]["lost"]
    assert stage["finish_reasons"] == true["finish_reasons"]
    assert (jobs["started"], jobs["finished"], jobs["outcomes"]) == (
        true["started"],
        true["finished"],
        true["outcomes"],
    )
    assert achieved["in_flight_mean"] == pytest.approx(true["in_flight_mean"])
    assert achieved["in_flight_max"] == true["in_flight_max"]
    assert achieved["agents_alive_mean"] == pytest.approx(true["taking_part"])
    for name, values in true["latency"].items():
        assert known(stage["latency"][name]) == pytest.approx(known(stats(values)), **NEARLY), name
    for row, agent in zip(stage["per_agent"], true["agents"], strict=True):
        assert known({key: row[key] for key in agent}) == pytest.approx(known(agent))
    due = reasons(run, told, true)
    given = {finding["code"] for finding in stage["findings"] if finding["kind"] == "invalid"}
    assert {key for key, is_due in due.items() if is_due} <= given, stage["invalid_reasons"]
    assert given <= {key for key, is_due in due.items() if is_due is not False}, stage["invalid_reasons"]
    assert stage["valid"] == (not given)
