"""Temporary folders of runs: nobody takes one that is in use, and the next run removes those of the dead."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_runs import started, swarm, write_project

from swarm.errors import UsageError
from swarm.scratch import PREFIX, scratch

OWNER = """
from swarm.scratch import scratch
with scratch() as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@contextmanager
def owner() -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """A process with a folder of its own."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", OWNER], text=True, **pipes) as process:
        yield process, Path(process.stdout.readline().strip())


def test_a_folder_is_gone_at_the_end(base: Path):
    with scratch() as folder:
        assert folder.parent == base
    assert list(base.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(base: Path):
    with owner() as (living, kept):
        with owner() as (dying, dead):
            dying.kill()
            dying.wait()
            assert (dead / "deep" / "file").exists()
            with scratch() as own:
                assert sorted(base.iterdir()) == sorted([kept, own])
        assert (kept / "deep" / "file").exists()
        living.communicate("\n")
    assert not kept.exists()


def test_links_files_and_folders_of_others_are_left(base: Path, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "precious").touch()
    (base / f"{PREFIX}link").symlink_to(home)
    (base / f"{PREFIX}file").touch()
    (base / "swarm-other").mkdir()
    (base / f"{PREFIX}dead").mkdir()
    (base / f"{PREFIX}dead" / "link").symlink_to(home)
    before = {path.name for path in base.iterdir()} - {f"{PREFIX}dead"}
    if os.geteuid() == 0:
        (base / f"{PREFIX}another-users").mkdir()
        os.chown(base / f"{PREFIX}another-users", 12345, 12345)
        before.add(f"{PREFIX}another-users")
    with scratch():
        pass
    assert {path.name for path in base.iterdir()} == before
    assert (home / "precious").exists()


def test_where_no_folder_can_be_made_that_is_said(base: Path, monkeypatch: pytest.MonkeyPatch):
    base.rmdir()
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    with pytest.raises(UsageError, match="no temporary folder can be made: No such file or directory"), scratch():
        pass


@pytest.mark.realtime
def test_the_workspaces_of_a_killed_run_are_removed_by_the_next(base: Path, tmp_path: Path):
    project = write_project(tmp_path)
    process = started(project, "run", "small.yaml", "--duration", "60s", "--out", "killed", out="killed", attempts=4)
    (left,) = base.glob(f"{PREFIX}*")
    process.kill()
    process.communicate()
    assert left.exists()
    done = swarm("run", "small.yaml", "--agents", "1", "--duration", "1s", "--out", "next", cwd=project)
    assert done.returncode == 3, done.stderr  # a second has too few turns
    assert list(base.glob(f"{PREFIX}*")) == []
