"""`swarm run` end to end: the installed command, real processes, real sockets, the simulated vLLM."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from small_runs import PROFILE, SWARM, called, results, started, swarm, write_project

from swarm.analysis.schema import results_schema

pytestmark = pytest.mark.realtime


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with three small tasks and a scenario on one simulated model: 1 and 2 agents, windows of 3.5 s."""
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def finished(project):
    """One whole run: what the command said, and its directory."""
    done = swarm("run", "small.yaml", "--out", "whole", cwd=project)
    return done, project / "whole"


def test_a_run_is_valid_and_ends_with_its_directory(finished):
    done, directory = finished
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "whole"
    assert " VALID " in done.stdout
    recorded = {"scenario.yaml", "environment.json", "events.jsonl", "histograms.hlog", "server.jsonl"}
    assert {path.name for path in directory.iterdir()} == {*recorded, "results.json", "report.html"}


def test_its_results_follow_the_published_schema_and_are_those_of_the_stages(finished):
    found = results(finished[1])
    jsonschema.validate(found, results_schema())
    (target,) = found["targets"]
    one, two = target["stages"]
    assert (one["agents"], two["agents"]) == (1, 2)
    assert two["achieved"]["agents_alive_mean"] == pytest.approx(2, abs=0.02)
    assert [agent["agent"] for agent in two["per_agent"]] == [0, 1]
    assert one["retention"] == 1
    assert 0.4 < two["retention"] < 1
    assert one["client"]["stamp_source"] == ("kernel" if sys.platform == "linux" else "user")


def test_every_token_is_one_that_the_server_counted(finished):
    lines = [json.loads(line) for line in (finished[1] / "events.jsonl").read_text().splitlines()]
    for ended in (line for line in lines if line["type"] == "stage_end"):
        mine = [line for line in lines if line["type"] == "attempt" and line["agents"] == ended["agents"]]
        complete = [line for line in mine if not line.get("aborted")]
        assert all(line["completion_tokens"] == 8 for line in complete)
        counted = ended["counters"]["completion_tokens"]
        ours = sum(line.get("completion_tokens") or 0 for line in mine)
        assert ours <= counted <= ours + 4 * (len(mine) - len(complete))


def test_tools_really_ran_and_no_result_came_before_its_plan(finished):
    lines = [json.loads(line) for line in (finished[1] / "events.jsonl").read_text().splitlines()]
    tools = [line for line in lines if line["type"] == "tool"]
    assert {line["name"] for line in tools} == {"list_files", "read_file"}
    assert all(line["ok"] for line in tools)
    assert all(line["end_ns"] - line["t_ns"] >= line["planned_ns"] for line in tools)


def test_report_recomputes_the_same_results_from_the_other_files(finished, project):
    before = results(finished[1])
    (finished[1] / "results.json").unlink()
    done = called("report", "whole", cwd=project)
    assert done.returncode == 0
    assert results(finished[1]) == before
    assert json.loads(called("report", "whole", "--json", cwd=project).stdout) == before
    assert "\n| model | agents |" in called("report", "whole", "--markdown", cwd=project).stdout


def test_the_resolved_scenario_of_a_run_can_be_run_again(finished, project):
    again = called("run", "whole/scenario.yaml", "--dry-run", cwd=project)
    assert again.returncode == 0
    assert again.stdout.startswith("small: 2 stages")


def test_the_default_route_runs_through_litellm_and_quiet_prints_nothing_but_the_directory(project):
    done = swarm("run", "small.yaml", "-q", "--set", "route=litellm", "--agents", "1", "--out", "quiet", cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "quiet\n", "")
    assert json.loads((project / "quiet/environment.json").read_text())["client"]["route"] == "litellm"
    assert results(project / "quiet")["verdict"] == "valid"


def test_a_failed_threshold_is_exit_4(project):
    impossible = 'thresholds=["moe.agents=1.ttft_s.p95 < 0.001", "*.agents=1.errors <= 0"]'
    done = swarm("run", "small.yaml", "--agents", "1", "--set", impossible, "--out", "slow", cwd=project)
    assert done.returncode == 4
    assert "FAILED: moe.agents=1.ttft_s.p95 < 0.001" in done.stdout
    assert [threshold["passed"] for threshold in results(project / "slow")["thresholds"]] == [False, True]


def test_too_short_a_window_is_invalid_and_exit_3(project):
    done = swarm("run", "small.yaml", "--agents", "1", "--duration", "500ms", "--out", "short", cwd=project)
    assert done.returncode == 3
    assert "too few turns" in done.stdout


