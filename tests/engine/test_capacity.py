"""The most agents within an SLO: the search against all that it could have tried, in virtual time."""

import json
import random
import re
from contextlib import redirect_stdout
from dataclasses import fields
from functools import partial
from io import StringIO
from math import ceil, log2
from typing import get_args

import jsonschema
import pytest
import yaml
from as_json import analyse, objects
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert
from msgspec.structs import replace

from swarm.analysis.capacity.answer import answer
from swarm.analysis.capacity.judge import judge
from swarm.analysis.capacity.search import MOST_STAGES, Border, Bounds, border, next_level, stages_left
from swarm.analysis.lookup import lookup
from swarm.analysis.report_data import read_view
from swarm.analysis.results import analyse as analyse_run
from swarm.analysis.schema import results_schema
from swarm.analysis.stage.degradation import Degradation
from swarm.catalogue import METRICS
from swarm.client.base import Capabilities
from swarm.client.target.probe import Probe
from swarm.commands.capacity import Search, find_capacity, with_slos
from swarm.commands.predict import predict_scenario
from swarm.commands.run import Parts, run_scenario
from swarm.errors import UsageError
from swarm.report.html import to_html
from swarm.results import Latency, Objective, StageResults, plain
from swarm.results import Probe as Probed
from swarm.scenario.load import load_scenario
from swarm.scenario.schema import TaskKind
from swarm.scenario.thresholds import parse_slo

MOE, DENSE = "moe-30b-a3b-awq-1x3090", "dense-32b-awq-1x3090"


def probe(level, holds, trials=1, valid=True, verdict=None, values=()):
    reasons = [] if valid else ["too few turns"]
    said = verdict or ("undecided" if not valid else "holds" if holds else "fails")
    return Probed(
        agents=level,
        trials=trials,
        valid=valid,
        invalid_reasons=reasons,
        holds=holds and valid,
        verdict=said,
        sure=None,
        values=convert(list(values), list[Objective]),
    )


def ttft(value, holds):
    return {"slo": "ttft.p95 < 2s", "value": value, "ci95": None, "holds": holds, "sure": None}


def answered(*asked):
    return plain(answer(*asked))


def searched(judged, bounds):
    """The probes, and the levels that a search took; `judged`: level, trial -> probe."""
    probes, levels = {}, []
    while level := next_level(probes, bounds):
        before = stages_left(probes, bounds)
        if bounds.based and levels.count(1) <= levels.count(level):
            level = 1
        levels.append(level)
        probes[level] = judged(level, levels.count(level))
        assert before >= 1
    assert stages_left(probes, bounds) == 0
    return probes, levels


def exactly(truth):
    """A target that carries `truth` agents, without any doubt."""
    return lambda level, trial: probe(level, level <= truth, trial)


BOUNDS = st.builds(Bounds, st.integers(1, 64), st.integers(1, 64), st.integers(1, 4), st.booleans())


@given(truth=st.integers(0, 80), bounds=BOUNDS)
def test_the_search_finds_the_border_from_wherever_it_begins_in_at_most_16_stages(truth, bounds):
    probes, levels = searched(exactly(truth), bounds)
    found = border(probes)
    assert found.low == min(truth, bounds.most)
    assert found.high == (truth + 1 if truth < bounds.most else None)
    assert len(levels) <= MOST_STAGES
    assert levels[0] == 1
    assert answered("moe", probes, bounds.most)["conclusive"]


@given(truth=st.integers(0, 5000), most=st.integers(65, 5000))
def test_a_limit_of_more_agents_costs_two_stages_each_time_that_it_doubles(truth, most):
    probes, levels = searched(exactly(truth), Bounds(1, most, 1))
    assert border(probes).low == min(truth, most)
    assert len(levels) <= Bounds(1, most, 1).stages == 16 + 2 * ceil(log2(most / 64))


@given(truth=st.integers(0, 80), bounds=BOUNDS, noise=st.floats(0, 0.5), seed=st.integers(0, 1000))
def test_noise_costs_no_more_stages_and_the_answer_lies_between_two_measured_levels(truth, bounds, noise, seed):
    """TTFT grows with the agents and is 2 s at `truth` and a half; each trial is off by `noise`, and trials add up."""
    rng, seen = random.Random(seed), {}

    def judged(level, trial):
        values = seen.setdefault(level, [])
        values.append(2 * level / (truth + 0.5) * rng.lognormvariate(0, noise))
        value = sum(values) / len(values)
        clear = len({one < 2 for one in values}) == 1 and abs(value / 2 - 1) > 0.1
        verdict = ("holds" if value < 2 else "fails") if clear else "undecided"
        return probe(level, value < 2, trial, verdict=verdict, values=[ttft(value, value < 2)])

    probes, levels = searched(judged, bounds)
    at = border(probes)
    assert len(levels) <= MOST_STAGES
    assert all(levels.count(level) <= max(bounds.trials, 1) or level == 1 for level in levels)
    assert at.low == 0 or probes[at.low].holds
    assert at.high is None or not probes[at.high].holds
    found = answered("moe", probes, bounds.most)
    assert found["conclusive"], "every level was valid and had a value"
    if at.low != bounds.most and (at.high is None or at.high > at.low + 1):
        assert len(levels) == MOST_STAGES


