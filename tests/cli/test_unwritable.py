"""A command that cannot write its files: the cause is named, what is known is shown, the exit code is right."""

import resource
from pathlib import Path

import pytest
from small_runs import swarm, write_project
from typer.testing import CliRunner

from swarm.cli import app
from swarm.errors import UsageError
from swarm.recording import rundir


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


def test_a_run_whose_results_alone_cannot_be_written_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise UsageError("results.json: cannot be written: No space left on device")

    monkeypatch.chdir(write_project(tmp_path))
    monkeypatch.setattr(rundir, "write_results", full)
    done = CliRunner().invoke(app, ["predict", "small.yaml", "--out", "run"])
    assert done.exit_code == 2
    assert " VALID " in done.stdout
    assert done.stdout.splitlines()[-1] == "run"


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
