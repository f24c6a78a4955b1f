"""The shipped scenarios set up what their page says of them; that each loads is tested with the loading."""

from pathlib import Path

import pytest

from swarm.engine.workloads.sessions import planned
from swarm.engine.workloads.tasks import tasks_of
from swarm.scenario.load import load_scenario

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted(ROOT.glob("scenarios/*.yaml")), ids=lambda path: path.stem)
def test_every_one_can_be_run_from_anywhere(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert tasks_of(load_scenario(path))


def test_the_targets_of_the_storm_differ_in_the_tokens_of_a_step_alone():
    big, small = (target.simulate for target in load_scenario(ROOT / "scenarios/prefill-storm.yaml").targets)
    assert big.profile == small.profile
    assert big.overrides() | {"max_num_batched_tokens": 512} == small.overrides()


@pytest.mark.parametrize("path", sorted(ROOT.glob("scenarios/*.yaml")), ids=lambda path: path.stem)
def test_no_job_of_a_session_is_cut_off_by_the_context(path):
    scenario = load_scenario(path)
    if not scenario.agents.session:
        pytest.skip("its agents have no sessions")
    for session in planned(scenario):
        for step in session.steps:
            assert step.prompt_tokens + step.reply_tokens <= scenario.agents.context


def test_the_targets_of_the_cliff_differ_in_their_cache_alone():
    roomy, tight = (target.simulate for target in load_scenario(ROOT / "scenarios/context-cliff.yaml").targets)
    assert roomy.profile == tight.profile
    assert (roomy.overrides(), tight.overrides()) == ({}, {"kv_tokens": 60_000})