def test_a_level_that_is_not_decided_is_measured_on_and_not_taken_as_failed():
    def judged(level, trial):
        doubtful = level == 8 and trial < 3
        return probe(level, level <= 12 and not doubtful, trial, verdict="undecided" if doubtful else None)

    probes, levels = searched(judged, Bounds(1, 64, 3))
    assert levels[:6] == [1, 2, 3, 5, 9, 17] or 8 in levels
    assert border(probes) == Border(12, 13)


def test_a_right_prediction_leaves_only_the_border_and_one_agent_to_try():
    def levels(**bounds):
        return searched(exactly(24), Bounds(most=64, **bounds))[1]

    assert sorted(levels(start=24, trials=3)) == [1, 24, 24, 24, 25, 25, 25]
    assert len(levels(start=1, trials=3)) > 12
    assert sorted(levels(start=24, trials=3, based=True)) == [1, 1, 1, 24, 24, 24, 25, 25, 25]


def test_an_invalid_border_leaves_the_answer_open_and_says_why():
    found = answered("moe", {4: probe(4, True), 5: probe(5, True, valid=False)}, 64)
    assert (found["agents"], found["next"], found["conclusive"]) == (4, 5, False)
    assert "no answer for 5, as that stage is invalid: too few turns" in found["sentence"]


def test_a_level_where_an_objective_has_no_value_leaves_the_answer_open_unless_another_one_breaks():
    unmeasured = {"slo": "slowdown<2", "value": None, "ci95": None, "holds": False, "sure": None}
    found = answered("moe", {1: probe(1, True), 2: probe(2, False, values=[unmeasured])}, 64)
    assert not found["conclusive"]
    assert "no answer for 2, as nothing was measured there to judge slowdown<2 by; the notes on" in found["sentence"]
    found = answered("moe", {1: probe(1, True), 2: probe(2, False, values=[unmeasured, ttft(3.0, False)])}, 64)
    assert found["conclusive"]
    assert "; at 2 TTFT p95 is 3 s." in found["sentence"]


def test_the_answer_names_the_objective_with_its_value_and_the_next_level():
    one = {12: probe(12, True, 3, values=[ttft(1.6, True)]), 14: probe(14, False, 13, values=[ttft(2.4, False)])}
    assert answered("moe", one, 64)["sentence"] == (
        "moe: 12 agents hold TTFT p95 < 2 s (1.6 s); at 14 it is 2.4 s. Measured too few times at 12 and 14 for a "
        "confidence interval; use 3 trials."
    )
    none = {1: probe(1, False, values=[ttft(2.4, False)])}
    assert answered("moe", none, 64)["sentence"] == "moe: not even 1 agent holds TTFT p95 < 2 s (2.4 s)."


def test_the_most_that_was_tried_is_a_lower_bound():
    found = answered("moe", {1: probe(1, True), 2: probe(2, True, values=[ttft(1.0, True)])}, 2)
    assert (found["agents"], found["next"], found["conclusive"]) == (2, None, True)
    assert found["sentence"].startswith(
        "moe: at least 2 agents hold TTFT p95 < 2 s (1 s); more than 2 were not measured."
    )


@pytest.mark.parametrize(
    ("values", "count", "verdict"),
    [
        ([1.0], 100, "holds"),
        ([1.9], 100, "undecided"),
        ([2.1], 100, "undecided"),
        ([3.0], 100, "fails"),
        ([2.5], 20, "undecided"),
        ([1.5], 20, "undecided"),
        ([0.9], 20, "holds"),
        ([1.5, 2.5], 100, "undecided"),
        ([1.5, 1.5], 100, "holds"),
    ],
)
def test_a_level_holds_or_fails_only_where_its_value_is_clear_of_the_limit(scripted, values, count, verdict):
    found = judge(scripted(values, count), [parse_slo("ttft.p95 < 2s")], predicted=True)
    assert found.verdict == verdict
    assert found.holds == (sum(values) / len(values) < 2)


