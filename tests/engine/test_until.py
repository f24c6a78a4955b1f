"""Windows that run until a number is as sure as was asked for, and trials of the same work, in virtual time."""

import json
import random
from math import sqrt

import pytest
import yaml
from as_json import analyse

from swarm.commands.predict import predict_scenario
from swarm.engine.stopping_rule import Confidence, looks
from swarm.errors import ScenarioError
from swarm.recording.records import Attempt
from swarm.scenario.load import load_scenario
from swarm.scenario.schema import Until

MOE, DENSE = "moe-30b-a3b-awq-1x3090", "dense-32b-awq-1x3090"
S = 1_000_000_000


def scenario(folder, **changes):
    plan = {
        "targets": [{"name": "moe", "architecture": "moe", "simulate": MOE}],
        "agents": {"levels": [2], "script": "quick"},
        "stage": {"warmup": "10s", "duration": "60s", "trials": 1},
        "tasks": ["lru-cache", "cron-tests"],
    }
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(plan | changes))
    return load_scenario(file)


def until(folder, ci, most, name):
    stage = {"warmup": "10s", "duration": "60s", "trials": 1}
    stage["until"] = {"metric": "output_tokens_per_s", "ci": ci, "max": most}
    outcome = predict_scenario(scenario(folder, stage=stage), folder / name, None)
    (found,) = analyse(outcome.directory)["targets"][0]["stages"]
    lines = [json.loads(line) for line in (outcome.directory / "events.jsonl").read_text().splitlines()]
    (end,) = [line for line in lines if line["type"] == "window_end"]
    return found, end, lines


def test_the_window_ends_when_the_number_is_sure_enough_and_is_longer_the_surer_it_must_be(tmp_path):
    rough, rough_end, _ = until(tmp_path, "20%", "30m", "rough")
    fine, fine_end, _ = until(tmp_path, "5%", "60m", "fine")
    assert 60 <= rough["window_s"] < fine["window_s"] < 3600
    assert rough_end["reached"] <= 0.2
    assert fine_end["reached"] <= 0.05
    assert rough["valid"]
    assert fine["valid"]
    low, high = fine["trials_detail"][0]["throughput"]["output_tokens_per_s_ci95"]
    assert (high - low) / 2 <= 0.05 * fine["throughput"]["output_tokens_per_s"]
    assert low < rough["throughput"]["output_tokens_per_s"] * 1.2
    assert not any("stage.until" in note for note in fine["notes"])


def test_nothing_counts_that_ends_after_an_early_end(tmp_path):
    stage, end, lines = until(tmp_path, "20%", "30m", "early")
    attempts = [line for line in lines if line["type"] == "attempt"]
    start = next(line for line in lines if line["type"] == "stage")["window_start_ns"]
    assert stage["window_s"] == pytest.approx((end["t_ns"] - start) / S)
    assert max(attempt["end_ns"] for attempt in attempts) <= end["t_ns"]
    whole = [a for a in attempts if not a.get("aborted") and start <= a["end_ns"] < end["t_ns"]]
    assert stage["latency"]["e2e_s"]["count"] == len(whole)
    assert stage["achieved"]["agents_alive_mean"] == pytest.approx(2)


def test_when_the_time_is_up_first_the_stage_says_how_sure_it_is(tmp_path):
    stage, end, _ = until(tmp_path, "1%", "90s", "short")
    assert stage["window_s"] == pytest.approx(90)
    assert end["reached"] > 0.01
    (note,) = [note for note in stage["notes"] if "stage.until" in note]
    assert note.startswith("stage.until: output_tokens_per_s was known to ")
    assert note.endswith("± 1% needed; raise stage.until.max")


def grown(folder, until, levels=(1, 8)):
    """A prediction of windows that begin with 5 s: the stages, and how each window ended, by level."""
    stage = {"warmup": "5s", "duration": "5s", "trials": 1, "until": until}
    agents = {"levels": list(levels), "script": "quick"}
    outcome = predict_scenario(scenario(folder, stage=stage, agents=agents), folder / "run", None)
    lines = [json.loads(line) for line in (outcome.directory / "events.jsonl").read_text().splitlines()]
    ends = {line["agents"]: line for line in lines if line["type"] == "window_end"}
    return {stage["agents"]: stage for stage in analyse(outcome.directory)["targets"][0]["stages"]}, ends


def test_a_window_grows_until_each_agent_has_done_so_many_turns_on_average(tmp_path):
    stages, ends = grown(tmp_path, {"turns": 10})
    for level in (1, 8):
        assert stages[level]["valid"], stages[level]["invalid_reasons"]
        assert sum(agent["turns"] for agent in stages[level]["per_agent"]) == ends[level]["turns"]
        assert (ends[level]["turns_asked"], ends[level].get("metric")) == (10 * level, None)
        assert ends[level]["turns"] >= 10 * level
        assert 5 < stages[level]["window_s"] < 600
        assert not any("stage.until" in note for note in stages[level]["notes"])


