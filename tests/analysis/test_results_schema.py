"""The published schema fits what is written, and nothing else."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from synthetic import Run

from swarm.analysis.schema import made_schema, results_schema

Analysed = Callable[[Run], dict[str, Any]]
VALIDATOR = Draft202012Validator(results_schema())


def healthy() -> Run:
    run = Run(
        targets={"moe": "moe", "dense": "dense"},
        levels=[1, 2],
        trials=2,
        thresholds=["*.agents=2.error_adjusted.e2e_s.p99 < 1", "moe.agents=9.retention > 0"],
    )
    for trial in (1, 2):
        for agents in (1, 2):
            for target in run.targets:
                run.healthy(target, agents, trial).server(1.0, running=1.0)
    return run


def failing() -> Run:
    run = Run()
    stage = run.stage()
    stage.work(until=3.0)
    stage.failed(4.0, 5.0)
    stage.job(4.0, 5.0, outcome="error")
    stage.end()
    return run


def nothing_at_all() -> Run:
    return Run(levels=[1, 4])


def uncounted() -> Run:
    run = Run()
    stage = run.stage()
    stage.attempt(1.0, tokens=None, prompt_tokens=None, cached_tokens=None)
    return run


@pytest.mark.parametrize("make", [healthy, failing, nothing_at_all, uncounted])
def test_the_schema_fits_every_kind_of_run(analysed: Analysed, make: Callable[[], Run]) -> None:
    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(analysed(make()))] == []


def test_the_published_schema_is_the_one_that_the_results_and_the_catalogue_make() -> None:
    assert made_schema() == results_schema(), "run `python -m swarm.analysis.schema`"


def test_the_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(results_schema())


def change(results: dict[str, Any], path: list[Any], value: Any) -> dict[str, Any]:
    """A copy with one value set, or (`...`) one key removed."""
    changed = copy.deepcopy(results)
    place = changed
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


STAGE = ["targets", 0, "stages", 0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["verdict"], "maybe"),
        (["unknown"], 1),
        (["comparison"], ...),
        (["targets", 0, "architecture"], "sparse"),
        ([*STAGE, "unknown"], 1),
        ([*STAGE, "retention"], ...),
        ([*STAGE, "trials_detail"], ...),
        ([*STAGE, "status"], "done"),
        ([*STAGE, "latency", "ttft_s", "p50"], "fast"),
        ([*STAGE, "latency", "ttft_s", "p97"], 1.0),
        ([*STAGE, "latency", "x_s"], None),
        ([*STAGE, "error_adjusted", "e2e_s", "p99"], "infinite"),
        ([*STAGE, "fairness_jain"], 1.5),
        ([*STAGE, "jobs", "finished"], 1.5),
        ([*STAGE, "jobs", "outcomes", "won"], 1),
        ([*STAGE, "errors", "unlucky"], 1),
        ([*STAGE, "client", "stamp_source"], "guess"),
        ([*STAGE, "throughput", "output_tokens_per_s_ci95"], [1.0]),
        ([*STAGE, "attribution"], {"decode": 1.0}),
        ([*STAGE, "trials_detail", 0, "trial"], ...),
        ([*STAGE, "trials_detail", 0, "trials_detail"], []),
    ],
)
def test_the_schema_refuses_what_the_results_do_not_say(analysed: Analysed, path: list[Any], value: Any) -> None:
    results = analysed(failing())
    assert VALIDATOR.is_valid(results)
    assert not VALIDATOR.is_valid(change(results, path, value))


def test_the_schema_is_ready_for_intervals_and_attribution(analysed: Analysed) -> None:
    results = analysed(failing())
    shares = dict.fromkeys(("prefill", "cache", "queue", "preemption", "tools", "client", "unknown"), 0.0)
    later = change(results, [*STAGE, "attribution"], {"decode": 1.0, **shares})
    assert VALIDATOR.is_valid(change(later, [*STAGE, "throughput", "output_tokens_per_s_ci95"], [1.0, 2.0]))
