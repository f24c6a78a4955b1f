"""A command that cannot write its files: the cause is named, what is known is shown, the exit code is right."""

import errno
import os
import resource
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest
from small_runs import SWARM, records, results, swarm, write_project
from typer.testing import CliRunner

from swarm.cli import app
from swarm.errors import UsageError


def test_report_shows_a_run_whose_results_cannot_be_rewritten_and_says_so(recorded: Path):
    (recorded / "results.json").mkdir()  # as a read-only disk, for root too
    done = CliRunner().invoke(app, ["report", str(recorded)])
    assert done.exit_code == 0
    assert " VALID " in done.stdout
    assert f"note: {recorded}/results.json: cannot be written: Is a directory; the other files hold" in done.stderr


@pytest.mark.parametrize("option", ["--html", "--svg", "--junit", "--openmetrics"])
def test_a_file_that_was_asked_for_and_cannot_be_written_is_exit_2(recorded: Path, tmp_path: Path, option: str):
    done = CliRunner().invoke(app, ["report", str(recorded), option, str(tmp_path / "none" / "file")])
    assert isinstance(done.exception, UsageError)
    assert done.exception.exit_code == 2
    assert str(done.exception) == f"{tmp_path}/none/file: cannot be written: No such file or directory"


def full_beyond(size: int) -> None:
    """No file of this process can be larger: what a full disk is like, without one."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_run_that_a_full_disk_stopped_names_the_file_and_is_invalid(tmp_path: Path):
    project = write_project(tmp_path)
    alone = ("--agents", "1", "--out", "run")
    done = swarm("run", "small.yaml", *alone, cwd=project, preexec_fn=lambda: full_beyond(6000))
    assert done.returncode == 3
    assert "stopped: run/events.jsonl: cannot be written: File too large; " in done.stderr
    assert "note: run/results.json: cannot be written: File too large; " in done.stderr
    assert "the run broke off before this stage had ended" in done.stdout
    assert done.stdout.splitlines()[-1] == "run"


def test_a_run_whose_results_alone_cannot_be_written_exits_by_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target.name == "results.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    monkeypatch.chdir(write_project(tmp_path))
    monkeypatch.setattr(Path, "replace", full)
    done = CliRunner().invoke(app, ["predict", "small.yaml", "--out", "run"])
    assert done.exit_code == 0
    assert " VALID " in done.stdout
    assert "note: run/results.json: cannot be written: No space left on device; the other files hold" in done.stderr
    assert done.stdout.splitlines()[-1] == "run"
    assert (tmp_path / "run" / "report.html").exists()


def test_what_a_bug_leaves_of_a_run_is_named_and_the_exit_code_is_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def buggy(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.chdir(write_project(tmp_path))
    monkeypatch.setattr(jinja2.Template, "render", buggy)
    done = CliRunner().invoke(app, ["predict", "small.yaml", "--out", "run"])
    assert done.exit_code == 1
    assert " VALID " in done.stdout
    assert "ZeroDivisionError" in done.stderr
    assert "error: internal error in swarm (please report it). The measurements are saved in run (" in done.stderr
    assert done.stdout.splitlines()[-1] == "run"
    assert (tmp_path / "run" / "results.json").exists()


FULL = "note: the output cannot be written: No space left on device"
CLOSED = "note: the output cannot be written: Bad file descriptor"


@pytest.mark.parametrize(("to", "said"), [(">/dev/full", FULL), (">&-", CLOSED), (">&- 2>&- <&-", "")])
def test_reports_go_by_the_verdict_wherever_their_output_goes(recorded_invalid: Path, to: str, said: str):
    other = recorded_invalid.with_name("other")
    shutil.copytree(recorded_invalid, other)
    for command in ("report run --html page", "compare run other --json"):
        done = through_shell(f"{command} {to}", recorded_invalid.parent)
        assert (done.returncode, done.stderr.splitlines()[-1:]) == (3, [said] if said else [])
    assert (recorded_invalid.parent / "page").exists()
    assert (recorded_invalid / "results.json").exists()


@pytest.mark.parametrize(("to", "said"), [(">/dev/full", FULL), (">&-", CLOSED), (">&- 2>&- <&-", "")])
def test_a_run_is_saved_and_exits_by_its_verdict_wherever_its_output_goes(tmp_path: Path, to: str, said: str):
    project = write_project(tmp_path)
    for number, command in enumerate(
        (
            "predict small.yaml --agents 1",
            "capacity small.yaml --predict --slo 'ttft_s.p95<99' --max-agents 2 --duration 30s",
        )
    ):
        done = through_shell(f"{command} --out {number} {to}", project)
        assert done.returncode == 0, done
        assert done.stderr.splitlines()[-1:] == ([said] if said else [])
        assert results(project / str(number))["verdict"] == "valid"
        assert (project / str(number) / "report.html").exists()


def through_shell(command: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["sh", "-c", f"{SWARM} {command}"], cwd=cwd, capture_output=True, text=True, timeout=120)


def test_a_run_directory_whose_name_is_no_utf_8_is_as_good_as_any(tmp_path: Path):
    project = write_project(tmp_path)
    name = os.fsdecode(b"caf\xe9")
    done = subprocess.run(
        [SWARM, "predict", "small.yaml", "--agents", "1", "--out", name], cwd=project, capture_output=True, timeout=120
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b"caf\xe9")
    assert b"warning" not in done.stderr
    assert results(project / name)["verdict"] == "valid"
    assert "caf\\xe9" in (project / name / "report.html").read_text()
    assert records(project / name)[0]["run"] == "caf\\xe9"
    other = subprocess.run(
        [SWARM, "report", name, "--json", "--junit", "j", "--html", "h", "--openmetrics", "o"], cwd=project
    )
    assert other.returncode == 0
    assert "caf" in swarm("history", ".", "--csv", cwd=project).stdout


def test_a_run_directory_that_cannot_be_filled_is_gone_again(tmp_path: Path):
    project = write_project(tmp_path)
    done = swarm("predict", "small.yaml", "--out", "run", cwd=project, preexec_fn=lambda: full_beyond(100))
    assert done.returncode == 2
    assert "error: run/scenario.yaml: cannot be written: File too large" in done.stderr
    assert not (project / "run").exists()


def test_what_init_could_not_finish_is_not_left_behind(tmp_path: Path):
    done = swarm("init", "mine.yaml", cwd=tmp_path, preexec_fn=lambda: full_beyond(100))
    assert (done.returncode, done.stderr) == (2, "error: mine.yaml: cannot be written: File too large\n")
    assert not (tmp_path / "mine.yaml").exists()
