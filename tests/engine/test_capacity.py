"""The most agents within an SLO: the search against all that it could have tried, in virtual time."""

import json
from contextlib import redirect_stdout
from dataclasses import fields
from io import StringIO
from typing import get_args

import jsonschema
import pytest
import yaml
from as_json import analyse, objects
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert
from msgspec.structs import replace

from swarm.analysis.capacity import answer, border, next_level
from swarm.analysis.lookup import lookup
from swarm.analysis.schema import results_schema
from swarm.analysis.stage.degradation import Degradation
from swarm.catalogue import METRICS
from swarm.client.base import Capabilities
from swarm.client.target.probe import Probe
from swarm.commands.capacity import Search, find_capacity, with_slos
from swarm.commands.predict import predict_scenario
from swarm.errors import UsageError
from swarm.results import Objective, plain
from swarm.results import Probe as Probed
from swarm.scenario.load import load_scenario
from swarm.scenario.schema import TaskKind
from swarm.scenario.thresholds import parse_slo

MOE, DENSE = "moe-30b-a3b-awq-1x3090", "dense-32b-awq-1x3090"


def probe(level, holds, trials=1, valid=True):
    reasons = [] if valid else ["too few turns"]
    return Probed(
        agents=level, trials=trials, valid=valid, invalid_reasons=reasons, holds=holds and valid, sure=None, values=[]
    )


def answered(*asked):
    return plain(answer(*asked))


def fails(*values):
    return replace(probe(2, False), values=convert(values, list[Objective]))


def searched(truth, start=1, most=64, trials=3, based=False):
    """The answer, and the levels it took, of a target that carries `truth` agents; `based`: compared with one."""
    probes, levels = {}, []
    for _ in range(1000):
        level = next_level(probes, start, most, trials)
        if level is None:
            return border(probes), levels
        if based and levels.count(1) <= levels.count(level):
            level = 1
        levels.append(level)
        probes[level] = probe(level, level <= truth, levels.count(level))
    raise AssertionError("no end")


@given(truth=st.integers(0, 300), start=st.integers(1, 300), most=st.integers(1, 300), trials=st.integers(1, 4))
def test_the_search_finds_the_border_from_wherever_it_begins_in_few_stages(truth, start, most, trials):
    found, levels = searched(truth, start, most, trials)
    assert found.low == min(truth, most)
    assert found.high == (truth + 1 if truth < most else None)
    distance = abs(truth - min(start, most)) + 2
    assert len(levels) <= 2 * distance.bit_length() + 2 + 2 * (trials - 1)


@given(truth=st.integers(0, 300), start=st.integers(1, 300), most=st.integers(1, 300), trials=st.integers(1, 4))
def test_what_is_compared_with_one_agent_costs_a_stage_of_one_agent_a_trial_and_no_more(truth, start, most, trials):
    found, levels = searched(truth, start, most, trials, based=True)
    assert found == searched(truth, start, most, trials)[0]
    for at, level in enumerate(levels):
        assert levels[: at + 1].count(1) >= levels[: at + 1].count(level)
    alone, others = levels.count(1), len(levels) - levels.count(1)
    assert 1 <= alone <= trials
    distance = abs(truth - min(start, most)) + 2
    assert others <= 2 * distance.bit_length() + 2 + 2 * (trials - 1)


def test_a_right_prediction_leaves_only_the_border_to_try():
    assert sorted(searched(truth=24, start=24, trials=3)[1]) == [24, 24, 24, 25, 25, 25]
    assert len(searched(truth=24, start=1, trials=3)[1]) > 12
    assert sorted(searched(truth=24, start=24, trials=3, based=True)[1]) == [1, 1, 1, 24, 24, 24, 25, 25, 25]
    assert searched(truth=22, start=24, trials=1, based=True)[1] == [1, 24, 23, 21, 22]


@given(st.randoms(use_true_random=False), st.integers(1, 20))
def test_noise_that_overturns_what_was_found_does_not_keep_the_search_from_ending(coin, start):
    probes = {}
    while level := next_level(probes, start, 20, 3):
        before = probes[level].trials if level in probes else 0
        probes[level] = probe(level, coin.random() < 0.5, before + 1)
    at = border(probes)
    assert at.high is None or at.high == at.low + 1
    assert all(probes[level].trials == 3 for level in (at.low, at.high) if level)


