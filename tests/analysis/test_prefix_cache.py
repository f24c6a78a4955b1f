"""The prefix cache of a stage: each agent's share, what was possible, and a note where that is far apart."""

import pytest
from synthetic import Run, Stage


def grown(stage: Stage, cached: list[int], **fields) -> None:
    """One conversation whose prompts grow by 100 tokens a second."""
    for number, had in enumerate(cached):
        prompt = 1000 + 100 * number
        stage.attempt(number, prompt_tokens=prompt, cached_tokens=had, **fields)


def test_each_agent_has_its_cached_share(only_stage):
    run = Run(levels=[2])
    stage = run.stage(agents=2)
    grown(stage, [0, 1000, 1100])
    grown(stage, [0, 0, 550], agent=1)
    stage.end()
    rows = only_stage(run)["per_agent"]
    assert [row["prefix_cache_hit_rate"] for row in rows] == [pytest.approx(2100 / 3300), pytest.approx(550 / 3300)]


def test_a_share_that_no_server_tells_is_null(only_stage):
    run = Run()
    run.stage().attempt(0, cached_tokens=None)
    stage = only_stage(run)
    assert stage["per_agent"][0]["prefix_cache_hit_rate"] is None
    assert stage["prefix_cache_best_hit_rate"] == 0


def test_a_prompt_that_grew_could_have_had_the_one_before_it(only_stage):
    run = Run()
    grown(run.stage(), [0, 400, 1100])
    stage = only_stage(run)
    assert stage["prefix_cache_best_hit_rate"] == pytest.approx(2100 / 3300)
    assert stage["prefix_cache_hit_rate"] == pytest.approx(1500 / 3300)
    (note,) = [each for each in stage["findings"] if each["code"] == "cache_missed"]
    assert "45.5% of the prompt tokens were cached where 63.6% could have been" in note["text"]


def test_a_cache_that_kept_everything_is_not_worth_a_note(only_stage):
    run = Run()
    grown(run.stage(), [0, 1000, 1100])
    assert "cache_missed" not in [each["code"] for each in only_stage(run)["findings"]]


def test_a_shorter_prompt_is_a_new_beginning_of_which_the_server_alone_knows(only_stage):
    run = Run()
    stage = run.stage()
    grown(stage, [0, 1000])
    stage.attempt(3, prompt_tokens=500, cached_tokens=300)
    assert only_stage(run)["prefix_cache_best_hit_rate"] == pytest.approx(1300 / 2600)


def test_the_prompt_before_the_window_counts_as_one_before(only_stage):
    run = Run()
    stage = run.stage(warmup_s=5.0)
    stage.attempt(-2, prompt_tokens=1000, cached_tokens=0)
    stage.attempt(1, prompt_tokens=1100, cached_tokens=900)
    assert only_stage(run)["prefix_cache_best_hit_rate"] == pytest.approx(1000 / 1100)
