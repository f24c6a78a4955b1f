"""The cross-validation of docs/simulator.md: fitted on one and two at a time, the model predicts three to eight."""

import sys
from pathlib import Path
from statistics import fmean

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
pytest.importorskip("scipy")

from published_runs import PROFILES, replay

from bench import validate_simulator
from swarm.simulator.profiles import profiles
from swarm.simulator.profiles.fitting import Bounds, fit


def test_the_closed_form_gives_the_walls_of_the_engine():
    for file in ("swarm-moe-tp1.csv", "swarm-dense-tp1.csv"):
        engine = [task.predicted_s for task in replay(file)]
        closed = [
            wall
            for batch in validate_simulator.batches(file)
            for wall in validate_simulator.walls(profiles.load(PROFILES[file]), batch.tokens)
        ]
        assert closed == pytest.approx(engine, rel=2e-3)


def test_levels_that_were_not_fitted_on_are_predicted_within_two_percent():
    every = [batch for file in PROFILES for batch in validate_simulator.batches(file)]
    values, by_level = validate_simulator.cross_validate(every)
    assert sorted(by_level) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {level: fmean(map(abs, errors)) <= 0.02 for level, errors in by_level.items()} == dict.fromkeys(
        by_level, True
    )
    assert values["eta_weights"] == pytest.approx(0.878, abs=0.02)
    assert values["moe.layer_overhead_us"] == pytest.approx(56.6, abs=6)


def test_a_fit_finds_a_line_and_its_intervals_hold_the_truth():
    noise = (0.02, -0.01, 0.015, -0.02, 0.005, -0.01)
    data = [(x, 3.0 * x + 2.0 + e) for x, e in enumerate(noise)]
    found = fit(
        {"slope": Bounds(1, 0, 10), "offset": Bounds(1, 0, 10)},
        lambda v: [v["slope"] * x + v["offset"] - y for x, y in data],
    )
    assert found["slope"].low < 3 < found["slope"].high
    assert found["offset"].low < 2 < found["offset"].high
    assert found["slope"].half_width < 0.02
    assert not found["slope"].at_bound


def test_what_the_data_say_nothing_about_has_an_infinite_interval():
    found = fit(
        {"slope": Bounds(1, 0, 10), "idle": Bounds(1, 0, 10)},
        lambda v: [v["slope"] * x - 3 * x for x in range(1, 6)],
    )
    assert found["slope"].value == pytest.approx(3)
    assert found["idle"].half_width == float("inf")


def test_two_parameters_that_only_appear_as_a_sum_are_both_unknown():
    found = fit(
        {"a": Bounds(1, 0, 10), "b": Bounds(1, 0, 10)},
        lambda v: [(v["a"] + v["b"]) * x - 3 * x + 0.01 * (-1) ** x for x in range(1, 8)],
    )
    assert {name: fitted.half_width for name, fitted in found.items()} == {"a": float("inf"), "b": float("inf")}


def test_a_value_that_the_data_want_beyond_its_bound_is_said_to_be_at_it():
    found = fit({"share": Bounds(0.5, 0.1, 1)}, lambda v: [v["share"] - 1.5, v["share"] - 1.6])
    assert found["share"].at_bound
    assert found["share"].value == pytest.approx(1)


def test_fewer_observations_than_parameters_are_refused():
    with pytest.raises(ValueError, match="1 observations cannot tell 1 parameters"):
        fit({"a": Bounds(1, 0, 10)}, lambda v: [v["a"]])
