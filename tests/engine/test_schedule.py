import pytest

from swarm.engine.schedule import load_summary, schedule
from swarm.scenario.schema import Scenario


@pytest.fixture
def scenario():
    targets = [
        {"name": "moe", "architecture": "moe", "api_base": "http://127.0.0.1:1/v1"},
        {"name": "dense", "architecture": "dense", "api_base": "http://127.0.0.1:2/v1"},
    ]
    return Scenario.model_validate(
        {
            "targets": targets,
            "agents": {"levels": [4, 1]},
            "stage": {"trials": 2, "warmup": "2s", "duration": "12s"},
        }
    )


def test_targets_alternate_at_each_level_of_each_trial(scenario):
    order = [(stage.trial, stage.agents, stage.target) for stage in schedule(scenario, "run")]
    assert order == [(trial, level, name) for trial in (1, 2) for level in (1, 4) for name in ("moe", "dense")]


def test_every_stage_of_every_run_has_a_salt_of_its_own_and_of_one_length(scenario):
    salts = [stage.salt for run in ("monday", "tuesday") for stage in schedule(scenario, run)]
    assert len(set(salts)) == len(salts) == 16
    assert {len(salt) for salt in salts} == {16}


def test_the_load_is_as_long_as_its_stages(scenario):
    assert load_summary(scenario) == "scenario: 8 stages, 1.9 min of load in all"
