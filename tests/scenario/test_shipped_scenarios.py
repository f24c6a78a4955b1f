"""The shipped scenarios set up what their page says of them; that each loads is tested with the loading."""

from pathlib import Path

import pytest

from swarm.engine.dry_run import tasks_of
from swarm.scenario.load import load_scenario

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted(ROOT.glob("scenarios/*.yaml")), ids=lambda path: path.stem)
def test_every_one_can_be_run_from_anywhere(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert tasks_of(load_scenario(path))


def test_the_storm_of_prompts_has_jobs_that_read_and_jobs_that_write():
    tasks = {task.name: task for task in tasks_of(load_scenario(ROOT / "scenarios/prefill-storm.yaml"))}
    longest = {name: max(turn.reply_tokens.max for turn in task.turns) for name, task in tasks.items()}
    assert longest == {"digest/build-log": 80, "write/handbook": 800}


def test_the_targets_of_the_cliff_differ_in_their_cache_alone():
    roomy, tight = (target.simulate for target in load_scenario(ROOT / "scenarios/context-cliff.yaml").targets)
    assert roomy.profile == tight.profile
    assert (roomy.overrides(), tight.overrides()) == ({}, {"kv_tokens": 20_000})
