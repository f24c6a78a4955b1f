"""The first program inside the sandbox: makes ready what the command needs, gives up every right, and becomes it.

It is run by path, as root where swarm runs as root, and so imports nothing but the standard library.
"""

import json
import os
import resource
import shutil
import stat
import sys

SOURCE, WORKSPACE = "/source", "/workspace"
FAILED = 126
"""The exit status when the command could not be reached."""

_LIMITS = {
    "cpu_s": resource.RLIMIT_CPU,
    "memory_bytes": resource.RLIMIT_AS,
    "file_bytes": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
    "open_files": resource.RLIMIT_NOFILE,
}


def main() -> None:
    """Arguments: the limits and the uid to become (null: stay) as a JSON object, then the command."""
    settings, command = json.loads(sys.argv[1]), sys.argv[2:]
    try:
        # The command works on a copy in memory: it cannot change the workspace, nor fill the disk.
        shutil.copytree(SOURCE, WORKSPACE, symlinks=True, dirs_exist_ok=True, ignore=_irregular)
        _end_first()
        if settings["uid"] is not None:
            _become(settings["uid"])
        os.chdir(WORKSPACE)
        _limit(settings)
        os.execv(command[0], command)
    except (OSError, ValueError, shutil.Error) as error:
        print(f"the sandbox could not be made ready: {error}", file=sys.stderr)
        sys.exit(FAILED)


def _irregular(directory: str, names: list[str]) -> set[str]:
    """What the file tools refuse as well: hard links, which may be files from outside, pipes, sockets and devices."""
    found = set()
    for name in names:
        status = os.lstat(os.path.join(directory, name))
        alone = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not (alone or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            found.add(name)
    return found


def _become(uid: int) -> None:
    """Gives the copy to `uid` and becomes it for good: for root there is no limit on processes."""
    for directory, _, files in os.walk(WORKSPACE):
        for name in ("", *files):
            os.lchown(os.path.join(directory, name), uid, uid)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _limit(settings: dict[str, int]) -> None:
    for name, kind in _LIMITS.items():
        resource.setrlimit(kind, (settings[name], settings[name]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_first() -> None:
    """Where memory runs out all the same, the kernel ends these processes before any other."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


if __name__ == "__main__":
    main()
