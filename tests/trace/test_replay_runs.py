"""Whole replays against the simulated server: what its server counts is what the trace says."""

import json
from pathlib import Path

import pytest
import yaml
from small_runs import PROFILE, called, records, swarm, write_project

from swarm.commands.predict import predict_scenario
from swarm.scenario.load import load_scenario
from swarm.trace.format import TraceTurn
from swarm.trace.read import load_trace

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run of scripts in virtual time, one agent, its contents recorded; and the same without contents."""
    folder = write_project(tmp_path_factory.mktemp("recorded"))
    runs = {}
    for name, content in (("said", True), ("counted", False)):
        scenario = load_scenario(folder / "small.yaml", ["agents.levels=[1]", f"record.content={str(content).lower()}"])
        predict_scenario(scenario, folder / name, None)
        runs[name] = folder / name
    return runs


def predict(folder, trace, *settings):
    """The replay of a trace in virtual time; its run directory."""
    scenario = {
        "targets": [{"name": "moe", "architecture": "moe", "simulate": PROFILE}],
        "agents": {"levels": [1, 3], "context": "16k", "driver": "trace", "trace": str(trace)},
        "stage": {"warmup": "1s", "duration": "20s", "trials": 1},
    }
    path = folder / "replay.yaml"
    path.write_text(yaml.safe_dump(scenario))
    directory = folder / "replay"
    predict_scenario(load_scenario(path, list(settings)), directory, None)
    return directory


def counted(directory, level):
    """(session, turn) -> prompt, cached and completion tokens of the first time that it was sent."""
    attempts = {each["parent"]: each for each in records(directory, "attempt") if not each["aborted"]}
    found = {}
    for turn in records(directory, "turn"):
        if turn["agents"] == level and (sent := attempts.get(turn["id"])):
            counts = sent["prompt_tokens"], sent["cached_tokens"], sent["completion_tokens"]
            found.setdefault((sent["variant"], turn["number"]), counts)
    return found


def told(turn: TraceTurn):
    return turn.prompt_tokens, turn.cached_tokens, turn.completion_tokens


@pytest.mark.parametrize("level", [1, 3])
def test_the_server_counts_what_the_trace_says(recorded, tmp_path, level):
    made = load_trace(recorded["counted"])
    replayed = counted(predict(tmp_path, recorded["counted"]), level)
    later = [turn for turn in made.turns if turn.number > 1]
    assert len(replayed) >= 6
    assert {turn.session for turn in made.turns} == {session for session, _ in replayed}
    for turn in later:
        assert replayed[turn.session, turn.number] == told(turn)
    for turn in made.turns:  # the first prompt of all finds nothing cached, in both
        prompt, _, completion = replayed[turn.session, turn.number]
        assert (prompt, completion) == (turn.prompt_tokens, turn.completion_tokens)


def test_what_was_said_is_counted_as_it_was_but_for_salt_and_ticket(recorded, tmp_path):
    made = load_trace(recorded["said"])
    assert made.header.content
    replayed = counted(predict(tmp_path, recorded["said"]), 1)
    extra = {replayed[turn.session, turn.number][0] - turn.prompt_tokens for turn in made.turns}
    assert len(extra) <= 2  # the texts are filled up to whole tokens
    assert max(extra) <= 16


def test_the_same_trace_and_seed_give_the_same_replay(recorded, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one, other = (counted(predict(tmp_path / name, recorded["counted"]), 3) for name in ("one", "other"))
    assert one == other


def test_the_shipped_session_is_replayed_with_its_sub_agents(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    scenario = load_scenario(ROOT / "scenarios/replay.yaml", ["agents.levels=[1, 4]", "stage.duration=45s"])
    predict_scenario(scenario, tmp_path / "run", None)
    shipped = load_trace(ROOT / scenario.agents.trace.path)
    for level in (1, 4):
        replayed = counted(tmp_path / "run", level)
        assert {(turn.session, turn.number) for turn in shipped.turns} == set(replayed)
        for turn in shipped.turns:
            prompt, cached, completion = replayed[turn.session, turn.number]
            assert (prompt, completion) == (turn.prompt_tokens, turn.completion_tokens)
            if (
                turn.number > 1
            ):  # a block less, where the reply before it is prefilled again; or more, from other agents
                before = replayed[turn.session, turn.number - 1][0]
                assert before - 16 <= cached <= turn.cached_tokens + 16
    again = load_trace(tmp_path / "run").sessions().values()
    children = [turns[0] for turns in again if turns[0].parent]
    assert {(turn.session.partition(":")[2], turn.parent.turn) for turn in children} == {
        ("trace/s2", 4),
        ("trace/s4", 4),
        ("trace/s5", 5),
        ("trace/s7", 4),
        ("trace/s8", 8),
    }


def test_what_the_trace_does_not_say_is_in_environment_json(recorded, tmp_path):
    directory = predict(tmp_path, recorded["counted"])
    notes = json.loads((directory / "environment.json").read_text())["targets"]["moe"]["notes"]
    assert any("prompts are made up" in note for note in notes)


@pytest.mark.realtime
def test_a_replay_in_real_time_and_its_commands(recorded, tmp_path):
    """Cut, look, try out, run: the commands as a person uses them."""
    cut = called("trace", "cut", recorded["counted"], "--session", "*/0.[12]:*", "--out", "small.jsonl", cwd=tmp_path)
    assert cut.returncode == 0, cut.stderr
    assert called("trace", "cut", "small.jsonl", "--out", "small.jsonl", cwd=tmp_path).returncode == 2
    shown = called("trace", "small.jsonl", "--svg", "small.svg", cwd=tmp_path)
    assert "2 sessions, 6 turns" in shown.stdout
    assert "Best possible prefix-cache hit rate:" in shown.stdout
    assert (tmp_path / "small.svg").read_text().count("<svg") == 5
    assert json.loads(called("trace", "small.jsonl", "--json", cwd=tmp_path).stdout)["turns"] == 6
    scenario = {
        "targets": [{"name": "moe", "architecture": "moe", "simulate": PROFILE}],
        "route": "direct",
        "agents": {"levels": [2], "driver": "trace", "trace": "small.jsonl"},
        "stage": {"warmup": "300ms", "duration": "3s", "trials": 1},
    }
    (tmp_path / "replay.yaml").write_text(yaml.safe_dump(scenario))
    dry = called("run", "replay.yaml", "--dry-run", cwd=tmp_path)
    assert "small.jsonl: 2 sessions, 6 turns" in dry.stdout
    ran = swarm("run", "replay.yaml", "--out", "run", cwd=tmp_path)
    assert ran.returncode in (0, 3), ran.stderr  # a busy machine makes a run invalid
    replayed = counted(tmp_path / "run", 2)
    made = load_trace(tmp_path / "small.jsonl")
    assert {(turn.session, turn.number) for turn in made.turns} == set(replayed)
    for turn in made.turns:
        assert replayed[turn.session, turn.number][::2] == told(turn)[::2]
