"""Why agents got slower, in a line."""

from typing import Any

from as_json import objects

from swarm.analysis.summary import why


def results(*stages: dict[str, Any]) -> Any:
    return objects({"targets": [{"name": "dense", "stages": list(stages)}]})


def stage(agents: int, valid: bool = True, **shares: float) -> dict[str, Any]:
    return {"agents": agents, "valid": valid, "attribution": shares or None}


def test_the_highest_valid_level_is_explained_the_largest_cause_first() -> None:
    four = stage(4, decode=1.0)
    eight = stage(8, decode=0.17, queue=0.62, cache=0.21, tools=0.0)
    sixteen = stage(16, valid=False, tools=1.0)
    assert why(results(stage(1), four, eight, sixteen)) == [
        "Why dense slows down at 8 agents: 62% queueing, 21% prefix-cache misses, 17% slower token generation."
    ]


def test_small_causes_are_left_out() -> None:
    shares = {"prefill": 0.47, "decode": 0.45, "client": 0.03, "unknown": 0.05}
    assert why(results(stage(8, **shares))) == [
        "Why dense slows down at 8 agents: 47% waiting while other agents' prompts are processed, 45% slower token "
        "generation, 5% unexplained, as the server does not report it."
    ]


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert why(results(stage(1), stage(8))) == []
