"""A job's private copy: made, used alone, and gone afterwards."""

import asyncio
import shutil
import subprocess
import sys
import threading
import time

import pytest

from swarm.agents import workspace as module
from swarm.agents.workspace import in_thread, open_workspace


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "source"
    (source / "pkg").mkdir(parents=True)
    (source / "pkg" / "a.py").write_text("one\n")
    return source


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


async def test_copies_are_private_and_the_original_is_left_alone(source, root):
    async with open_workspace(source, root) as first, open_workspace(source, root) as second:
        first.write("pkg/a.py", b"two\n")
        assert (first.repository / "pkg/a.py").read_text() == "two\n"
        assert (second.repository / "pkg/a.py").read_text() == "one\n"
        assert (source / "pkg/a.py").read_text() == "one\n"
        assert len(list(root.iterdir())) == 2
    assert list(root.iterdir()) == []


async def test_caches_and_version_control_are_not_copied(source, root):
    for name in (".git", "__pycache__"):
        (source / name).mkdir()
        (source / name / "x").write_text("x")
    (source / "pkg" / "a.pyc").write_text("x")
    async with open_workspace(source, root) as workspace:
        assert sorted(path.name for path in workspace.repository.rglob("*")) == ["a.py", "pkg"]


async def test_it_is_removed_when_the_job_fails(source, root):
    with pytest.raises(RuntimeError):
        async with open_workspace(source, root):
            raise RuntimeError
    assert list(root.iterdir()) == []


async def test_directories_that_were_made_unreadable_are_removed_too(source, root):
    async with open_workspace(source, root) as workspace:
        (workspace.repository / "pkg" / "deep").mkdir()
        (workspace.repository / "pkg" / "deep" / "x").write_text("x")
        (workspace.repository / "pkg" / "deep").chmod(0)
        (workspace.repository / "pkg").chmod(0o500)
    assert list(root.iterdir()) == []


async def test_directories_of_any_depth_are_removed_and_do_not_end_the_agent(source, root):
    async with open_workspace(source, root) as workspace:
        code = "import os\nfor _ in range(3000): os.mkdir('d' * 9); os.chdir('d' * 9)"
        command = [sys.executable, "-c", code]
        await asyncio.to_thread(subprocess.run, command, cwd=workspace.repository, check=True)
    assert list(root.iterdir()) == []


async def test_a_link_in_place_of_the_workspace_is_removed_and_not_followed(source, root, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "x").write_text("x")
    async with open_workspace(source, root) as workspace:
        workspace.repository.parent.rename(root / "moved")
        workspace.repository.parent.symlink_to(tmp_path / "precious")
    assert (tmp_path / "precious" / "x").read_text() == "x"
    assert [path.name for path in root.iterdir()] == ["moved"]


async def test_a_job_cancelled_while_its_copy_is_made_leaves_nothing(source, root, monkeypatch):
    copying, go_on = threading.Event(), threading.Event()
    real = module.shutil.copytree

    def slow(*args, **kwargs):
        copying.set()
        go_on.wait(10)
        return real(*args, **kwargs)

    monkeypatch.setattr(shutil, "copytree", slow)

    async def job():
        async with open_workspace(source, root):
            pytest.fail("the job went on")

    task = asyncio.create_task(job())
    await asyncio.to_thread(copying.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(root.iterdir()) == []


async def test_cancelled_file_work_is_waited_for(source, root):
    running, go_on, done = threading.Event(), threading.Event(), []

    def work():
        running.set()
        go_on.wait(10)
        done.append(True)

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(running.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_a_repository_that_cannot_be_copied_leaves_nothing(source, root):
    with pytest.raises(FileNotFoundError):
        async with open_workspace(source / "missing", root):
            pytest.fail("there was nothing to copy")
    assert list(root.iterdir()) == []


async def test_the_event_loop_runs_while_the_copy_is_made(source, root, monkeypatch):
    real = module.shutil.copytree

    def slow(*args, **kwargs):
        time.sleep(0.2)
        return real(*args, **kwargs)

    monkeypatch.setattr(shutil, "copytree", slow)
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with open_workspace(source, root):
        ticking.cancel()
    assert ticks >= 5
