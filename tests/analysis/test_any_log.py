"""Analysis is total: whatever the recorder can write becomes results, a page, and all other reports."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from any_log import any_run
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from nonsense import DEPTH
from synthetic import Run
from typer.testing import CliRunner

from swarm.analysis.schema import results_schema
from swarm.cli import app
from swarm.errors import UsageError

SCHEMA = Draft202012Validator(results_schema())


def reported(run: Run, folder: Path) -> dict[str, Any]:
    """The results of a run that went through every report; each must exit as a verdict does."""
    directory = run.write(folder / "run")
    files = [part for name in ("svg", "openmetrics", "junit", "html") for part in (f"--{name}", str(folder / name))]
    for arguments in (
        ["report", directory, *files],
        ["report", directory, "--json"],
        ["report", directory, "--markdown"],
        ["check", directory, "--baseline", directory],
        ["history", folder, "--add", directory],
    ):
        assert exit_code(arguments) in (0, 3, 4)
    assert (directory / "report.html").stat().st_size > 0
    results = json.loads((directory / "results.json").read_text(), parse_constant=pytest.fail)
    SCHEMA.validate(results)
    return results


def exit_code(arguments: list[Any]) -> int:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code


@settings(
    max_examples=3 * DEPTH,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # there is nothing to shrink in a seed
    suppress_health_check=[HealthCheck.too_slow],
)
@given(chance=st.randoms(use_true_random=True))
def test_any_log_that_the_recorder_can_write_gives_results_and_all_reports(tmp_path_factory, chance: Random) -> None:
    folder = tmp_path_factory.mktemp("any")
    reported(any_run(chance), folder)
    other = any_run(chance).write(folder / "other")
    try:
        assert exit_code(["compare", folder / "run", other]) in (0, 3)
    except UsageError as error:
        assert "in common" in str(error)  # noqa: PT017


def one_chunk(run: Run) -> None:
    for agents in (1, 2):
        stage = run.stage(agents=agents)
        for agent in range(agents):
            for number in range(10):
                stage.attempt(number, agent=agent, waits=[0.5], task="lru-cache")
                stage.turn(number, number + 0.9, agent=agent)
        stage.end()


def no_window(run: Run) -> None:
    run.stage(window_s=0).end()


def as_many_tokens_as_no_reply_has(run: Run) -> None:
    stage = run.stage()
    stage.attempt(0, tokens=10**12, chunks=None)
    stage.end()


def soak_killed_in_the_warm_up_of_its_second_part(run: Run) -> None:
    run.more["soak"] = {"pattern": "steady", "window": "1s"}
    for until_s in (10, -1, 10):
        stage = run.stage()
        for second in range(until_s):
            stage.attempt(second)
        stage.watch(until_s)


@pytest.mark.parametrize(
    "kind", [one_chunk, no_window, as_many_tokens_as_no_reply_has, soak_killed_in_the_warm_up_of_its_second_part]
)
def test_a_run_of_an_odd_kind_gives_results_and_all_reports(tmp_path: Path, kind: Callable[[Run], None]) -> None:
    run = Run(levels=[1, 2])
    kind(run)
    reported(run, tmp_path)


def test_replies_of_one_chunk_are_compared_with_those_of_one_agent(tmp_path: Path) -> None:
    run = Run(levels=[1, 2])
    one_chunk(run)
    alone, two = reported(run, tmp_path)["targets"][0]["stages"]
    assert alone["valid"]
    assert two["valid"]
    assert two["throughput"]["output_tokens_per_s"] == 2 * alone["throughput"]["output_tokens_per_s"]
    assert two["latency"]["ttft_s"]["p50"] == pytest.approx(0.5, rel=1e-3)
    assert two["latency"]["itl_s"]["count"] == 0


def test_of_a_soak_that_was_killed_in_a_warm_up_the_windows_of_its_other_parts_count_whole(tmp_path: Path) -> None:
    run = Run()
    soak_killed_in_the_warm_up_of_its_second_part(run)
    results = reported(run, tmp_path)
    assert [round(part["measured_s"], 3) for part in results["soak"]["parts"]] == [10, 0, 10]
    assert results["targets"][0]["stages"][0]["window_s"] == pytest.approx(20, abs=0.01)
