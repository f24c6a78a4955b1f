"""The commands as a person calls them: exit codes, what is printed where, and what is imported for it."""

import json
import subprocess
import sys

import pytest
import yaml
from small_runs import ROOT, called, swarm

from swarm import __version__

TARGET = "targets:\n  - {name: moe, architecture: moe, simulate: moe-30b-a3b-awq-1x3090}\n"


def test_the_version_is_printed():
    assert swarm("--version", cwd=ROOT).stdout == f"swarm {__version__}\n"


@pytest.mark.parametrize("command", [[], ["run"], ["report"], ["validate"], ["init"], ["serve"]])
def test_help_answers_without_importing_what_is_slow(command):
    code = (
        "import sys\nfrom swarm.cli import app\n"
        f"try: app({[*command, '--help']!r})\nexcept SystemExit as end: assert not end.code\n"
        "slow = {'litellm', 'aiohttp', 'openai', 'hdrh', 'yaml'} & set(sys.modules)\nassert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_validate_prints_every_default():
    done = called("validate", "scenarios/four-agents.yaml")
    resolved = yaml.safe_load(done.stdout)
    assert done.returncode == 0
    assert resolved["client"] == {
        "timeout": "10m",
        "idle_timeout": "1m",
        "max_reply_bytes": "64MiB",
        "retries": 0,
        "retry_after_max": "30s",
        "give_up": "1m",
        "max_lag": "5ms",
        "max_cpu": "80%",
        "ca_file": None,
    }
    assert resolved["agents"]["levels"] == [1, 4]


def test_a_mistake_in_a_scenario_is_one_line_on_stderr_and_exit_2(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TARGET + "agents: {contxt: 8k}\n")
    done = called("validate", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {path}:3: agents.contxt: unknown key; did you mean context?\n"


def test_validate_reads_what_run_would_read(tmp_path):
    (tmp_path / "mine.jsonl").write_text("{}\n")
    for work, said in (
        ("agents: {driver: trace, trace: mine.jsonl}", "mine.jsonl: not recognised: "),
        (f"tasks: {{path: {tmp_path}}}", f"{tmp_path}: no task found"),
        ("agents: {context: 3100}", "agents.context: 3100 tokens, but the first turn of "),
    ):
        path = tmp_path / "mine.yaml"
        path.write_text(TARGET + work)
        done = called("validate", path)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


@pytest.mark.parametrize("arguments", [["run"], ["run", "x.yaml", "--nope"], ["nope"], ["report"]])
def test_wrong_usage_is_exit_2(arguments):
    assert called(*arguments).returncode == 2


@pytest.mark.parametrize("option", ["--shard=0/3", "--rendezvous=10.0.0.5:29400", "--run-id=x"])
def test_an_option_of_the_shards_that_were_removed_says_what_to_use_instead(option, tmp_path):
    done = called("run", "x.yaml", option, "--workers", "2", cwd=tmp_path)
    assert done.returncode == 2
    assert option.partition("=")[0] in done.stderr
    for instead in ("--workers N", "--engine ray", "KubeRay", "ray start"):
        assert instead in done.stderr
    assert option.partition("=")[0] not in called("run", "--help").stdout


def test_merging_shards_says_that_it_was_removed(recorded):
    environment = recorded / "environment.json"
    told = json.loads(environment.read_text())
    environment.write_text(json.dumps(told | {"shard": {"index": 0, "of": 3}}))
    done = called("report", recorded, recorded, "--out", "whole")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--out was removed with --shard" in done.stderr
    for arguments in (("report", recorded, recorded), ("check", recorded)):
        done = called(*arguments)
        assert done.returncode == 2
        assert f"{recorded}: one shard of a run that an older version recorded with --shard" in done.stderr


def test_init_writes_a_scenario_that_can_be_run_and_overwrites_nothing(tmp_path):
    assert called("init", "mine.yaml", cwd=tmp_path).returncode == 0
    assert called("run", "mine.yaml", "--dry-run", cwd=tmp_path).returncode == 0
    again = called("init", "mine.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "mine.yaml exists" in again.stderr


def test_a_dry_run_tells_time_requests_and_tokens_and_leaves_nothing_behind(tmp_path):
    done = called("run", ROOT / "scenarios/four-agents.yaml", "--dry-run", "--agents", "1,4,8", cwd=tmp_path)
    assert done.returncode == 0
    first, *targets, order = done.stdout.splitlines()
    assert first == "four-agents: 6 stages, at most 6.3 min of load in total"
    assert [line.split(":")[0].strip() for line in targets] == ["moe", "dense"]
    assert all("requests" in line and "prompt tokens" in line and "completion tokens" in line for line in targets)
    assert order.strip() == "order: moe@1 dense@1 dense@4 moe@4 moe@8 dense@8"  # another target begins at each level
    assert list(tmp_path.iterdir()) == []


def test_a_public_host_asks_for_yes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("targets:\n  - {name: a, architecture: moe, api_base: https://8.8.8.8/v1}\n")
    done = called("run", path, cwd=tmp_path)
    assert done.returncode == 2
    assert "8.8.8.8: not on this machine or network" in done.stderr
    assert "--yes" in done.stderr
