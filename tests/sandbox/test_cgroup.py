"""Where groups for memory are looked for, and what is left of them, on directories that look like the kernel's."""

import os
from pathlib import Path

import pytest

from swarm.agents.sandbox.cgroup import MemoryGroups, places

MOUNT = "30 20 0:26 {root} {at} rw,nosuid shared:4 - {kind} {kind} rw,{options}\n"


def test_version_1_takes_groups_below_our_own(tmp_path):
    cgroups = "9:name=systemd:/\n4:cpu,memory:/jobs/a\n0::/\n"
    mounts = MOUNT.format(root="/", at=tmp_path / "cpu", kind="cgroup", options="cpu")
    mounts += MOUNT.format(root="/jobs", at=tmp_path / "memory", kind="cgroup", options="memory")
    assert list(places(cgroups, mounts)) == [(tmp_path / "memory" / "a", 1)]


@pytest.mark.parametrize(
    ("handed_down", "found"),
    [
        ({"user": "cpu memory\n", "user/app": "memory pids\n"}, ["user/app", "user"]),
        ({"": "memory\n", "user": ""}, ["."]),
        ({"user": "cpu pids\n"}, []),
        ({}, []),
    ],
)
def test_version_2_takes_groups_where_memory_is_handed_down(tmp_path, handed_down, found):
    (tmp_path / "user/app/ours.scope").mkdir(parents=True)
    for path, controllers in handed_down.items():
        (tmp_path / path / "cgroup.subtree_control").write_text(controllers)
    mounts = MOUNT.format(root="/", at=tmp_path, kind="cgroup2", options="nsdelegate")
    assert list(places("0::/user/app/ours.scope\n", mounts)) == [(tmp_path / path, 2) for path in found]


@pytest.mark.parametrize(
    ("cgroups", "mounts"), [("", ""), ("0::/\n", ""), ("1:memory:/a\n", "1 2 0:3 / / rw - ext4 x rw\n")]
)
def test_no_groups_are_no_places(cgroups, mounts):
    assert list(places(cgroups, mounts)) == []


def test_a_job_has_one_group_with_its_bounds_until_it_is_over(tmp_path):
    job = tmp_path / "job-1"
    job.mkdir()
    (tmp_path / "groups").mkdir()
    groups = MemoryGroups(tmp_path / "groups", 2)
    processes = groups.enter(job, 5000)
    assert processes == groups.enter(job, 5000)
    group = processes.parent
    assert group.name == f"swarm-{os.getpid()}-job-1"
    assert {file.name: file.read_text() for file in group.iterdir()} == {
        "memory.max": "5000",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
    }
    for file in group.iterdir():  # those of the kernel go with their directory
        file.unlink()
    groups.remove_old()
    assert group.exists()
    job.rmdir()
    groups.remove_old()
    assert not group.exists()


def test_groups_of_killed_runs_are_removed_and_those_of_others_are_not(tmp_path):
    names = ["swarm-4194999-job-1", f"swarm-{os.getpid()}-job-2", "swarm.slice", "other"]
    for name in names:
        (tmp_path / name).mkdir()
    MemoryGroups(tmp_path, 1).remove_abandoned()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


async def test_no_group_is_left_once_the_jobs_are_over(cell):
    memory = cell.sandbox.memory
    if isinstance(memory, str):
        pytest.skip(f"no cgroups for memory: {memory}")
    assert (await cell.run("print(1)")).output == "1\n"
    group = memory.parent / f"swarm-{os.getpid()}-{cell.workspace.repository.parent.name}"
    assert group.is_dir()
    MemoryGroups(memory.parent, memory.version, {group: Path("/nowhere")}).remove_old()
    assert not group.exists()
    memory.remove_old()
