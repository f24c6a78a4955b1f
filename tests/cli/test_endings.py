"""What commands that run a scenario print at the end: columns, JSON, one line on why a code is not 0, and the help."""

import json

import pytest
from small_runs import called

from swarm.cli.grouped import GROUPS

SCENARIO = """name: small
targets: [{name: moe, architecture: moe, simulate: moe-30b-a3b-awq-1x3090}]
agents: {levels: [1]}
stage: {warmup: 2s, duration: 60s, trials: 1}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "small.yaml").write_text(SCENARIO)
    return tmp_path


def test_columns_are_those_that_were_asked_for(folder):
    done = called("predict", "small.yaml", "--columns", "jobs_per_h,ttft_s.p99", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "model  agents   jobs   TTFT" in done.stdout
    refused = called("predict", "small.yaml", "--columns", "ttft", cwd=folder)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: --columns ttft: no such number; ")


def test_json_is_all_of_stdout_and_names_the_directory(folder):
    done = called("predict", "small.yaml", "--json", "--out", "here", cwd=folder)
    document = json.loads(done.stdout)
    assert (document["directory"], document["verdict"]) == ("here", "valid")
    assert document["targets"] == json.loads((folder / "here/results.json").read_text())["targets"]


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        ([], 0, ""),
        (["--duration", "3s"], 3, "invalid: moe with 1 agent: too few turns: "),
        (["--set", "thresholds=[moe.agents=1.ttft.p95 < 1ms]"], 4, "failed: moe.agents=1.ttft.p95 < 1ms ("),
    ],
)
def test_quiet_says_in_one_line_why_a_code_is_not_0(folder, options, code, why):
    done = called("predict", "small.yaml", "-q", "--out", "here", *options, cwd=folder)
    assert (done.returncode, done.stdout) == (code, "here\n")
    assert done.stderr.startswith(why)
    assert done.stderr.count("\n") == (code != 0)


def test_checks_are_printed_as_json_too(folder):
    assert called("predict", "small.yaml", "-q", "--out", "here", cwd=folder).returncode == 0
    done = called("check", "here", "--json", cwd=folder)
    document = json.loads(done.stdout)
    assert document["summary"].startswith("PASSED small")
    assert document["checks"][0] == {"gate": "validity", "name": "moe at 1 agent", "status": "passed", "text": "valid"}
    assert called("check", "here", "--json", "--markdown", cwd=folder).returncode == 2


COMMANDS = [name for names in GROUPS.values() for name in names]


def test_help_lists_all_commands_in_groups_and_cuts_nothing():
    shown = called("--help").stdout
    places = [shown.index(f"\n  {command} ") for command in COMMANDS]
    assert places == sorted(places)
    assert "..." not in shown.partition("\n")[2]
    assert all(f"\n{title}:\n" in shown for title in GROUPS)
    assert "\nCommands:" not in shown  # those of no group


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_of_itself(command):
    assert f"Example: swarm {command} " in called(command, "--help").stdout
