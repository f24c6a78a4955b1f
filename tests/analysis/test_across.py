"""Runs side by side: what is paired with what, and what differs in their configuration."""

import json
from pathlib import Path

import pytest
import yaml
from as_json import compare_runs
from synthetic import Run

from swarm.analysis.compare.config_diff import ABSENT, differences, leaves
from swarm.errors import UsageError


def row(compared, metric, agents=1, **which):
    (found,) = (
        one
        for one in compared["comparison"]
        if one["metric"] == metric and one["agents"] == agents and which.items() <= one.items()
    )
    return found


def write(directory: Path, *, slower=(1.0, 1.0, 1.0), targets=("moe",), levels=(1,), architecture="moe") -> Path:
    """A healthy run, a trial for each of `slower`: 20 tok/s of each agent, divided by it."""
    run = Run(targets=dict.fromkeys(targets, architecture), levels=list(levels), trials=len(slower))
    for trial, factor in enumerate(slower, 1):
        for level in levels:
            for target in targets:
                run.healthy(target, level, trial, slower=factor, window_s=12.0)
    return run.write(directory)


def change(directory: Path, file: str, **settings) -> None:
    path = directory / file
    text = path.read_text()
    value = (yaml.safe_load(text) if file.endswith("yaml") else json.loads(text)) | settings
    path.write_text(yaml.safe_dump(value) if file.endswith("yaml") else json.dumps(value))


def test_a_target_is_paired_with_its_namesake_level_by_level_and_trial_by_trial(tmp_path):
    before = write(tmp_path / "before", levels=(1, 2))
    after = write(tmp_path / "after", slower=(1.10, 1.11, 1.12), levels=(1, 2))
    compared = compare_runs([before, after])
    assert {(one["agents"], one["baseline"], one["candidate"]) for one in compared["comparison"]} == {
        (1, "moe (before)", "moe (after)"),
        (2, "moe (before)", "moe (after)"),
    }
    ttft = row(compared, "ttft_s.p50", agents=2)
    assert ttft["trials"] == 3
    assert ttft["ratio"] == pytest.approx(1.11, abs=0.002)
    assert ttft["ci95"][0] == pytest.approx(1.11 - 0.025, abs=0.003)
    assert ttft["significant"] is True


def test_noise_is_no_significant_difference(tmp_path):
    before = write(tmp_path / "before", slower=(1.0, 1.1, 1.05))
    after = write(tmp_path / "after", slower=(1.1, 1.0, 1.06))
    ttft = row(compare_runs([before, after]), "ttft_s.p50")
    assert ttft["ci95"][0] < 1 < ttft["ci95"][1]
    assert ttft["significant"] is False


def test_one_trial_gives_a_ratio_and_no_interval(tmp_path):
    compared = compare_runs([write(tmp_path / "a", slower=(1,)), write(tmp_path / "b", slower=(1.5,))])
    ttft = row(compared, "ttft_s.p50")
    assert (ttft["ratio"], ttft["ci95"], ttft["significant"]) == (pytest.approx(1.5, rel=0.002), None, None)


def test_an_invalid_stage_is_compared_with_nothing(tmp_path):
    good, bad = write(tmp_path / "good"), write(tmp_path / "bad", slower=(1, 1, 1))
    events = (bad / "events.jsonl").read_text().splitlines()
    (bad / "events.jsonl").write_text("\n".join(line for line in events if '"agent_end"' not in line) + "\n")
    found = row(compare_runs([good, bad]), "output_tokens_per_s")
    assert (found["valid"], found["ratio"], found["significant"]) == (False, None, None)
    assert found["baseline_value"] == pytest.approx(10)


def test_trials_of_a_prediction_give_no_confidence(tmp_path):
    before, after = write(tmp_path / "before"), write(tmp_path / "after", slower=(1.2, 1.2, 1.2))
    change(after, "environment.json", predicted=True)
    compared = compare_runs([before, after])
    found = row(compared, "ttft_s.p50")
    assert (found["ratio"], found["ci95"], found["significant"]) == (pytest.approx(1.2, rel=0.002), None, None)
    assert compared["differences"][0] == {"group": "run", "key": "predicted", "values": [False, True]}


def test_every_further_run_is_compared_with_the_first(tmp_path):
    runs = [write(tmp_path / name, slower=(factor,) * 3) for name, factor in (("a", 1), ("b", 1.2), ("c", 1.4))]
    compared = compare_runs(runs)
    assert row(compared, "ttft_s.p50", candidate_run="b")["ratio"] == pytest.approx(1.2, rel=0.002)
    assert row(compared, "ttft_s.p50", candidate_run="c")["ratio"] == pytest.approx(1.4, rel=0.002)
    assert {one["baseline_run"] for one in compared["comparison"]} == {"a"}