def test_an_invalid_border_leaves_the_answer_open_and_says_why():
    found = answered("moe", {4: probe(4, True), 5: probe(5, True, valid=False)}, 64)
    assert (found["agents"], found["next"], found["conclusive"]) == (4, 5, False)
    assert "whether 5 would do is not known, as that stage is invalid: too few turns" in found["sentence"]


def test_a_level_where_an_objective_has_no_value_leaves_the_answer_open_unless_another_one_breaks():
    unmeasured = {"slo": "slowdown<2", "value": None, "ci95": None, "holds": False, "sure": None}
    broken = {"slo": "ttft_s.p95<2", "value": 3.0, "ci95": None, "holds": False, "sure": None}
    found = answered("moe", {1: probe(1, True), 2: fails(unmeasured)}, 64)
    assert not found["conclusive"]
    assert found["sentence"] == (
        "moe carries 1 agent within the SLO; whether 2 would do is not known, as nothing was measured there to judge "
        "slowdown<2 by; the notes on that stage say why."
    )
    found = answered(
        "moe",
        {1: probe(1, True), 2: fails(unmeasured, broken)},
        64,
    )
    assert found["conclusive"]
    assert "and not 2 (slowdown not measured, ttft_s.p95 3)." in found["sentence"]


def test_the_most_that_was_tried_is_a_lower_bound():
    found = answered("moe", {1: probe(1, True), 2: probe(2, True)}, 2)
    assert (found["agents"], found["next"], found["conclusive"]) == (2, None, True)
    assert found["sentence"] == "moe carries 2 agents within the SLO: at least, as 2 is the most that was tried."


def scenario(folder, slos, most=12, **changes):
    plan = {
        "targets": [{"name": "dense", "architecture": "dense", "simulate": DENSE}],
        "agents": {"levels": [1], "script": "quick", "think": "0s"},
        "stage": {"warmup": "5s", "duration": "45s", "trials": 2},
        "tasks": ["lru-cache"],
    }
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(plan | changes))
    return with_slos(load_scenario(file), slos, most)


@pytest.fixture(scope="module")
def brute(tmp_path_factory):
    """What every level from 1 to 5 shows, by running them all."""
    folder = tmp_path_factory.mktemp("brute")
    plan = scenario(folder, ["errors<=0"])
    levels = plan.agents.model_copy(update={"levels": list(range(1, 6))})
    every = plan.model_copy(update={"agents": levels, "capacity": None})
    outcome = predict_scenario(every, folder / "run", None)
    (target,) = analyse(outcome.directory)["targets"]
    return {stage["agents"]: stage for stage in target["stages"] if stage["valid"]}


@pytest.mark.parametrize(
    ("truth", "number"),
    [
        (1, "agent_output_tokens_per_s.p50"),
        (2, "agent_output_tokens_per_s.p50"),
        (4, "agent_output_tokens_per_s.p50"),
        (3, "contention"),
        (2, "retention"),
        (2, "slowdown"),
        (3, "scaling_efficiency"),
        (2, "itl_inflation.p50"),
    ],
)
def test_the_simulators_capacity_is_that_of_trying_every_level(brute, tmp_path, truth, number):
    assert sorted(brute) == [1, 2, 3, 4, 5]
    key, _, stat = number.partition(".")
    values = {level: lookup(objects(stage), key, stat or None) for level, stage in brute.items()}
    limit = (values[truth] + values[truth + 1]) / 2
    slo = f"{number}{'<' if values[1] < limit else '>'}{limit:.4f}"
    assert [level for level, value in values.items() if parse_slo(slo).holds(value)] == list(range(1, truth + 1))
    outcome = find_capacity(scenario(tmp_path, [slo]), tmp_path / "run", None, virtual=True)
    results = analyse(outcome.directory)
    jsonschema.validate(results, results_schema())
    (found,) = results["capacity"]["targets"]
    assert (found["agents"], found["next"]) == (truth, truth + 1)
    assert found["conclusive"]
    assert {one["agents"]: one["trials"] for one in found["probes"]}[truth + 1] == 2
    assert results["verdict"] == "valid"


def test_what_the_search_saw_is_what_the_report_reads_from_the_files(tmp_path):
    plan = scenario(tmp_path, ["agent_output_tokens_per_s.p10>27", "ttft_s.p95<5", "contention<0.5"])
    search = Search(plan, predicted=True)
    outcome = predict_scenario(plan, tmp_path / "run", None, course=search)
    results = analyse(outcome.directory)
    (found,) = results["capacity"]["targets"]
    assert found["probes"] == plain([probe for _, probe in sorted(search.probes["dense"].items())])


