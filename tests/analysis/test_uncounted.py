"""What the server did not count is null, and not 0."""

from collections.abc import Callable
from typing import Any

from synthetic import Run


def test_a_stage_whose_tokens_were_not_counted_has_no_rates(only_stage: Callable[[Run], dict[str, Any]]) -> None:
    run = Run()
    stage = run.stage()
    stage.work(tokens=None, prompt_tokens=None)
    stage.attempt(9.95, waits=[], end=10.0, tokens=None, aborted=True)  # in flight at the end, with nothing yet
    stage.end(counters=None)
    found = only_stage(run)
    assert found["throughput"]["output_tokens_per_s"] is None
    assert found["tokens"]["completion"] is None
    assert [agent["output_tokens_per_s"] for agent in found["per_agent"]] == [None]


def test_one_counted_request_is_enough_for_a_rate(only_stage: Callable[[Run], dict[str, Any]]) -> None:
    run = Run()
    stage = run.stage()
    stage.work(tokens=None, until=8.0)
    stage.attempt(9.0, tokens=10)
    stage.end(counters=None)
    assert only_stage(run)["tokens"]["completion"] == 10
