"""The files that run a night: what they call exists, and night.sh goes on, starts anew, ends with the right code."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from small_runs import called

from swarm.engine.soak_segment import locked

FOLDER = Path(__file__).parents[2] / "docs/nightly"
FAKE = """#!/bin/sh
[ "$1" = validate ] || echo "$@" >> calls
case "$1 $2" in
validate*) echo "name: nightly"; echo "targets: []" ;;
"soak --resume") echo "$3"; exit $RESUME ;;
soak*) mkdir -p runs/nightly-20260102T220000Z; echo runs/nightly-20260102T220000Z; exit $SOAK ;;
check*) exit $CHECK ;;
esac
"""
START = "soak /etc/nightly-soak.yaml --quiet --yes"
BEFORE, TONIGHT = "runs/nightly-20260101T220000Z", "runs/nightly-20260102T220000Z"


def night(folder: Path, soak: int = 0, check: int = 0, resume: int = 0) -> tuple[int, list[str]]:
    """night.sh with a swarm that only notes how it was called, and ends as it is told to; the scenario is `nightly`."""
    (folder / "swarm").write_text(FAKE)
    (folder / "swarm").chmod(0o755)
    codes = {"SOAK": str(soak), "CHECK": str(check), "RESUME": str(resume)}
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **codes}
    done = subprocess.run([FOLDER / "night.sh", "/etc/nightly-soak.yaml", "--yes"], cwd=folder, env=environment)
    calls = folder / "calls"
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


def test_a_night_is_soaked_and_checked(tmp_path: Path):
    assert night(tmp_path) == (0, [START, f"check {TONIGHT} --junit {TONIGHT}/junit.xml"])


def test_a_night_that_broke_off_goes_on_and_one_that_ended_does_not(tmp_path: Path):
    (tmp_path / BEFORE).mkdir(parents=True)
    (tmp_path / "runs/nightly-of-others-20260101T230000Z").mkdir()
    assert night(tmp_path)[1][0] == f"soak --resume {BEFORE} --quiet"
    (tmp_path / BEFORE / "results.json").write_text("{}")
    assert night(tmp_path)[1][2] == START


def test_a_night_that_cannot_go_on_does_not_block_the_next(tmp_path: Path):
    (tmp_path / BEFORE).mkdir(parents=True)
    code, called = night(tmp_path, resume=2)
    assert (code, called) == (
        0,
        [f"soak --resume {BEFORE} --quiet", START, f"check {TONIGHT} --junit {TONIGHT}/junit.xml"],
    )


def test_a_night_that_is_still_running_is_left_alone(tmp_path: Path):
    (tmp_path / BEFORE).mkdir(parents=True)
    with locked(tmp_path / BEFORE):
        assert night(tmp_path) == (2, [])


@pytest.mark.parametrize(
    ("soak", "check", "code", "calls"), [(3, 3, 3, 2), (4, 4, 4, 2), (0, 4, 4, 2), (5, 0, 5, 1), (130, 0, 130, 1)]
)
def test_its_exit_code_is_the_checks_where_something_was_measured_else_the_soaks(tmp_path, soak, check, code, calls):
    found, called = night(tmp_path, soak, check)
    assert (found, len(called)) == (code, calls)


def test_every_swarm_command_in_the_files_is_one_with_options_that_it_has():
    for file in FOLDER.iterdir():
        for command, rest in re.findall(r"\bswarm (soak|check|history)\b([^\n]*)", file.read_text()):
            shown = called(command, "--help").stdout
            for option in re.findall(r"--[a-z-]+", rest):
                assert option in shown, (file.name, command, option)


def test_the_workflow_and_the_cron_job_say_what_they_must():
    workflow = yaml.safe_load((FOLDER / "github-workflow.yml").read_text())
    assert workflow["jobs"]["soak"]["timeout-minutes"] > 8 * 60
    claim, job = yaml.safe_load_all((FOLDER / "cronjob.yaml").read_text())
    spec = job["spec"]["jobTemplate"]["spec"]
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2, 3, 4]
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in spec["template"]["spec"]["containers"][0]["volumeMounts"]} == volumes
    assert claim["metadata"]["name"] == "swarm-runs"
