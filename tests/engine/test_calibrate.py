"""Calibration finds the machine behind a run: here one whose parameters are known, because the run was simulated."""

import json
import sys

import pytest
import yaml
from typer.testing import CliRunner

from swarm.cli import app
from swarm.commands.calibrate import calibrate, entry, observe
from swarm.commands.observed_steps import Stretch
from swarm.commands.predict import predict_scenario
from swarm.errors import UsageError
from swarm.scenario.load import load_scenario
from swarm.simulator.engine.cost import CostModel
from swarm.simulator.profiles import profiles

MOE, DENSE = "moe-30b-a3b-awq-2x3090-nvlink", "dense-32b-awq-2x3090-nvlink"
TRUTH = {
    MOE: {
        "layer_overhead_us": 50.0,
        "eta_experts": 0.6,
        "eta_kv": 0.45,
        "eta_flops_experts": 0.4,
        "api_overhead_s": 0.03,
    },
    DENSE: {
        "eta_weights": 0.7,
        "eta_lm_head_single": 0.7,
        "eta_kv": 0.5,
        "eta_flops_dense": 0.7,
        "api_overhead_s": 0.03,
    },
}


def measured(folder, name, levels=(1, 2, 4, 8), **stage):
    """A run on a machine that is not quite the one of the profile."""
    folder.mkdir(exist_ok=True)
    truth = folder / "truth.json"
    truth.write_text(json.dumps(entry(profiles.load(name)) | TRUTH[name] | {"name": "truth"}))
    file = folder / "run.yaml"
    settings = {
        "targets": [{"name": "it", "architecture": profiles.load(name).architecture, "simulate": str(truth)}],
        "agents": {"levels": list(levels)},
        "tasks": ["lru-cache", "merge-sort"],
        "stage": {"warmup": "10s", "duration": "180s", "trials": 1} | stage,
    }
    file.write_text(yaml.safe_dump(settings))
    return predict_scenario(load_scenario(file), folder / "run", None).directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    return {name: measured(folder / name, name) for name in TRUTH}


def test_stretches_are_steps_of_the_engine(runs):
    cost = CostModel(profiles.load(MOE, **TRUTH[MOE]))
    stretches, prefills = observe(runs[MOE], "it")
    assert {stretch.decodes for stretch in stretches} >= {1, 2, 3, 4, 5}
    for stretch in stretches:
        assert stretch.seconds == pytest.approx(cost.terms(stretch.decodes, stretch.context).total, rel=2e-3)
    assert {prefill.level for prefill in prefills} >= {1, 2}
    assert all(prefill.cold > 0 for prefill in prefills)


@pytest.mark.parametrize("name", TRUTH)
def test_the_parameters_of_the_machine_are_found_from_another_profile(runs, name):
    pytest.importorskip("scipy")
    found = calibrate(runs[name], name, None)
    fitted = {key: one.value for key, one in found.fitted.items()}
    assert fitted == pytest.approx({key: TRUTH[name][key] for key in fitted}, rel=0.03)
    assert set(found.held_out) == {1, 2, 4, 8}
    assert all(error < 0.01 for error in found.held_out.values() if error is not None)
    assert found.profile.provenance.startswith("calibrated from run, started 2")
    assert "eta_kv" in found.profile.note


def test_what_was_calibrated_on_few_agents_predicts_many(runs, tmp_path):
    pytest.importorskip("scipy")
    home = tmp_path / "few"
    few = measured(home, MOE, levels=(1, 2, 4))
    calibrated = tmp_path / "calibrated.json"
    calibrated.write_text(json.dumps(entry(calibrate(few, MOE, None).profile)))
    cost = CostModel(profiles.load(str(calibrated)))
    for stretch in (one for one in observe(runs[MOE], "it")[0] if one.decodes > 4):
        assert cost.terms(stretch.decodes, stretch.context).total == pytest.approx(stretch.seconds, rel=0.02)


def test_a_run_of_one_agent_cannot_tell_the_experts_and_the_stages_to_add_are_named(tmp_path):
    pytest.importorskip("scipy")
    alone = measured(tmp_path / "alone", MOE, levels=[1])
    with pytest.raises(
        UsageError, match=r"eta_experts: .*; add stages of more agents, such as agents.levels: \[1, 2, 4, 8\]"
    ):
        calibrate(alone, MOE, None)


def test_a_run_that_is_too_short_is_refused(tmp_path):
    short = measured(tmp_path / "short", MOE, levels=[1], duration="5s")
    with pytest.raises(UsageError, match="stretches of steady decoding of it, and 20 are needed"):
        calibrate(short, MOE, None)


def test_another_machine_altogether_is_refused(runs):
    pytest.importorskip("scipy")
    with pytest.raises(UsageError, match=r"eta_weights .* beyond what is possible"):
        calibrate(runs[DENSE], "dense-32b-awq-1x3090", None)


def test_an_unknown_target_and_an_unknown_profile_are_refused(runs):
    with pytest.raises(UsageError, match="--target that: no such target; the run has it"):
        calibrate(runs[MOE], MOE, "that")
    with pytest.raises(UsageError, match="--profile: name the profile to start from"):
        calibrate(runs[MOE], None, None)  # it ran a file's profile


def test_without_scipy_it_says_how_to_install_it(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UsageError, match=r"pip install 'swarm-load\[fit\]'"):
        calibrate(runs[MOE], MOE, None)


def test_a_stretch_ends_where_a_request_joins_so_that_its_number_is_exact(runs):
    stretches, _ = observe(runs[MOE], "it")
    assert all(isinstance(stretch, Stretch) and stretch.decodes <= stretch.level for stretch in stretches)


def test_the_command_writes_a_profile_that_can_be_predicted_with_and_a_plot(runs, tmp_path):
    pytest.importorskip("scipy")
    out = tmp_path / "mine.json"
    command = ["calibrate", str(runs[MOE]), "--profile", MOE, "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "eta_experts" in done.stdout
    assert profiles.load(str(out)).eta_experts == pytest.approx(0.6, rel=0.01)
    assert out.with_suffix(".svg").read_text().startswith("<svg")
    assert "exists already" in str(CliRunner().invoke(app, command).exception)
