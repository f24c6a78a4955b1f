"""Reasons and notes that hold for several stages are said once."""

from typing import Any

from as_json import objects

from swarm.report.table import notes, reasons

FEW = "too few turns: {} ended in the window, and {} are needed (10 an agent); raise stage.duration"


def results(*invalid: str, stages: dict[int, list[str]] | None = None) -> Any:
    told = [{"agents": agents, "notes": notes} for agents, notes in (stages or {}).items()]
    return objects(
        {"invalid_reasons": list(invalid), "notes": ["a line is torn"], "targets": [{"name": "moe", "stages": told}]}
    )


def test_a_reason_of_one_stage_stands_behind_it() -> None:
    assert reasons(results("moe with 4 agents: the server was stalled")) == [
        "moe with 4 agents: the server was stalled"
    ]


def test_reasons_that_differ_in_their_numbers_are_one_with_the_numbers_of_the_first() -> None:
    found = reasons(
        results(
            f"moe with 4 agents: {FEW.format(12, 40)}",
            "moe with 4 agents: the server was stalled",
            f"dense with 8 agents: {FEW.format(7.5, 80)}",
        )
    )
    assert found == [
        f"moe with 4 agents, dense with 8 agents: {FEW.format(12, 40)} [numbers: the first]",
        "moe with 4 agents: the server was stalled",
    ]


def test_the_same_reason_of_several_trials_names_its_stage_once() -> None:
    each = [f"moe with 4 agents: trial {trial}: the server was stalled" for trial in (1, 2, 3)]
    assert reasons(results(*each)) == ["moe with 4 agents: the server was stalled"]


def test_notes_name_the_stages_that_they_hold_for() -> None:
    stages = {1: ["3 tool calls took longer"], 4: ["9 tool calls took longer", "truncated"], 8: ["truncated"]}
    assert notes(results(stages=stages)) == [
        "a line is torn",
        "3 tool calls took longer [numbers: the first] (moe at 1, moe at 4)",
        "truncated (moe at 4, moe at 8)",
    ]