def test_a_spent_budget_stops_the_run_saves_it_and_says_so(project):
    done = swarm("run", "small.yaml", "--set", "budget.requests=5", "--out", "budget", cwd=project)
    assert done.returncode == 3
    assert "budget: 5 requests spent" in done.stdout
    lines = [json.loads(line) for line in (project / "budget/events.jsonl").read_text().splitlines()]
    assert 5 <= sum(line["type"] == "attempt" for line in lines) <= 7


def at_work(project: Path, out: str) -> "subprocess.Popen[str]":
    """A run that is in the window of its first stage."""
    return started(project, "run", "small.yaml", "--duration", "60s", "--out", out, out=out, attempts=5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_saves_reports_and_is_exit_130(project, number):
    out = f"stopped-{number.name}"
    process = at_work(project, out)
    process.send_signal(number)
    if number == signal.SIGHUP:  # a terminal that is gone says so twice
        time.sleep(0.1)
        process.send_signal(number)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout.splitlines()[-1] == out
    stage = results(project / out)["targets"][0]["stages"][0]
    assert f"interrupted by {number.name}" in stage["invalid_reasons"][0]
    assert stage["tokens"]["completion"] > 0


def simulators(project: Path, out: str) -> list[int]:
    """The process that listens at the run's target."""
    base = json.loads((project / out / "environment.json").read_text())["targets"]["moe"]["api_base"]
    port = int(re.search(r":(\d+)/", base)[1])
    with socket.socket() as probe:
        return [port] if probe.connect_ex(("127.0.0.1", port)) == 0 else []


def test_after_kill_9_the_run_can_be_reported_and_no_server_is_left(project):
    process = at_work(project, "killed")
    assert simulators(project, "killed")
    process.kill()
    process.communicate(timeout=60)
    limit = time.monotonic() + 10
    while simulators(project, "killed"):
        assert time.monotonic() < limit
        time.sleep(0.05)
    done = called("report", "killed", cwd=project)
    assert done.returncode == 0
    assert "broke off" in done.stdout
    assert results(project / "killed")["targets"][0]["stages"][0]["tokens"]["completion"] > 0


@pytest.fixture
def served(project):
    """A simulated vLLM that somebody else runs."""
    command = [SWARM, "serve", "--profile", PROFILE, "--port", "0", "--served-model-name", "coder"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().removeprefix("listening on ").strip() + "/v1"
    process.terminate()
    process.communicate(timeout=30)


def refused(project: Path, *settings: str) -> tuple[int, str]:
    """Exit code and message of a run that must not begin, and leaves no directory behind."""
    options = [word for setting in settings for word in ("--set", setting)]
    done = called("run", "small.yaml", *options, "--out", "refused", cwd=project)
    assert not (project / "refused").exists()
    assert done.stdout == ""
    return done.returncode, done.stderr


def served_target(base: str, **more: str) -> str:
    return "targets=[" + json.dumps({"name": "mine", "architecture": "moe", "api_base": base} | more) + "]"


def test_a_running_server_is_measured_through_its_address(project, served):
    target = served_target(served)
    done = swarm("run", "small.yaml", "--agents", "1", "--set", target, "--out", "served", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(project / "served")["targets"][0]["model"] == "coder"


def test_an_unreachable_server_is_exit_5_and_names_the_address(project):
    code, message = refused(project, served_target("http://127.0.0.1:9/v1"))
    assert code == 5
    assert "127.0.0.1:9" in message


def test_a_wrong_model_names_the_ones_that_are_served(project, served):
    code, message = refused(project, served_target(served, model="gpt-9"))
    assert code == 5
    assert "gpt-9" in message
    assert "coder" in message


def test_a_missing_key_variable_is_named(project, served):
    code, message = refused(project, served_target(served, api_key_env="SWARM_TEST_NO_SUCH_KEY"))
    assert code == 2
    assert "SWARM_TEST_NO_SUCH_KEY is not set" in message


def test_a_context_above_the_servers_limit_is_refused(project, served):
    code, message = refused(project, served_target(served), "agents.context=64k")
    assert code == 2
    assert "agents.context: 64000 tokens, but mine (coder) takes at most 32768" in message


def test_a_directory_that_exists_or_cannot_be_made_is_refused_before_the_run(finished, project):
    again = called("run", "small.yaml", "--out", "whole", cwd=project)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    (project / "file").write_text("")
    below = called("run", "small.yaml", "--out", "file/run", cwd=project)
    assert below.returncode == 2
    assert "cannot be made" in below.stderr
