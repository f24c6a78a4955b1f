"""A bound on the memory of all processes of a job together: a cgroup per job, where this machine lets us make one."""

import atexit
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_SETTINGS = {
    1: (("memory.limit_in_bytes", "{bytes}"), ("memory.memsw.limit_in_bytes", "{bytes}")),
    2: (("memory.max", "{bytes}"), ("memory.swap.max", "0"), ("memory.oom.group", "1")),
}
"""By version of the kernel's cgroups; the first is needed, the others are not everywhere."""
_TRIED_BYTES = 1 << 30


@dataclass(frozen=True)
class MemoryGroups:
    """Makes groups below `parent`, a directory of cgroups of version 1 or 2."""

    parent: Path
    version: int
    _made: dict[Path, Path] = field(default_factory=dict)
    """Groups, and the directory of the job of each."""

    def enter(self, job: Path, limit_bytes: int) -> Path:
        """The file that takes a process into the group of a job, which lasts as long as the job's directory.

        Raises OSError if there can be no such group.
        """
        self.remove_old()
        group = self.parent / f"swarm-{os.getpid()}-{job.name}"
        if group in self._made:
            return group / "cgroup.procs"
        group.mkdir()
        self._made[group] = job
        (first, *others) = _SETTINGS[self.version]
        (group / first[0]).write_text(first[1].format(bytes=limit_bytes))
        for name, value in others:
            with suppress(OSError):
                (group / name).write_text(value.format(bytes=limit_bytes))
        return group / "cgroup.procs"

    def remove_old(self) -> None:
        """Removes the groups of our jobs that are over, once their processes are gone."""
        for group, job in list(self._made.items()):
            if not job.exists():
                with suppress(OSError):
                    group.rmdir()
                    self._made.pop(group, None)

    def remove_abandoned(self) -> None:
        """Removes what processes of swarm that were killed have left."""
        for group in self.parent.glob("swarm-*-job-*"):
            if not os.path.exists(f"/proc/{group.name.split('-')[1]}"):
                with suppress(OSError):
                    group.rmdir()


def find_memory_groups() -> MemoryGroups | str:
    """Where groups can be made and entered, which is tried out; or why that cannot be done."""
    reason = "no memory cgroup is mounted"
    for parent, version in places(_read(Path("/proc/self/cgroup")), _read(Path("/proc/self/mountinfo"))):
        groups = MemoryGroups(parent, version)
        try:
            _try_out(groups)
        except OSError as error:
            reason = f"{parent}: {error.strerror}"
            continue
        groups.remove_abandoned()
        atexit.register(groups.remove_old)
        return groups
    return reason


def _try_out(groups: MemoryGroups) -> None:
    """Raises OSError where a process cannot be put into a group."""
    processes = groups.enter(Path(f"/nowhere/job-{os.urandom(8).hex()}"), _TRIED_BYTES)
    try:
        entering = ["sh", "-c", 'echo 0 >"$1"', "sh", str(processes)]
        if subprocess.run(entering, stderr=subprocess.DEVNULL).returncode:
            raise PermissionError(0, "processes cannot be moved there")
    finally:
        groups.remove_old()


def places(cgroups: str, mounts: str) -> Iterator[tuple[Path, int]]:
    """Directories that may take groups for memory, and their version: our own cgroup, or one above it.

    `cgroups` and `mounts` are what /proc/self/cgroup and /proc/self/mountinfo hold. In version 2 a group with processes
    in it, as our own, has no groups below that have limits; the nearest above that hands memory down may be ours all
    the same, as in a user's session of systemd.
    """
    own = dict(_own(cgroups))
    for mounted, root, kind, options in _mounts(mounts):
        if kind == "cgroup" and "memory" in options and "memory" in own:
            yield mounted / os.path.relpath(own["memory"], root), 1
        elif kind == "cgroup2" and "" in own:
            here = mounted / os.path.relpath(own[""], root)
            for place in (here, *here.parents):
                if place.is_relative_to(mounted) and "memory" in _read(place / "cgroup.subtree_control").split():
                    yield place, 2


def _own(cgroups: str) -> Iterator[tuple[str, str]]:
    """Our cgroup by the name of each controller; that of version 2 is ""."""
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _mounts(mounts: str) -> Iterator[tuple[Path, str, str, list[str]]]:
    """Where cgroups are mounted: the directory, the cgroup that it shows, the type, and options."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind.startswith("cgroup"):
            fields = before.split()
            yield Path(fields[4]), fields[3], kind, options.split(",")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