def test_an_invalid_stage_is_not_decided(scripted):
    invalid = replace(scripted([1.0], 100), valid=False, invalid_reasons=["too few turns"])
    assert judge(invalid, [parse_slo("ttft.p95 < 2s")]).verdict == "undecided"


@pytest.fixture
def scripted(brute):
    """A stage as a run had it, with other values of TTFT."""
    stage = convert(brute[2], StageResults)

    def of(values, count):
        def latency(value):
            return {**stage.latency, "ttft_s": Latency(count=count, p95=value)}

        trials = [replace(stage.trials_detail[0], latency=latency(value)) for value in values]
        return replace(stage, latency=latency(sum(values) / len(values)), trials_detail=trials, valid=True)

    return of


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
    _, *lines = said.getvalue().splitlines()
    stages = [line.partition(":")[0] for line in lines]
    assert stages[:2] == ["dense, 1 agent, trial 1", "dense, 2 agents, trial 1"]
    assert re.search(r"holds \(contention<0.18: 0, slowdown<9: 1\); at most \d+ more stages, about \d+ min$", lines[0])
    assert "more stage" not in lines[-1]
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


def test_an_slo_that_nothing_could_be_judged_by_is_refused_before_anything_runs(tmp_path):
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

    mine = [{"name": "mine", "architecture": "moe", "api_base": "http://127.0.0.1:1/v1"}]
    plan = scenario(tmp_path, ["server_running_mean<5"], targets=mine, route="direct")
    with pytest.raises(UsageError, match=r"server_running_mean<5 could never be judged: mine has no /metrics"):
        find_capacity(plan, tmp_path / "run", None, run=partial(run_scenario, parts=Parts(probe=silent)))
    assert not (tmp_path / "run").exists()


