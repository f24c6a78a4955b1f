"""Predictions say how far off they may be, and an answer about agents says between which numbers it is."""

import json

import msgspec
import pytest
import yaml

from swarm.analysis.expected_errors import agents_between, of_stage
from swarm.analysis.plan import ErrorBand
from swarm.analysis.results import analyse
from swarm.commands.capacity import find_capacity, with_slos
from swarm.commands.predict import predict_scenario
from swarm.report.markdown import to_markdown
from swarm.report.table import off, trust
from swarm.results import ExpectedError, Objective, Probe
from swarm.scenario.load import load_scenario
from swarm.scenario.thresholds import parse_slo

SETTINGS = {
    "targets": [{"name": "it", "architecture": "moe", "simulate": "qwen3.5-35b-a3b-awq-2xrtx3090"}],
    "agents": {"levels": [1, 4]},
    "tasks": ["lru-cache"],
    "stage": {"warmup": "5s", "duration": "40s", "trials": 1},
}


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted")
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(SETTINGS))
    return predict_scenario(load_scenario(file), folder / "run", None).directory


def probe(agents, slo, value):
    holds = parse_slo(slo).holds(value)
    verdict = "holds" if holds else "fails"
    objective = Objective(slo=slo, value=value, ci95=None, holds=holds, sure=None)
    return Probe(
        agents=agents,
        trials=1,
        valid=True,
        invalid_reasons=[],
        holds=holds,
        verdict=verdict,
        sure=None,
        values=[objective],
    )


def error(tokens_per_s, ttft_s):
    return ExpectedError(tokens_per_s=tokens_per_s, ttft_s=ttft_s, points=10)


def test_a_predicted_stage_has_the_error_of_its_class(predicted):
    results = analyse(predicted)
    bands = json.loads((predicted / "environment.json").read_text())["targets"]["it"]["expected_errors"]
    for stage in results.targets[0].stages:
        assert stage.expected_error is not None
        assert stage.expected_error.tokens_per_s in {band["tokens_per_s"] for band in bands}
        assert f"±{round(100 * stage.expected_error.tokens_per_s)}" in off(stage).replace(" ", "")


def test_table_and_markdown_say_it_and_what_it_means(predicted):
    text = to_markdown(analyse(predicted))
    assert "may be off tok/s, TTFT" in text
    assert "±" in text
    assert "four of five published points" in text


def test_where_too_few_points_are_known_it_says_to_measure(predicted):
    results = analyse(predicted)
    stage = results.targets[0].stages[0]
    assert stage.expected_error is not None
    unknown = msgspec.structs.replace(
        stage, expected_error=msgspec.structs.replace(stage.expected_error, advice="measure it")
    )
    target = msgspec.structs.replace(results.targets[0], stages=[unknown])
    assert trust(msgspec.structs.replace(results, targets=[target]))[-1] == "it at 1: measure it."


def test_a_run_without_bands_has_no_errors(predicted):
    assert of_stage(analyse(predicted).targets[0].stages[0], ()) is None


def test_the_band_is_that_of_the_streams_and_contexts_that_were_there(predicted):
    stage = analyse(predicted).targets[0].stages[1]
    assert stage.achieved.in_flight_mean is not None
    narrow = ErrorBand(streams=0.1, context=None, tokens_per_s=0.1, ttft_s=0.1, points=9)
    short = ErrorBand(streams=None, context=10, tokens_per_s=0.2, ttft_s=0.2, points=9)
    rest = ErrorBand(streams=None, context=None, tokens_per_s=0.3, ttft_s=0.3, points=9)
    found = of_stage(stage, (narrow, short, rest))
    assert found is not None
    assert found.tokens_per_s == 0.3
    wide = ErrorBand(streams=100, context=None, tokens_per_s=0.4, ttft_s=0.4, points=9)
    found = of_stage(stage, (narrow, wide, rest))
    assert found is not None
    assert found.tokens_per_s == 0.4


def test_the_most_agents_lie_between_numbers_that_are_worse_and_better_by_the_error():
    slo = "ttft_s.p95 < 2.0"
    probes = {level: probe(level, slo, 0.2 * level) for level in (1, 4, 8, 9, 10, 16)}
    errors = dict.fromkeys(probes, error(0.1, 0.25))
    # 0.2 n * 1.25 < 2 up to 7 agents, 0.2 n / 1.25 < 2 up to 12
    assert agents_between(probes, [parse_slo(slo)], errors) == (7, 12)


def test_an_objective_on_speed_is_moved_by_the_error_of_speed_and_the_other_way():
    slo = "agent_output_tokens_per_s.p50 > 50"
    probes = {level: probe(level, slo, 100 - 5 * level) for level in (1, 8, 16)}
    errors = dict.fromkeys(probes, error(0.1, 0.5))
    # (100 - 5 n) / 1.1 > 50 up to 8 agents, (100 - 5 n) * 1.1 > 50 up to 10
    assert agents_between(probes, [parse_slo(slo)], errors) == (8, 10)


def test_where_all_that_was_tried_holds_the_highest_level_is_the_end():
    slo = "ttft_s.p95 < 2.0"
    probes = {level: probe(level, slo, 0.1 * level) for level in (1, 4)}
    assert agents_between(probes, [parse_slo(slo)], dict.fromkeys(probes, error(0.1, 0.2))) == (4, 4)


def test_nothing_is_said_without_errors_and_nothing_holds_without_a_value():
    slo = "ttft_s.p95 < 2.0"
    nothing = Objective(slo=slo, value=None, ci95=None, holds=False, sure=None)
    one = Probe(
        agents=1,
        trials=1,
        valid=True,
        invalid_reasons=[],
        holds=False,
        verdict="undecided",
        sure=None,
        values=[nothing],
    )
    assert agents_between({1: one}, [parse_slo(slo)], {}) is None
    assert agents_between({1: one}, [parse_slo(slo)], {1: error(0.1, 0.1)}) == (0, 0)


def test_a_predicted_capacity_says_between_which_numbers_of_agents_it_is(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(SETTINGS))
    scenario = with_slos(load_scenario(file), ["agent_output_tokens_per_s.p50 > 100"], 16)
    outcome = find_capacity(scenario, tmp_path / "found", None, virtual=True)
    capacity = analyse(outcome.directory).capacity
    assert capacity is not None
    found = capacity.targets[0]
    assert found.agents_low is not None
    assert found.agents_high is not None
    assert found.agents_low <= found.agents <= found.agents_high
    assert found.agents_low < found.agents_high
    assert f"Within the prediction's error: {found.agents_low} to {found.agents_high}" in found.sentence
