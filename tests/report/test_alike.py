"""Reasons and notes that hold for several stages are told once."""

from typing import Any

from as_json import objects

from swarm.report.table import notes, reasons
from swarm.results import Finding, stage_name

Found = tuple[str, int, Finding]
STALLED = Finding(kind="invalid", code="server_silent", text="the server fell silent")


def few(turns: float) -> Finding:
    return Finding(kind="invalid", code="too_few_turns", text=f"too few turns: {turns} ended in the window")


def overran(calls: int) -> Finding:
    return Finding(kind="note", code="tools_overran", text=f"{calls} tool calls took longer")


def results(*found: Found, counts: tuple[Found, ...] | None = None) -> Any:
    """`counts`: those that make the run invalid."""
    invalid = [
        f"{stage_name(target, agents)}: {one.sentence()}"
        for target, agents, one in (found if counts is None else counts)
        if one.kind == "invalid"
    ]
    targets: dict[str, dict[int, list[Finding]]] = {}
    for target, agents, one in found:
        targets.setdefault(target, {}).setdefault(agents, []).append(one)
    document = {
        "invalid_reasons": invalid,
        "notes": ["a line is torn"],
        "targets": [
            {"name": target, "stages": [{"agents": agents, "findings": each} for agents, each in stages.items()]}
            for target, stages in targets.items()
        ],
    }
    return objects(document)


def test_a_reason_of_one_stage_stands_behind_it() -> None:
    assert reasons(results(("moe", 4, STALLED))) == ["moe with 4 agents: the server fell silent"]


def test_one_reason_with_other_numbers_at_several_stages_is_told_with_those_of_the_first() -> None:
    assert reasons(results(("moe", 4, few(12)), ("moe", 4, STALLED), ("moe", 8, few(7.5)))) == [
        "moe with 4 agents, moe with 8 agents: too few turns: 12 ended in the window "
        "(values from the first stage listed)",
        "moe with 4 agents: the server fell silent",
    ]


def test_each_target_has_its_own_numbers_and_what_is_the_same_for_all_is_told_once() -> None:
    assert reasons(results(("moe", 4, few(12)), ("moe", 4, STALLED), ("dense", 4, few(7)), ("dense", 8, STALLED))) == [
        "moe with 4 agents: too few turns: 12 ended in the window",
        "moe with 4 agents, dense with 8 agents: the server fell silent",
        "dense with 4 agents: too few turns: 7 ended in the window",
    ]


def test_the_same_reason_of_several_trials_names_its_stage_once() -> None:
    each = [
        ("moe", 4, Finding(kind="invalid", code="server_silent", text="the server fell silent", trial=trial))
        for trial in (1, 2, 3)
    ]
    assert reasons(results(*each)) == ["moe with 4 agents: the server fell silent"]


def test_a_stage_that_a_search_does_not_mind_is_not_told() -> None:
    assert reasons(results(("moe", 4, STALLED), ("moe", 8, few(3)), counts=(("moe", 8, few(3)),))) == [
        "moe with 8 agents: too few turns: 3 ended in the window"
    ]


def test_notes_name_the_stages_that_they_hold_for() -> None:
    truncated = Finding(kind="note", code="truncated", text="truncated")
    found = results(("moe", 1, overran(3)), ("moe", 4, overran(9)), ("moe", 4, truncated), ("moe", 8, truncated))
    assert notes(found) == [
        "a line is torn",
        "3 tool calls took longer (values from the first stage listed) (moe at 1, moe at 4)",
        "truncated (moe at 4, moe at 8)",
    ]
