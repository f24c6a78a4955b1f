"""Soaks in virtual time: windows, patterns, files in parts, and going on after a crash: no loss, no double count."""

import json
from collections import Counter
from pathlib import Path

import jsonschema
import pytest
from as_json import analyse
from hypothesis import given
from hypothesis import strategies as st
from small_runs import called
from soaks import Soaks, reasons

from swarm.analysis.schema import results_schema
from swarm.cli.common import load_any
from swarm.commands.predict import Parts, predict_scenario
from swarm.commands.run import run_scenario
from swarm.commands.soak import disk_bytes, next_part, resume_soak, run_soak
from swarm.engine.soak_segment import as_soak, locked
from swarm.errors import UsageError
from swarm.recording.rotation import parts_of, put_aside
from swarm.scenario.load import load_scenario
from swarm.scenario.pattern import levels, shifts


def everything(directory: Path, kind: str) -> list[dict]:
    lines = [line for part in parts_of(directory / "events.jsonl") for line in part.read_bytes().splitlines(True)]
    whole = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [line for line in whole if line["type"] == kind]


def test_a_soak_has_a_row_for_every_window_and_they_add_up_to_the_stage(soaks: Soaks):
    results = soaks.run()
    jsonschema.validate(results, results_schema())
    (stage,), soak = results["targets"][0]["stages"], results["soak"]
    assert (results["verdict"], len(soak["windows"]), soak["undisturbed"]) == ("valid", 24, 24)
    assert [row["number"] for row in soak["windows"]] == list(range(24))
    assert sum(row["requests"] for row in soak["windows"]) == stage["latency"]["e2e_s"]["count"] > 100
    assert sum(row["output_tokens_per_s"] for row in soak["windows"]) * 10 == pytest.approx(
        stage["tokens"]["completion"]
    )
    assert soak["measured_s"] == soak["planned_s"] == 240
    assert [(part["ended"], part["lost"]) for part in soak["parts"]] == [("finished", None)]


def test_a_soak_of_one_agent_is_analysed_as_any_other(soaks: Soaks):
    results = soaks.run(agents={"levels": [1]})
    (stage,) = results["targets"][0]["stages"]
    assert (results["verdict"], stage["agents"], stage["attribution"], stage["retention"]) == ("valid", 1, None, 1.0)


def test_a_pattern_lets_agents_rest_after_their_job_and_the_soak_is_valid(soaks: Soaks):
    pattern = {"window": "30s", "pattern": "spikes", "period": "150s", "base": 1}
    results = soaks.run(soak=pattern, agents={"levels": [3]}, stage={"duration": "5m"})
    rows = results["soak"]["windows"]
    assert [row["agents"] for row in rows[:5]] == [1, 1, 1, 1, 3]
    assert (results["verdict"], reasons(results)) == ("valid", "")
    busy = [row["requests"] for row in rows if row["agents"] == 3]
    calm = [row["requests"] for row in rows if row["agents"] == 1]
    assert min(busy) > 2 * max(calm[1:4])
    lives = [life for life in everything(soaks.folder / "night", "agent_end") if life["agent"] == 2]
    assert len(lives) == 2
    jobs = [job for job in everything(soaks.folder / "night", "job") if job["agent"] == 2]
    assert {job["outcome"] for job in jobs} <= {"answered", "censored"}
    assert sum(job["outcome"] == "censored" for job in jobs) <= 1


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (("steady", 4, None, None), (4, 4, 4, 4, 4, 4)),
        (("ramp", 6, None, None), (1, 2, 3, 4, 5, 6)),
        (("ramp", 4, 2, None), (2, 2, 3, 3, 4, 4)),
        (("day", 8, None, 240.0), (2, 5, 8, 5, 2, 5)),
        (("spikes", 8, 3, 300.0), (3, 3, 3, 3, 8, 3)),
    ],
)
def test_the_patterns(pattern, expected):
    assert levels(*pattern, window_s=60.0, duration_s=360.0) == expected


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40))
def test_shifts_put_as_many_agents_to_work_as_planned(plan):
    at_work = Counter(
        number for agent in range(6) for begin, end in shifts(plan, agent) for number in range(begin, end)
    )
    assert [at_work[number] for number in range(len(plan))] == plan


def test_files_in_parts_are_read_as_one(soaks: Soaks):
    soaks.parts = Parts(file_bytes=100_000)
    results = soaks.run()
    directory = soaks.folder / "night"
    names = [part.name for part in parts_of(directory / "events.jsonl")]
    assert names[:2] + names[-1:] == ["events.jsonl.1", "events.jsonl.2", "events.jsonl"]
    for name in ("events.jsonl", "server.jsonl", "histograms.hlog"):
        whole = b"".join(part.read_bytes() for part in parts_of(directory / name))
        for part in parts_of(directory / name):
            part.unlink()
        (directory / name).write_bytes(whole)
    assert analyse(directory) == results


def test_the_tenth_part_comes_after_the_ninth(tmp_path: Path):
    for number in range(12):
        (tmp_path / "log").write_text(str(number))
        put_aside(tmp_path / "log")
    (tmp_path / "log").write_text("new")
    assert [part.read_text() for part in parts_of(tmp_path / "log")] == [*map(str, range(12)), "new"]