def without_calls(folder):
    """A trace in Mooncake's format, which knows lengths and no tools."""
    path = folder / "calls-nothing.jsonl"
    lines = [{"timestamp": 1000 * at, "input_length": 500, "output_length": 20, "hash_ids": [at]} for at in range(4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_windows_grow_until_an_objective_on_jobs_can_be_judged(tmp_path):
    plan = scenario(tmp_path, ["slowdown<9"], stage={"warmup": "5s", "duration": "20s", "trials": 1}, most=4)
    results = analyse(find_capacity(plan, tmp_path / "run", None, virtual=True).directory)
    (found,) = results["capacity"]["targets"]
    assert (found["agents"], found["conclusive"], results["verdict"]) == (4, True, "valid")
    assert all(stage["jobs"]["finished"] >= 4 * stage["agents"] for stage in results["targets"][0]["stages"])


def test_too_few_jobs_to_judge_by_leave_the_answer_open(tmp_path):
    stage = {"warmup": "5s", "duration": "18s", "trials": 1, "until": {"turns": 1, "max": "18s"}}
    plan = scenario(tmp_path, ["slowdown<9"], stage=stage)
    results = analyse(find_capacity(plan, tmp_path / "run", None, virtual=True).directory)
    (found,) = results["capacity"]["targets"]
    assert (found["agents"], found["conclusive"], results["verdict"]) == (1, False, "valid")
    assert "no answer for 2, as nothing was measured there to judge slowdown<9 by" in found["sentence"]
    assert "too few jobs" in results["targets"][0]["stages"][1]["notes"][0]


def test_a_real_search_begins_where_the_profile_predicts_and_leaves_faults_and_unknown_models_aside(tmp_path):
    begun = []

    def begin(plan, *_, **__):
        begun.append(plan)

    simulated = {"profile": DENSE, "faults": [{"kind": "reset", "rate": "5%"}]}
    targets = [
        {"name": "dense", "architecture": "dense", "simulate": simulated},
        {"name": "mine", "architecture": "moe", "api_base": "http://127.0.0.1:1/v1"},
    ]
    plan = scenario(tmp_path, ["agent_output_tokens_per_s.p50>30"], most=4, targets=targets)
    said = StringIO()
    find_capacity(plan, None, said, run=begin)
    assert begun[0].capacity.start == {"dense": 1}
    assert said.getvalue() == "predicted by the contention model: dense 1; the search begins there\n"
    find_capacity(plan, None, None, profiles={"mine": MOE}, run=begin)
    assert begun[1].capacity.start.keys() == {"dense", "mine"}
    assert begun[1].capacity.start["mine"] == 4


def test_what_cannot_be_predicted_is_no_part_of_what_the_prediction_is_asked(tmp_path):
    begun = []

    def begin(plan, *_, **__):
        begun.append(plan)

    find_capacity(scenario(tmp_path, ["cpu_share<0.5"], most=4), None, None, run=begin)
    find_capacity(scenario(tmp_path, ["cpu_share<0.5", "contention<0.9"], most=2), None, None, run=begin)
    assert [plan.capacity.start for plan in begun] == [{}, {"dense": 2}]
    assert begun[1].capacity.slo == ["cpu_share<0.5", "contention<0.9"]


def test_a_scenario_without_an_slo_and_one_that_cannot_be_read_are_refused(tmp_path):
    plan = scenario(tmp_path, ["errors<=0"]).model_copy(update={"capacity": None})
    with pytest.raises(UsageError, match=r"give one or more, such as --slo 'ttft.p95 < 2s'"):
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
    assert found["sentence"].startswith("dense: not even 1 agent holds TTFT p95 < 0.01 s (")


def test_a_run_of_a_scenario_that_has_a_capacity_is_a_run(tmp_path):
    outcome = predict_scenario(scenario(tmp_path, ["errors<=0"]), tmp_path / "run", None)
    results = analyse(outcome.directory)
    assert results["capacity"] is None
    assert [stage["trials"] for stage in results["targets"][0]["stages"]] == [2]


def test_a_dry_run_of_a_search_tells_how_many_stages_it_may_take(tmp_path):
    scenario(tmp_path, ["errors<=0"])
    code, said = command(tmp_path / "small.yaml", "--slo", "ttft.p95 < 2s", "--dry-run")
    assert code == 0
    assert "dense: at most 14 stages; 12 min with windows of 45s, which grow until agents have done 10 turns" in said


def test_the_objectives_may_come_from_the_environment(tmp_path, monkeypatch):
    scenario(tmp_path, ["errors<=0"])
    monkeypatch.setenv("SWARM_SLO", "ttft.p95 < 2s; itl.p99 < 50ms")
    code, said = command(tmp_path / "small.yaml", "--dry-run")
    assert (code, "with ttft.p95 < 2s, itl.p99 < 50ms" in said) == (0, True)


def test_the_answer_has_a_curve_and_tells_people_from_agents_at_work_where_the_work_has_pauses(tmp_path):
    agents = {"levels": [1], "script": "quick", "think": "20s"}
    plan = scenario(tmp_path, ["ttft.p95 < 60s"], most=8, agents=agents)
    outcome = find_capacity(plan, tmp_path / "run", None, virtual=True)
    results = analyse(outcome.directory)
    (found,) = results["capacity"]["targets"]
    assert found["agents"] == 8
    assert 1 < found["at_work"] < 5
    assert f"That is about 8 developers with these pauses, {found['at_work']:.2g} of them at work" in found["sentence"]
    assert [point["agents"] for point in found["curve"]] == [1, 2, 4, 8]
    assert all(point["ttft_s_p95"] > 0 and point["holds"] for point in found["curve"])
    view = read_view(outcome.directory, analyse_run(outcome.directory))
    page = to_html([view])
    assert "Throughput against TTFT" in page
    assert ">SLO</text>" in page


PROFILES = [
    ({"profile": MOE}, "ttft.p95 < 1s"),
    ({"profile": DENSE, "kv_tokens": 20000}, "agent_output_tokens_per_s.p50 > 15 tok/s"),
    pytest.param({"profile": MOE, "max_num_seqs": 4}, "ttft.p95 < 500ms", marks=pytest.mark.slow),
    pytest.param({"profile": "dense-32b-awq-2x3090-nvlink"}, "itl.p99 < 300ms", marks=pytest.mark.slow),
    pytest.param({"profile": DENSE}, "retention > 40%", marks=pytest.mark.slow),
    pytest.param({"profile": MOE}, "errors <= 0", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("simulate", "slo"), PROFILES)
def test_every_search_answers_in_at_most_16_stages_between_levels_that_were_measured(tmp_path, simulate, slo):
    target = {"name": "any", "simulate": simulate}
    stage = {"warmup": "2s", "duration": "10s", "trials": 2}
    plan = scenario(tmp_path, [slo], most=16, targets=[target], stage=stage)
    results = analyse(find_capacity(plan, tmp_path / "run", None, virtual=True).directory)
    (found,) = results["capacity"]["targets"]
    assert (results["verdict"], found["conclusive"]) == ("valid", True)
    assert sum(probe["trials"] for probe in found["probes"]) <= 16
    by_level = {probe["agents"]: probe for probe in found["probes"]}
    assert found["agents"] == 0 or by_level[found["agents"]]["holds"]
    if found["next"] is None:
        assert found["agents"] == 16
    else:
        assert not by_level[found["next"]]["holds"]
        assert all(
            probe["holds"] == (level <= found["agents"]) for level, probe in by_level.items() if level <= found["next"]
        )
    assert all(stage["valid"] for stage in results["targets"][0]["stages"])