def test_of_a_prediction_nothing_is_said_to_be_sure_however_many_trials_it_has(tmp_path):
    outcome = find_capacity(
        scenario(tmp_path, ["agent_output_tokens_per_s.p10>27"]), tmp_path / "run", None, virtual=True
    )
    (found,) = analyse(outcome.directory)["capacity"]["targets"]
    border = [probe for probe in found["probes"] if probe["agents"] in (found["agents"], found["next"])]
    assert [probe["trials"] for probe in border] == [2, 2]
    assert [probe["values"][0]["ci95"] for probe in border] == [None, None]
    assert (found["sure"], found["next_sure"]) == (None, None)
    assert "sure" not in found["sentence"]
    assert "[" not in found["sentence"]


def test_what_compares_with_one_agent_is_judged_against_a_stage_of_one_agent_that_is_measured_once_a_trial(tmp_path):
    said = StringIO()
    plan = scenario(tmp_path, ["contention<0.18", "slowdown<9"])
    plan = plan.model_copy(update={"capacity": plan.capacity.model_copy(update={"start": {"dense": 2}})})
    outcome = find_capacity(plan, tmp_path / "run", said, virtual=True)
    _, cost, *lines = said.getvalue().splitlines()
    assert cost == (
        "the SLO compares with one agent (contention, slowdown), so each target is measured with one too, once a "
        "trial: at most 2 stages, 1.7 min of load"
    )
    stages = [line.partition(":")[0] for line in lines]
    assert stages[:2] == ["dense, 1 agent, trial 1", "dense, 2 agents, trial 1"]
    assert lines[0].endswith("holds (contention<0.18: 0, slowdown<9: 1)")
    assert len(set(stages)) == len(stages)
    results = analyse(outcome.directory)
    (found,) = results["capacity"]["targets"]
    assert (found["agents"], found["conclusive"]) == (1, True)
    assert {one["agents"]: one["trials"] for one in found["probes"]}[1] == 2
    assert stages.index("dense, 1 agent, trial 2") < min(
        at for at, stage in enumerate(stages) if stage.endswith("trial 2") and "agents" in stage
    )


def test_what_compares_with_one_agent_is_known_by_its_name():
    assert {metric.key for metric in METRICS if metric.relative} == {
        *(f.name for f in fields(Degradation)),
        "contention",
    }


def test_an_slo_that_nothing_could_be_judged_by_is_refused_before_anything_runs(tmp_path, monkeypatch):
    said = StringIO()
    with pytest.raises(UsageError, match=r"cpu_share<0.5 could never be judged: .*a prediction has none; leave it out"):
        find_capacity(scenario(tmp_path, ["cpu_share<0.5"]), tmp_path / "run", said, virtual=True)
    calls_nothing = {"driver": "trace", "trace": str(without_calls(tmp_path)), "levels": [1]}
    plan = scenario(tmp_path, ["tool_s.p95<5"], agents=calls_nothing, tasks=list(get_args(TaskKind)))
    for virtual in (False, True):
        with pytest.raises(UsageError, match=r"tool_s.p95<5 could never be judged: no agent calls a tool"):
            find_capacity(plan, tmp_path / "run", said, virtual=virtual)
    assert said.getvalue() == ""

    async def silent(reach):
        return Probe("m", ("m",), None, None, Capabilities(), False, False, metrics=False, notes=())

    monkeypatch.setattr("swarm.commands.run.probe", silent)
    mine = [{"name": "mine", "architecture": "moe", "api_base": "http://127.0.0.1:1/v1"}]
    plan = scenario(tmp_path, ["server_running_mean<5"], targets=mine, route="direct")
    with pytest.raises(UsageError, match=r"server_running_mean<5 could never be judged: mine has no /metrics"):
        find_capacity(plan, tmp_path / "run", None)
    assert not (tmp_path / "run").exists()


