"""`swarm plan`: models on machines side by side, in virtual time."""

import json
import os
import re
import signal

import pytest
from small_runs import called

from swarm.commands.plan import Wanted, combinations, plan
from swarm.commands.predict import rehearse
from swarm.engine.schedule import stage_plan
from swarm.errors import UsageError
from swarm.report.planned import to_text
from swarm.scenario.load import load_scenario

MOE, DENSE = "moe-30b-a3b-awq-1x3090", "dense-32b-awq-1x3090"
TOO_LARGE = "qwen3-32b@rtx4090:bf16"
SLO = "agent_output_tokens_per_s.p50 > 24 tok/s"


@pytest.fixture(scope="module")
def rows():
    told = []
    wanted = Wanted(agents=3, slos=(SLO,), workload="quick", prices={"rtx3090": 0.30})
    found = plan([DENSE, TOO_LARGE, MOE, "nope"], wanted, told.append, processes=1)
    assert told == [f"1/4 {DENSE}", f"2/4 {TOO_LARGE}", f"3/4 {MOE}", "4/4 nope"]
    return found


def test_the_best_comes_first_and_those_that_do_not_fit_come_last(rows):
    assert [row.profile for row in rows] == [MOE, DENSE, "nope", TOO_LARGE]
    assert [(row.fits, row.holds) for row in rows] == [(True, True), (True, False), (False, False), (False, False)]


def test_each_row_tells_what_the_agents_get_and_what_a_job_costs(rows):
    moe, dense = rows[:2]
    assert moe.carries >= 3
    assert 0 < dense.carries < dense.next <= 3
    assert moe.output_tokens_per_s > 24 > dense.output_tokens_per_s
    for row in (moe, dense):
        assert row.jobs_per_h == pytest.approx(3 * 3600 / row.job_s)
        assert row.price_per_job == pytest.approx(0.30 / row.jobs_per_h)
        assert (row.gpu, row.gpus) == ("rtx3090", 1)
    assert dense.runs_out is not None


def test_each_row_tells_how_far_the_prediction_may_be_off(rows):
    for row in rows[:2]:
        assert 0 < row.expected_error.tokens_per_s < 1
        assert row.carries_low <= row.carries <= row.carries_high
    text = to_text(rows, 3, [SLO])
    assert f" ({rows[0].carries_low}-{rows[0].carries_high})" in text
    assert re.search(r"Four of five predictions are within \d+%( to \d+%)? \(tok/s\) and \d+%", text)
    assert (rows[3].carries_low, rows[3].expected_error) == (None, None)


def test_a_model_that_does_not_fit_and_an_unknown_one_have_a_reason_and_no_numbers(rows):
    unknown, large = rows[2:]
    assert "does not fit on 1 rtx4090" in large.why
    assert "nope" in unknown.why
    assert (large.runs_out, unknown.runs_out) == ("GPU memory", None)
    assert {large.carries, large.job_s, unknown.carries, unknown.job_s} == {None}


def test_the_table_begins_with_the_answer(rows):
    text = to_text(rows, 3, [SLO])
    first, *rest = text.splitlines()
    assert first == f"{MOE} carries 3 agents with {SLO} (cheapest per job); 1 of 4 do."
    assert any(line.startswith(MOE) and " yes " in line for line in rest)
    assert "Predicted by the contention model, not measured." in text
    assert to_text(rows[1:], 3, [SLO]).startswith(f"None of 3 carries 3 agents with {SLO}.")


def test_the_job_time_is_that_of_a_run_where_enough_jobs_finish(rows, tmp_path):
    scenario = tmp_path / "moe.yaml"
    scenario.write_text(f"targets:\n  - {{name: moe, simulate: {MOE}}}\nagents: {{levels: [3], script: quick}}\n")
    out = tmp_path / "run"
    settings = ("--set", "stage={warmup: 5s, duration: 10s, trials: 1, until: {jobs: 10}}")
    assert called("predict", scenario, *settings, "--out", out, "-q").returncode == 0
    (stage,) = json.loads((out / "results.json").read_text())["targets"][0]["stages"]
    assert rows[0].job_s == pytest.approx(stage["latency"]["job_s"]["mean"], rel=0.15)


def test_models_machines_and_precisions_make_names_of_profiles():
    assert combinations(["a", "b"], ["2xh100"], []) == ["a@2xh100", "b@2xh100"]
    assert combinations(["a"], ["h100", "l40s"], ["awq", "fp8"]) == [
        "a@h100:awq",
        "a@h100:fp8",
        "a@l40s:awq",
        "a@l40s:fp8",
    ]


def test_the_command_prints_json_and_fails_where_nothing_carries_the_agents():
    words = ("plan", "--model", "qwen3-32b", "--gpu", "rtx4090", "--quant", "bf16", "--json", "-q")
    done = called(*words)
    assert done.returncode == 4, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["profile"], row["fits"], row["holds"]) == (TOO_LARGE, False, False)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--model", "qwen3-32b"], "--model and --gpu go together"),
        (["--quant", "awq"], "--quant: goes with --model and --gpu"),
        (["--slo", "ttft.p96 < 2s"], "--slo: 'ttft.p96 < 2s', column 6: expected one of count"),
        (["--slo", "cpu_share < 0.5"], "cpu_share < 0.5 could never be judged"),
        (["--price", "rtx4090"], "--price rtx4090: expected GPU=PRICE per hour"),
        (["--price", "rtx4090=-1"], "expected GPU=PRICE per hour"),
        (["--workload", "nope"], "--workload nope: no such file or folder"),
    ],
)
def test_what_cannot_be_planned_is_refused(words, why):
    done = called("plan", MOE, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr


def test_more_candidates_than_can_be_predicted_are_refused():
    with pytest.raises(UsageError, match="give 1 to 200 profiles, not 201"):
        plan([MOE] * 201, Wanted(1, (SLO,)), print)


class Interrupted:
    """A course that somebody interrupts before its first stage."""

    def __init__(self, scenario):
        self.scenario = scenario

    def stages(self, run, say):
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            yield stage_plan(self.scenario, run, "moe", 1, 1)

    def stages_left(self):
        return 0

    def add(self, record): ...

    def close(self): ...


def test_a_signal_ends_a_rehearsal_and_is_not_taken_for_its_result(tmp_path):
    file = tmp_path / "moe.yaml"
    file.write_text(f"targets:\n  - {{name: moe, simulate: {MOE}}}\n")
    scenario = load_scenario(file)
    with pytest.raises(KeyboardInterrupt):
        rehearse(scenario, Interrupted(scenario))