def test_a_window_grows_until_so_many_jobs_are_finished(tmp_path):
    stages, ends = grown(tmp_path, {"jobs": 4, "turns": 1}, levels=[2])
    assert stages[2]["jobs"]["finished"] == ends[2]["jobs"] >= ends[2]["jobs_asked"] == 8
    assert stages[2]["latency"]["job_s"]["p50"] is not None


def test_when_the_time_is_up_first_the_stage_says_how_many_turns_there_were(tmp_path):
    stages, ends = grown(tmp_path, {"turns": 1000, "max": "20s"}, levels=[1])
    assert stages[1]["window_s"] == pytest.approx(20)
    (note,) = [note for note in stages[1]["notes"] if "stage.until" in note]
    assert note == (
        f"stage.until: {ends[1]['turns']} turns were done at the end of the longest window, 1000 needed; raise "
        "stage.until.max"
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"max": "5m"}, "needs at least one of `metric`, `turns` and `jobs`"),
        ({"turns": 0}, "stage.until.turns"),
        ({"turns": 10, "ci": "1%"}, "`ci` belongs to `metric`"),
    ],
)
def test_an_until_that_could_not_end_a_window_is_refused(tmp_path, given, why):
    stage = {"warmup": "5s", "duration": "5s", "trials": 1, "until": given}
    with pytest.raises(ScenarioError, match=why):
        scenario(tmp_path, stage=stage)


def test_looks_come_when_the_window_has_grown_by_a_quarter_and_at_its_end():
    asked = Until(metric="output_tokens_per_s", max="120s")
    assert list(looks(60.0, asked)) == pytest.approx([60, 75, 93.75, 117.1875, 120])
    assert list(looks(60.0, None)) == [60.0]


def reply(end_s, tokens):
    return Attempt(
        id="", run="", target="m", agents=1, trial=1, task="", variant="", t_ns=0, intended_ns=0,
        first_token_ns=round((end_s - 0.5) * S), last_token_ns=round(end_s * S), end_ns=round(end_s * S),
        completion_tokens=tokens,
    )  # fmt: skip


def test_intervals_of_windows_that_ended_early_hold_the_truth_nearly_as_often_as_they_say():
    """Replies of 100 tokens whose lengths follow each other (autocorrelation 0.7), at 1 a second: 100 tok/s."""
    asked = Until(metric="output_tokens_per_s", ci=0.05, max="2000s")
    held, lengths = 0, []
    for seed in range(100):
        rng, swing = random.Random(seed), 0.0
        confidence = Confidence(asked.metric, 0)
        second = 0
        for length in looks(200.0, asked):
            while second < length:
                swing = 0.7 * swing + rng.gauss(0, 40 * sqrt(1 - 0.7**2))
                confidence.add(reply(second + 0.5, max(1, round(100 + swing))))
                second += 1
            width = confidence.half_width(round(length * S))
            if width <= asked.ci:
                break
        rate = sum(confidence._values) / length
        held += abs(rate - 100) <= width * rate
        lengths.append(length)
    assert 200 < sum(lengths) / 100 < 2000
    assert held / 100 > 0.85  # looking again and again costs some of the 95%


def test_two_trials_are_of_different_orders_and_one_trial_is_the_same_work_for_every_target(tmp_path):
    targets = [
        {"name": "moe", "architecture": "moe", "simulate": MOE},
        {"name": "dense", "architecture": "dense", "simulate": DENSE},
    ]
    stage = {"warmup": "5s", "duration": "40s", "trials": 2}
    plan = scenario(tmp_path, targets=targets, stage=stage, tasks=["lru-cache", "cron-tests", "merge-sort"])

    def work(chosen, name):
        """Target, trial, agent -> its first three jobs."""
        outcome = predict_scenario(chosen, tmp_path / name, None)
        found: dict[tuple[str, int, int], list[str]] = {}
        for line in (outcome.directory / "events.jsonl").read_text().splitlines():
            record = json.loads(line)
            if record["type"] == "job":
                key = record["target"], record["trial"], record["agent"]
                found.setdefault(key, []).append(f"{record['task']}/{record['variant']}")
        return {key: jobs[:3] for key, jobs in found.items()}

    both, alone = work(plan, "both"), work(plan.only(["dense"]), "alone")
    for trial in (1, 2):
        for agent in (0, 1):
            moe, dense = both["moe", trial, agent], both["dense", trial, agent]
            shared = min(len(moe), len(dense))
            assert shared > 0
            assert moe[:shared] == dense[:shared]
            assert alone["dense", trial, agent] == dense
    assert both["moe", 1, 0] != both["moe", 2, 0]