def test_models_that_ran_one_after_the_other_are_joined_with_the_dense_one_as_the_baseline(tmp_path):
    moe = write(tmp_path / "first", targets=("qwen-moe",))
    dense = write(tmp_path / "second", slower=(2, 2, 2), targets=("qwen-dense",), architecture="dense")
    compared = compare_runs([moe, dense])
    found = row(compared, "ttft_s.p50")
    assert (found["baseline"], found["candidate"]) == ("qwen-dense", "qwen-moe")
    assert found["ratio"] == pytest.approx(0.5, rel=0.002)
    assert {"group": "model", "key": "targets.architecture", "values": ["moe", "dense"]} in compared["differences"]


def test_what_only_one_of_the_runs_has_is_said(tmp_path):
    before = write(tmp_path / "before", targets=("moe", "other"), levels=(1, 2))
    after = write(tmp_path / "after")
    unpaired = compare_runs([before, after])["unpaired"]
    assert unpaired == ["other is only in before", "moe (before) with 2 agents: moe (after) was not run with as many"]


@pytest.mark.parametrize("second", [{"levels": (2,)}, {"targets": ("x", "y")}])
def test_runs_with_nothing_in_common_are_refused(tmp_path, second):
    with pytest.raises(UsageError, match="in common"):
        compare_runs([write(tmp_path / "a"), write(tmp_path / "b", **second)])


def test_a_run_is_not_compared_with_itself(tmp_path):
    run = write(tmp_path / "a")
    with pytest.raises(UsageError, match="two different run directories"):
        compare_runs([run, tmp_path / "b" / ".." / "a"])


def test_runs_of_one_scenario_are_configured_alike(tmp_path):
    assert compare_runs([write(tmp_path / "a"), write(tmp_path / "b", slower=(2, 2, 2))])["differences"] == []


def test_differences_are_listed_from_the_model_to_the_machine():
    before = {
        "machine.cores": 2,
        "versions.swarm": "1",
        "scenario.agents.seed": 7,
        "scenario.targets.moe.gpus": 1,
        "targets.moe.version": "0.17",
        "targets.moe.model": "m",
        "scenario.name": "x",
    }
    after = {
        "machine.cores": 4,
        "versions.swarm": "2",
        "scenario.agents.seed": 8,
        "scenario.targets.moe.gpus": 2,
        "targets.moe.version": "0.18",
        "targets.moe.model": "n",
        "scenario.name": "y",
    }
    found = [(one.group, one.key) for one in differences([before, after], joined=False)]
    assert found == [
        ("model", "targets.moe.model"),
        ("server", "targets.moe.version"),
        ("GPUs", "targets.moe.gpus"),
        ("versions", "versions.swarm"),
        ("scenario", "agents.seed"),
        ("machine", "machine.cores"),
    ]


def test_a_setting_that_only_one_run_has_is_a_difference():
    (found,) = differences([{}, {"scenario.agents.think": "1s"}], joined=False)
    assert found.values == (ABSENT, "1s")


def test_the_parameters_of_another_profile_and_the_port_of_a_simulated_server_are_no_differences_of_their_own():
    before = {"targets.moe.model": "m", "targets.moe.profile.layers": 1, "targets.moe.api_base": "http://127.0.0.1:1"}
    after = {"targets.moe.model": "n", "targets.moe.profile.layers": 2, "targets.moe.api_base": "http://127.0.0.1:2"}
    assert [one.key for one in differences([before, after], joined=False)] == ["targets.moe.model"]


def test_the_profile_that_only_a_prediction_has_is_no_difference_of_its_own():
    measured = {"predicted": False, "targets.moe.model": "m"}
    predicted = {"predicted": True, "targets.moe.model": "m", "targets.moe.profile.layers": 1}
    assert [one.key for one in differences([measured, predicted], joined=False)] == ["predicted"]


def test_a_changed_parameter_of_the_same_profile_is_a_difference():
    before = {"targets.moe.model": "m", "targets.moe.profile.kv_tokens": 1000}
    after = {"targets.moe.model": "m", "targets.moe.profile.kv_tokens": 2000}
    assert [one.key for one in differences([before, after], joined=False)] == ["targets.moe.profile.kv_tokens"]


def test_leaves_of_a_list_go_by_their_names():
    nested = {"targets": [{"name": "moe", "gpus": 1}], "levels": [1, 4], "faults": [{"kind": "cut"}]}
    assert dict(leaves(nested)) == {
        "targets.moe.name": "moe",
        "targets.moe.gpus": 1,
        "levels": [1, 4],
        "faults.0.kind": "cut",
    }
