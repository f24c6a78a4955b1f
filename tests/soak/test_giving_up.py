"""A run whose server is gone for good ends, saves and says so; a soak outlasts it, unless it is told not to."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from small_runs import write_project
from soaks import Soaks, reasons

from swarm.cli.ending import Ending, finish
from swarm.commands.predict import predict_scenario
from swarm.scenario.load import load_scenario

LONG: dict[str, Any] = {
    "stage": {"warmup": "20s", "duration": "4m", "trials": 1},
    "agents": {"levels": [1, 2], "system_tokens": 1500, "context": "4k", "think": "3s"},
}


def last_request_s(directory: Path) -> float:
    lines = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    return max(line["t_ns"] for line in lines if line["type"] == "attempt") / 1e9


def test_a_run_whose_server_is_gone_for_a_minute_stops_keeps_what_it_has_and_exits_with_5(
    tmp_path: Path, soaks: Soaks, trouble, monkeypatch, capsys
):
    trouble(down=(100.0, float("inf")))
    monkeypatch.chdir(write_project(tmp_path, **LONG))
    outcome = predict_scenario(load_scenario(Path("small.yaml")), Path("gone"), None, parts=soaks.parts)
    with pytest.raises(typer.Exit) as left:
        finish(outcome, Ending())
    assert left.value.exit_code == 5
    done = capsys.readouterr()
    said = "client.give_up: no request has reached moe for 1m: connection refused"
    assert f"stopped: {said}" in done.err
    assert f"interrupted by {said}" in " ".join(done.out.split())
    assert 155 <= last_request_s(tmp_path / "gone") <= 166  # an agent backs off to a try in 5 s
    first, second = json.loads((tmp_path / "gone/results.json").read_text())["targets"][0]["stages"]
    assert (first["status"], second["status"]) == ("run", "skipped")
    assert first["tokens"]["completion"] > 0


def test_a_server_that_comes_back_in_time_ends_no_run(tmp_path: Path, trouble, monkeypatch, soaks: Soaks):
    trouble(down=(100.0, 155.0))
    monkeypatch.chdir(write_project(tmp_path, **LONG))
    outcome = predict_scenario(load_scenario(Path("small.yaml")), Path("back"), None, parts=soaks.parts)
    assert (outcome.stopped, outcome.unreachable) == (None, False)


@pytest.mark.parametrize(("give_up", "stopped"), [("90s", False), ("10s", True), (None, False)])
def test_how_long_is_the_scenarios_to_say(tmp_path: Path, trouble, monkeypatch, give_up, stopped, soaks: Soaks):
    trouble(down=(100.0, 175.0))
    monkeypatch.chdir(write_project(tmp_path, **LONG, client={"give_up": give_up}))
    assert (
        predict_scenario(load_scenario(Path("small.yaml")), Path("run"), None, parts=soaks.parts).unreachable is stopped
    )


def test_a_soak_outlasts_minutes_without_a_server(soaks: Soaks, trouble):
    trouble(down=(60.0, 200.0))
    assert soaks.run()["soak"]["parts"][0]["ended"] == "finished"


def test_a_soak_can_be_told_when_to_give_up(soaks: Soaks, trouble):
    trouble(down=(60.0, 200.0))
    results = soaks.run(client={"give_up": "30s"})
    assert results["soak"]["parts"][0]["ended"].startswith("client.give_up: no request has reached moe for 30s")
    assert "no request has reached moe" in reasons(results)