def without_calls(folder):
    """A trace in Mooncake's format, which knows lengths and no tools."""
    path = folder / "calls-nothing.jsonl"
    lines = [{"timestamp": 1000 * at, "input_length": 500, "output_length": 20, "hash_ids": [at]} for at in range(4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_too_few_jobs_to_judge_by_leave_the_answer_open(tmp_path):
    plan = scenario(tmp_path, ["slowdown<9"], stage={"warmup": "5s", "duration": "20s", "trials": 1})
    results = analyse(find_capacity(plan, tmp_path / "run", None, virtual=True).directory)
    (found,) = results["capacity"]["targets"]
    assert (found["agents"], found["conclusive"], results["verdict"]) == (1, False, "valid")
    assert "whether 2 would do is not known, as nothing was measured there to judge slowdown<9 by" in found["sentence"]
    assert "too few jobs" in results["targets"][0]["stages"][1]["notes"][0]


def test_a_real_search_begins_where_the_profile_predicts_and_leaves_faults_and_unknown_models_aside(
    tmp_path, monkeypatch
):
    begun = []
    monkeypatch.setattr("swarm.commands.capacity.run_scenario", lambda plan, *_, **__: begun.append(plan))
    simulated = {"profile": DENSE, "faults": [{"kind": "reset", "rate": "5%"}]}
    targets = [
        {"name": "dense", "architecture": "dense", "simulate": simulated},
        {"name": "mine", "architecture": "moe", "api_base": "http://127.0.0.1:1/v1"},
    ]
    plan = scenario(tmp_path, ["agent_output_tokens_per_s.p50>30"], most=4, targets=targets)
    said = StringIO()
    find_capacity(plan, None, said)
    assert begun[0].capacity.start == {"dense": 1}
    assert said.getvalue() == "predicted by the contention model: dense 1; the search begins there\n"
    find_capacity(plan, None, None, profiles={"mine": MOE})
    assert begun[1].capacity.start.keys() == {"dense", "mine"}
    assert begun[1].capacity.start["mine"] == 4


def test_what_cannot_be_predicted_is_no_part_of_what_the_prediction_is_asked(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr("swarm.commands.capacity.run_scenario", lambda plan, *_, **__: begun.append(plan))
    find_capacity(scenario(tmp_path, ["cpu_share<0.5"], most=4), None, None)
    find_capacity(scenario(tmp_path, ["cpu_share<0.5", "contention<0.9"], most=2), None, None)
    assert [plan.capacity.start for plan in begun] == [{}, {"dense": 2}]
    assert begun[1].capacity.slo == ["cpu_share<0.5", "contention<0.9"]


def test_a_scenario_without_an_slo_and_one_that_cannot_be_read_are_refused(tmp_path):
    plan = scenario(tmp_path, ["errors<=0"]).model_copy(update={"capacity": None})
    with pytest.raises(UsageError, match=r"give one or more, such as --slo 'ttft_s.p95<2'"):
        with_slos(plan, None, None)
    with pytest.raises(UsageError, match=r"column 8: expected one of count, mean.*an SLO reads KEY"):
        with_slos(plan, ["ttft_s.p96<2"], None)
    assert parse_slo("retention >= 0.5").holds(0.5)


def command(*words):
    from typer.testing import CliRunner

    from swarm.cli import app

    out = StringIO()
    with redirect_stdout(out):
        done = CliRunner().invoke(app, ["capacity", *map(str, words)])
    return done.exit_code, done.stdout


def test_the_command_ends_with_a_sentence_and_the_directory_and_a_model_that_carries_none_is_a_failed_gate(tmp_path):
    scenario(tmp_path, ["errors<=0"])
    common = (tmp_path / "small.yaml", "--predict", "--quiet", "--max-agents", 2)
    code, said = command(*common, "--slo", "ttft_s.p95<9", "--out", tmp_path / "a")
    assert (code, said) == (0, f"{tmp_path / 'a'}\n")
    code, said = command(*common, "--slo", "ttft_s.p95<0.01", "--json", "--out", tmp_path / "b")
    assert code == 4
    (found,) = json.loads(said)["targets"]
    assert (found["agents"], found["next"]) == (0, 1)
    assert found["sentence"].startswith("dense does not keep the SLO with a single agent (ttft_s.p95 ")


def test_a_run_of_a_scenario_that_has_a_capacity_is_a_run(tmp_path):
    outcome = predict_scenario(scenario(tmp_path, ["errors<=0"]), tmp_path / "run", None)
    results = analyse(outcome.directory)
    assert results["capacity"] is None
    assert [stage["trials"] for stage in results["targets"][0]["stages"]] == [2]
