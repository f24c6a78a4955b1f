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
        "dense at 8: slower mostly because of queueing 62%, cache misses 21%, decode 17%."
    ]


def test_without_a_majority_nothing_is_mostly_so_and_small_causes_are_left_out() -> None:
    shares = {"prefill": 0.47, "decode": 0.45, "client": 0.03, "unknown": 0.05}
    assert why(results(stage(8, **shares))) == [
        "dense at 8: slower because of prefill interference 47%, decode 45%, what the server does not tell 5%."
    ]


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert why(results(stage(1), stage(8))) == []
