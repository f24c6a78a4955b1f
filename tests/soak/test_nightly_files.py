"""The files that run a night: what they call exists, and night.sh goes on, starts anew, ends with the right code."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from small_runs import SWARM

FOLDER = Path(__file__).parents[2] / "docs/nightly"
FAKE = """#!/bin/sh
echo "$@" >> calls
case $1 in
soak) mkdir -p runs/nightly-soak-2; echo runs/nightly-soak-2; exit $SOAK ;;
check) exit $CHECK ;;
esac
"""


def night(folder: Path, soak: int = 0, check: int = 0) -> tuple[int, list[str]]:
    """night.sh with a swarm that only notes how it was called, and ends as it is told to."""
    (folder / "swarm").write_text(FAKE)
    (folder / "swarm").chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "SOAK": str(soak), "CHECK": str(check)}
    done = subprocess.run([FOLDER / "night.sh", "/etc/nightly-soak.yaml", "--yes"], cwd=folder, env=environment)
    return done.returncode, (folder / "calls").read_text().splitlines()


def test_a_night_is_soaked_and_checked(tmp_path: Path):
    assert night(tmp_path) == (
        0,
        [
            "soak /etc/nightly-soak.yaml --quiet --yes",
            "check runs/nightly-soak-2 --junit runs/nightly-soak-2/junit.xml",
        ],
    )


def test_a_night_that_broke_off_goes_on_and_one_that_ended_does_not(tmp_path: Path):
    (tmp_path / "runs/nightly-soak-1").mkdir(parents=True)
    (tmp_path / "runs/other-9").mkdir()
    assert night(tmp_path)[1][0] == "soak --resume runs/nightly-soak-1 --quiet"
    for run in (1, 2):
        (tmp_path / f"runs/nightly-soak-{run}/results.json").write_text("{}")
    assert night(tmp_path)[1][2] == "soak /etc/nightly-soak.yaml --quiet --yes"


@pytest.mark.parametrize(
    ("soak", "check", "code", "calls"), [(3, 3, 3, 2), (4, 4, 4, 2), (0, 4, 4, 2), (5, 0, 5, 1), (130, 0, 130, 1)]
)
def test_its_exit_code_is_the_checks_where_something_was_measured_else_the_soaks(tmp_path, soak, check, code, calls):
    found, called = night(tmp_path, soak, check)
    assert (found, len(called)) == (code, calls)


def test_every_swarm_command_in_the_files_is_one_with_options_that_it_has():
    for file in FOLDER.iterdir():
        for command, rest in re.findall(r"\bswarm (soak|check|history)\b([^\n]*)", file.read_text()):
            shown = subprocess.run([SWARM, command, "--help"], capture_output=True, text=True).stdout
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
