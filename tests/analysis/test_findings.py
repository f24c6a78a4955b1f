"""Reasons and notes carry codes beside their texts, for programs to go by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from synthetic import Run
from test_validity import (
    broken_off,
    client,
    counters,
    dead_agent,
    failures,
    frozen,
    lost_calls,
    no_usage,
    off_script,
    overloaded,
    restarted,
    slow_tools,
    stalled,
    too_short,
)

from swarm.results import Code

METRICS_PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
Analysed = Callable[[Run], dict[str, Any]]

CODES: list[tuple[Callable[[], Run], Code]] = [
    (lambda: dead_agent(4), "agents_died"),
    (lambda: client(cpu_ns=930_000_000), "load_generator_late"),
    (lambda: frozen((2.0, 6.5, 0)), "load_generator_froze"),
    (lambda: lost_calls(1, "tool_calls"), "tool_calls_lost"),
    (lambda: slow_tools(0.2, 5), "tools_late"),
    (failures, "requests_failed"),
    (off_script, "reply_lengths_off"),
    (no_usage, "usage_missing"),
    (lambda: counters(prompt_tokens=10_000, completion_tokens=102), "token_counts_disagree"),
    (stalled, "server_silent"),
    (lambda: overloaded(0.0125), "simulator_late"),
    (restarted, "server_restarted"),
    (too_short, "too_few_turns"),
    (broken_off, "broke_off"),
]


@pytest.mark.parametrize(("make", "code"), CODES, ids=[code for _, code in CODES])
def test_an_invalid_stage_says_why_in_a_code_and_in_the_same_text(
    only_stage: Analysed, make: Callable[[], Run], code: Code
) -> None:
    stage = only_stage(make())
    invalid = [one for one in stage["findings"] if one["kind"] == "invalid"]
    assert [(one["code"], one["text"]) for one in invalid] == [(code, stage["invalid_reasons"][0])]
    assert [one["text"] for one in stage["findings"] if one["kind"] == "note"] == stage["notes"]


def test_with_several_trials_a_finding_names_its_trial(analysed: Analysed) -> None:
    run = Run(trials=2)
    for trial, errors in ((1, 0), (2, 3)):
        stage = run.stage(trial=trial)
        stage.work(until=10.0)
        for second in range(errors):
            stage.attempt(second + 0.1, error="timeout")
        stage.end()
    (stage_results,) = analysed(run)["targets"][0]["stages"]
    (reason,) = stage_results["invalid_reasons"]
    (found,) = (one for one in stage_results["findings"] if one["kind"] == "invalid")
    assert (found["code"], found["trial"], f"trial 2: {found['text']}") == ("requests_failed", 2, reason)


def test_the_docs_list_every_code() -> None:
    told = METRICS_PAGE.read_text(encoding="utf-8")
    assert [code for code in get_args(Code) if f"`{code}`" not in told] == []