@pytest.mark.parametrize("share", [0.02, 0.6])
def test_a_killed_soak_goes_on_and_nothing_is_lost_or_counted_twice(soaks: Soaks, share: float):
    soaks.run()
    soaks.break_off(share=share)
    directory = soaks.folder / "night"
    before = everything(directory, "attempt")
    broken = analyse(directory)
    assert "the run broke off" in reasons(broken)
    results = soaks.resume()
    jsonschema.validate(results, results_schema())
    assert (results["verdict"], reasons(results)) == ("valid", "")
    soak, (stage,) = results["soak"], results["targets"][0]["stages"]
    assert [part["ended"] for part in soak["parts"]] == ["killed", "finished"]
    assert "at most 2 requests in flight" in soak["parts"][0]["lost"]
    whole = [row["number"] for row in soak["windows"] if row["whole"]]
    assert whole == list(range(24))
    attempts = everything(directory, "attempt")
    assert attempts[: len(before)] == before
    ids = [line["id"] for line in attempts]
    assert len(set(ids)) == len(ids)
    assert sum(row["requests"] for row in soak["windows"]) == sum(stage["finish_reasons"].values())
    jobs = Counter((job["agent"], job["task"], job["variant"]) for job in everything(directory, "job"))
    assert max(jobs.values()) - min(jobs.values()) <= 2  # agents go on with their order of jobs
    assert stage["window_s"] == pytest.approx(soak["measured_s"], abs=0.1)
    assert soak["measured_s"] >= 240
    assert stage["achieved"]["agents_alive_mean"] == pytest.approx(2, abs=0.05)


def test_a_soak_can_break_off_again_and_again(soaks: Soaks):
    soaks.run()
    soaks.break_off(share=0.3)
    soaks.resume()
    soaks.break_off(share=0.5)
    results = soaks.resume()
    assert [part["ended"] for part in results["soak"]["parts"]] == ["killed", "killed", "finished"]
    assert results["verdict"] == "valid"
    assert {row["number"] for row in results["soak"]["windows"] if row["whole"]} == set(range(24))


def test_what_was_spent_of_a_budget_stays_spent(soaks: Soaks):
    soaks.run(budget={"requests": 150})
    soaks.break_off(share=0.6)
    assert "budget: 150 requests spent" in reasons(soaks.resume())
    assert 150 <= len(everything(soaks.folder / "night", "attempt")) <= 152
    with pytest.raises(UsageError, match="its budget of 150 requests is spent"):
        soaks.resume()


def test_what_cannot_go_on_is_refused(soaks: Soaks):
    soaks.run()
    directory = soaks.folder / "night"
    with pytest.raises(UsageError, match="is finished, all 4m are measured"):
        soaks.resume()
    soaks.break_off()
    with locked(directory), pytest.raises(UsageError, match="is still running"):
        soaks.resume()
    other = load_scenario(soaks.folder / "small.yaml", ["agents.seed=8"])
    with pytest.raises(UsageError, match="another scenario"):
        resume_soak(directory, None, other)
    (directory / "checkpoint.json").write_text('{"bytes": {"events.jsonl": 99999999}}')
    with pytest.raises(UsageError, match="bytes are gone"):
        soaks.resume()
    with pytest.raises(UsageError, match="no such run directory"):
        resume_soak(soaks.folder / "nowhere", None)


def test_a_soak_of_several_levels_or_targets_is_refused_with_what_to_choose(soaks: Soaks):
    scenario = load_scenario(soaks.write(agents={"levels": [1, 4]}))
    with pytest.raises(UsageError, match="choose with --agents 4"):
        run_soak(scenario, None, None, predict_scenario)
    endless = ["agents.levels=[1]", "soak.window=10ms", "stage.duration=166h"]
    with pytest.raises(UsageError, match=r"soak\.window: 59760000 windows are too many"):
        run_soak(load_scenario(soaks.folder / "small.yaml", endless), None, None, run_scenario)


def test_the_time_line_never_goes_back_whatever_the_clock_was_set_to(soaks: Soaks):
    soaks.run()
    soaks.break_off()
    directory = soaks.folder / "night"
    scenario = load_scenario(directory / "scenario.yaml")
    last = max(line.get("end_ns", line["t_ns"]) for kind in ("attempt", "job") for line in everything(directory, kind))
    environment = {"predicted": True, "targets": {}}
    assert next_part(directory, scenario, environment, elapsed_s=-3600).start_ns > last
    assert next_part(directory, scenario, environment, elapsed_s=86400).start_ns == 86400 * 10**9


def test_the_disk_is_estimated_from_above(soaks: Soaks):
    soaks.run()
    directory = soaks.folder / "night"
    taken = sum(path.stat().st_size for path in directory.iterdir() if path.name != "results.json")
    needed = disk_bytes(load_scenario(directory / "scenario.yaml"))
    assert taken < needed < 5 * taken


def test_a_soak_that_does_not_fit_on_the_disk_is_refused_before_it_starts(soaks: Soaks, monkeypatch):
    path = soaks.write()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(UsageError, match=r"may take \d+ MB on the disk, and 0 MB are free"):
        run_soak(load_scenario(path), soaks.folder / "night", None, predict_scenario)
    assert not (soaks.folder / "night").exists()


def test_the_scenario_that_init_writes_can_be_soaked_for_longer_than_its_windows_may_grow(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert called("init", cwd=tmp_path).returncode == 0
    loaded = load_any(
        str(tmp_path / "scenario.yaml"), None, None, ["stage.duration=8h", "agents.levels=[4]"], None, soak=True
    )
    assert as_soak(loaded.only([loaded.targets[0].name])).stage.duration == 8 * 3600
