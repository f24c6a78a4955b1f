"""What may lie in a folder of tasks: it is copied for every job, which must not hang, fail or fill the disk."""

import os
import shutil
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swarm.agents.workspace import open_workspace
from swarm.cli import app
from swarm.engine.workloads.replay import tasks_of_trace
from swarm.errors import ScenarioError
from swarm.scenario.schema import TraceSettings
from swarm.tasks import load_tasks
from swarm.tasks.folder import check_folder

TASK = """
title: A title
issue: Something.
reply_tokens: {median: 100, spread: 1.5, min: 10, max: 400}
turns: [{say: Done.}]
"""
PLACES = ["own/first/repo/x", "own/first/repo/pkg/x", "own/first/x", "own/x", "x"]


@pytest.fixture
def tasks(tmp_path):
    """A folder of one task."""
    repository = tmp_path / "tasks" / "own" / "first" / "repo"
    (repository / "pkg").mkdir(parents=True)
    (repository / "a.py").write_text("x = 1\n")
    (repository.parent / "task.yaml").write_text(TASK)
    return tmp_path / "tasks"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)  # the name of a socket may have 108 bytes only
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


def device(path: Path, kind: int = stat.S_IFCHR, number: tuple[int, int] = (1, 5)) -> None:  # /dev/zero
    try:
        os.mknod(path, kind | 0o666, os.makedev(*number))
    except PermissionError:
        pytest.skip("only root makes devices")


def block_device(path: Path) -> None:
    device(path, stat.S_IFBLK, (7, 200))


KINDS = {pipe: "a named pipe", a_socket: "a socket", device: "a device", block_device: "a device"}


def refusal(tasks: Path) -> str:
    with pytest.raises(ScenarioError) as refused:
        load_tasks(tasks)
    return str(refused.value)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_pipes_sockets_and_devices_are_refused_by_their_path(tasks, make, place):
    make(tasks / place)
    assert refusal(tasks).startswith(f"{tasks / place}: is {KINDS[make]}; a task may hold files, directories and links")


@pytest.mark.parametrize("directory", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_names_that_are_not_utf8_are_refused_and_shown_escaped(tasks, place, directory):
    path = os.fsencode(tasks / place) + b"\xff\xe9"
    os.mkdir(path) if directory else os.close(os.open(path, os.O_CREAT))
    said = refusal(tasks)
    assert f"{tasks / place}\\xff\\xe9: its name is not UTF-8 text" in said
    said.encode()


@pytest.mark.parametrize("make", [pipe, device])
def test_a_task_file_that_is_no_file_is_refused_and_not_waited_for(tasks, make):
    (tasks / "own/first/task.yaml").unlink()
    make(tasks / "own/first/task.yaml")
    assert f"{tasks}/own/first/task.yaml: is" in refusal(tasks)


def test_a_task_file_that_is_a_link_to_a_device_is_refused(tasks):
    (tasks / "own/first/task.yaml").unlink()
    (tasks / "own/first/task.yaml").symlink_to("/dev/zero")
    assert "task.yaml: is not a regular file" in refusal(tasks)


def test_a_task_in_a_linked_folder_is_looked_at_too(tasks):
    shutil.move(tasks / "own", tasks.parent / "elsewhere")
    (tasks / "own").symlink_to(tasks.parent / "elsewhere")
    pipe(tasks / "own/first/repo/x")
    assert "repo/x: is a named pipe" in refusal(tasks)


def test_a_file_with_a_hole_and_a_heap_of_files_are_refused(tasks):
    with open(tasks / "own/first/repo/hole", "wb") as file:
        file.truncate(1 << 40)
    assert "more than 100000 files or 1024 MiB, which every job would copy" in refusal(tasks)
    (tasks / "own/first/repo/hole").unlink()
    for number in range(20):
        (tasks / f"own/first/repo/{number}").touch()
    with pytest.raises(ScenarioError, match="more than 20 files"):
        check_folder(tasks, max_entries=20)


def test_folders_in_folders_without_end_are_refused(tasks):
    deep = tasks / "own/first/repo" / "/".join("d" * 70)
    deep.mkdir(parents=True)
    assert "directories deep" in refusal(tasks)


def test_of_many_such_files_a_few_are_named(tasks):
    for number in range(50):
        pipe(tasks / f"own/first/repo/{number:02}")
    lines = refusal(tasks).splitlines()
    assert len(lines) == 6
    assert lines[-1] == f"{tasks}: has more such files"


def test_links_are_taken_as_links_and_what_is_never_copied_may_be_anything(tasks):
    repository = tasks / "own/first/repo"
    (repository / "link").symlink_to("/dev/zero")
    (repository / ".git").mkdir()
    a_socket(repository / ".git/fsmonitor--daemon.ipc")
    assert [task.variant for task in load_tasks(tasks)] == ["first"]


def test_validate_names_the_file_and_exits_with_2(tasks, tmp_path):
    pipe(tasks / "own/first/repo/pipe")
    target = "{name: mine, architecture: moe, simulate: {profile: moe-30b-a3b-awq-1x3090}}"
    (tmp_path / "scenario.yaml").write_text(f"targets: [{target}]\ntasks: {{path: tasks}}\n")
    done = CliRunner().invoke(app, ["validate", str(tmp_path / "scenario.yaml")])
    assert isinstance(done.exception, ScenarioError)
    assert done.exception.exit_code == 2
    assert "pipe: is a named pipe" in str(done.exception)


def test_the_workspace_of_a_trace_is_held_to_the_same(tasks):
    pipe(tasks / "own/first/repo/pipe")
    settings = TraceSettings(path="missing.jsonl", workspace=str(tasks / "own/first/repo"))
    with pytest.raises(ScenarioError, match="is a named pipe"):
        tasks_of_trace(settings, 8000)


@pytest.mark.parametrize("make", KINDS)
async def test_what_appears_in_a_repository_after_it_was_checked_is_not_copied(tasks, tmp_path, make):
    repository = tasks / "own/first/repo"
    check_folder(repository)
    make(repository / "pkg/x")
    (tmp_path / "root").mkdir()
    async with open_workspace(repository, tmp_path / "root") as workspace:
        assert sorted(path.name for path in workspace.repository.rglob("*")) == ["a.py", "pkg"]
