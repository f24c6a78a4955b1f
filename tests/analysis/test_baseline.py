"""`swarm check --baseline`: what a run may be held against."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from as_json import analyse
from synthetic import Run
from typer.testing import CliRunner

from swarm.cli import app
from swarm.recording import rundir


def made(directory: Path, *, slower: float = 1.0, trials: int = 2, predicted: bool = False) -> Path:
    run = Run(trials=trials, predicted=predicted)
    for trial in range(1, trials + 1):
        run.healthy(trial=trial, slower=slower)
    run.write(directory)
    rundir.write_results(directory, analyse(directory))
    return directory


def alone(directory: Path, place: Path, **changes: object) -> Path:
    """The run's `results.json` with nothing beside it; None takes a key out."""
    found = json.loads((directory / rundir.RESULTS).read_text()) | changes
    place.mkdir()
    path = place / rundir.RESULTS
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None or key != "load"}))
    return path


def check(run: Path, baseline: Path, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["check", str(run), "--baseline", str(baseline), *options])
    return done.exit_code, str(done.exception) if done.exception and done.exit_code == 1 else done.output


def test_two_trials_that_are_both_slower_fail_and_one_is_not_judged(tmp_path: Path) -> None:
    for trials in (2, 1):
        before = made(tmp_path / f"before-{trials}", trials=trials)
        after = made(tmp_path / f"after-{trials}", trials=trials, slower=1.3)
        found, said = check(after, before)
        assert found == 4, said
        assert ("one trial each is too few" in said) == (trials == 1)
        assert check(after, before, "--tolerance", "5%")[0] == 4


def invalid(run: Run) -> None:
    stage = run.stage()
    stage.work(until=5.0)
    stage.end()


UNCOMPARED: dict[str, tuple[Callable[[Run], object], str]] = {
    "one trial": (
        lambda run: run.healthy(),
        "one trial each is too few; run at least 2 of both, or pass --tolerance 5% (5 ",
    ),
    "another target": (
        lambda run: (run.targets.clear(), run.targets.update(new="moe"), run.healthy(target="new")),
        "the baseline has no such stage (5 numbers); the run has no such stage (1 number)",
    ),
    "another level": (
        lambda run: (run.levels.__setitem__(0, 2), run.healthy(agents=2)),
        "the baseline has no such stage (5 numbers); the run has no such stage (1 number)",
    ),
    "an invalid baseline": (invalid, "the baseline's stage is invalid (5 numbers)"),
}


@pytest.mark.parametrize(("build", "why"), UNCOMPARED.values(), ids=UNCOMPARED)
def test_a_baseline_with_which_nothing_could_be_compared_is_no_pass(
    tmp_path: Path, build: Callable[[Run], object], why: str
) -> None:
    after, other = made(tmp_path / "after", trials=1), Run()
    build(other)
    before = other.write(tmp_path / "before")
    rundir.write_results(before, analyse(before))
    load = json.loads((after / rundir.RESULTS).read_text())["load"]
    path = alone(before, tmp_path / "alone", load=load)
    code, said = check(after, path, "--summary")
    assert code == 4
    assert "comparison: nothing was compared with the baseline: " in said
    assert why in said
    assert "--allow-uncompared" in said
    code, said = check(after, path, "--allow-uncompared", "--summary")
    assert code == 0
    assert said.startswith("PASSED")
    assert "skipped (" in said


def test_what_was_compared_in_part_says_how_much_was_not(tmp_path: Path) -> None:
    before, after = made(tmp_path / "before"), made(tmp_path / "after")
    results = json.loads((before / rundir.RESULTS).read_text())
    for trial in results["targets"][0]["stages"][0]["trials_detail"]:
        trial["latency"]["ttft_s"]["p50"] = None
    results["targets"][0]["stages"][0]["latency"]["ttft_s"]["p50"] = None
    (before / rundir.RESULTS).write_text(json.dumps(results))
    code, said = check(after, before / rundir.RESULTS, "--summary")
    assert code == 0
    assert "1 of 5 baseline" in said


def test_an_invalid_run_is_invalid_whatever_it_is_compared_with(tmp_path: Path) -> None:
    run = Run()
    invalid(run)
    assert check(run.write(tmp_path / "after"), made(tmp_path / "before", trials=1))[0] == 3


@pytest.mark.parametrize("predicted", [True, False], ids=["against a prediction", "against a measurement"])
def test_a_prediction_and_a_measurement_are_not_held_against_each_other(tmp_path: Path, predicted: bool) -> None:
    before, after = made(tmp_path / "before", predicted=predicted), made(tmp_path / "after", predicted=not predicted)
    kinds = ("predicted", "measured") if predicted else ("measured", "predicted")
    _, said = check(after, before)
    assert f"before: was {kinds[0]}, and " in said
    assert f"after is {kinds[1]}; give a baseline of the same kind" in said


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ("0123456789abcdef", "was made under another load"),
        (None, "does not say under which load it was made; give its run directory"),
    ],
)
def test_lone_results_of_another_load_or_of_none_that_is_known_are_refused(
    tmp_path: Path, load: str | None, said: str
) -> None:
    before, after = made(tmp_path / "before"), made(tmp_path / "after")
    assert check(after, alone(before, tmp_path / "same"))[0] == 0
    assert said in check(after, alone(before, tmp_path / "other", load=load))[1]
