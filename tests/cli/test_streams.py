"""What a command does when its output goes nowhere, onto a full disk, or into a terminal of few characters."""

import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

from small_runs import SWARM, write_project


def into_a_closed_pipe(*arguments: object) -> "subprocess.CompletedProcess[str]":
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run([SWARM, *map(str, arguments)], stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)


def test_a_closed_pipe_ends_nothing_the_files_are_written_and_the_verdict_stays(recorded_invalid: Path):
    junit = recorded_invalid / "junit.xml"
    done = into_a_closed_pipe("report", recorded_invalid, "--junit", junit)
    assert (done.returncode, done.stderr) == (3, "")
    assert ElementTree.parse(junit).getroot()[0].get("errors") == "1"
    done = into_a_closed_pipe("profiles")
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_one_line_and_exit_2():
    with open("/dev/full", "w") as full:
        done = subprocess.run([SWARM, "profiles"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_characters_that_the_terminal_has_not_are_replaced(tmp_path: Path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command, project = [SWARM, "predict", "small.yaml"], write_project(tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=project)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\?\d+%", done.stdout), "a plus-minus sign elsewhere"


def test_a_file_that_cannot_be_one_is_named(recorded_invalid: Path):
    done = subprocess.run(
        [SWARM, "report", recorded_invalid, "--html", "."], capture_output=True, text=True, cwd=recorded_invalid
    )
    assert done.stderr.startswith("error: .: cannot be written: ")
