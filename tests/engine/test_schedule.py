import pytest

from swarm.engine.schedule import load_summary, schedule
from swarm.scenario.schema import Scenario, Until


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


def test_targets_follow_each_other_at_each_level_of_each_trial_and_take_turns_to_begin(scenario):
    order = [(stage.trial, stage.agents, stage.target) for stage in schedule(scenario, "run")]
    pairs = [order[place : place + 2] for place in range(0, 8, 2)]
    assert all(first[:2] == second[:2] for first, second in pairs)
    assert {(first[:2], first[2], second[2]) for first, second in pairs} == {
        ((1, 1), "moe", "dense"),
        ((1, 4), "dense", "moe"),
        ((2, 1), "dense", "moe"),
        ((2, 4), "moe", "dense"),
    }


def levels(scenario, seed, targets=("moe", "dense")):
    """The levels in the order of each of 20 trials."""
    settings = scenario.stage.model_copy(update={"trials": 20})
    agents = scenario.agents.model_copy(update={"seed": seed, "levels": [1, 2, 4, 8]})
    changed = scenario.model_copy(update={"agents": agents, "stage": settings}).only(list(targets))
    return [stage.agents for stage in schedule(changed, "run") if stage.target == targets[0]]


def test_the_order_of_the_levels_is_the_seeds_and_differs_from_trial_to_trial(scenario):
    order = levels(scenario, seed=7)
    trials = [tuple(order[place : place + 4]) for place in range(0, 80, 4)]
    assert all(sorted(trial) == [1, 2, 4, 8] for trial in trials)
    assert len(set(trials)) > 5
    assert {trial[0] for trial in trials} == {1, 2, 4, 8}
    assert levels(scenario, seed=7) == order
    assert levels(scenario, seed=8) != order


def test_a_run_of_one_target_has_the_levels_in_the_order_of_a_run_of_both(scenario):
    assert levels(scenario, seed=7, targets=["dense"]) == levels(scenario, seed=7)


def test_jobs_come_in_one_order_at_every_level_and_target_of_a_trial_and_in_another_in_the_next(scenario):
    orders = {(stage.trial, stage.order) for stage in schedule(scenario, "run")}
    assert len(orders) == len({order for _, order in orders}) == 2


def test_every_stage_of_every_run_has_a_salt_of_its_own_and_of_one_length(scenario):
    salts = [stage.salt for run in ("monday", "tuesday") for stage in schedule(scenario, run)]
    assert len(set(salts)) == len(salts) == 16
    assert {len(salt) for salt in salts} == {16}


def test_the_load_is_as_long_as_its_stages(scenario):
    assert load_summary(scenario) == "scenario: 8 stages, 1.9 min of load in total"


def test_a_window_that_may_end_early_makes_the_load_at_most_as_long(scenario):
    until = Until(metric="output_tokens_per_s", max="58s")
    changed = scenario.model_copy(update={"stage": scenario.stage.model_copy(update={"until": until})})
    assert load_summary(changed) == "scenario: 8 stages, at most 8.0 min of load in total"
