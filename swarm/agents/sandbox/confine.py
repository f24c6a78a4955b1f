"""The first program inside the sandbox: makes it ready, gives up every right, and starts the command.

It is run by path, as root where swarm runs as root, and so imports nothing but the standard library, and little of it:
its start is a part of every test run. It stays as the first process, which takes the others with it when it ends.
"""

import ctypes
import os
import resource
import stat
import sys
from contextlib import suppress

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
_SET_DUMPABLE, _SET_SECCOMP, _FILTER = 4, 22, 2
_SIGINT = 2
_JOIN_SESSION_KEYRING = 1


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def main() -> None:
    """Arguments: NAME=VALUE of each limit, of the `uid` to become (if any), of the `filter` in hex and of the number of
    the system call `keyctl`, joined by commas; then the command."""
    settings, command = dict(pair.split("=") for pair in sys.argv[1].split(",")), sys.argv[2:]
    uid = int(settings["uid"]) if "uid" in settings else None
    try:
        # The command works on a copy in memory: it cannot change the workspace, nor fill the disk.
        _copy(SOURCE, WORKSPACE, uid)
        _restrict(bytes.fromhex(settings["filter"]), int(settings["keyctl"]))
        child = os.fork()
        if not child:
            _run(command, settings, uid)
    except OSError as error:
        _fail(error)
    while (ended := os.wait())[0] != child:
        pass
    status = os.waitstatus_to_exitcode(ended[1])
    os._exit(status if status >= 0 else 128 - status)


def _copy(source: str, target: str, uid: int | None) -> None:
    """Files, directories and links. Left out is what the file tools refuse as well: hard links, which may be files from
    outside, pipes, sockets and devices."""
    with os.scandir(source) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # replaced meanwhile, by a tool of a sub-agent
                _copy_entry(entry, f"{target}/{entry.name}", uid)


def _copy_entry(entry: os.DirEntry[str], target: str, uid: int | None) -> None:
    status = entry.stat(follow_symlinks=False)
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), target)
    elif entry.is_dir(follow_symlinks=False):
        os.mkdir(target)
        _copy(entry.path, target, uid)
    elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        with open(entry.path, "rb") as file, open(target, "wb") as copy:
            while data := file.read(1 << 20):
                copy.write(data)
    else:
        return
    if not entry.is_symlink():
        os.chmod(target, stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    if uid is not None:  # for root there is no limit on processes
        os.lchown(target, uid, uid)


def _restrict(steps: bytes, keyctl: int) -> None:
    """For this process and all below: a keyring of its own, and the filter of system calls. Neither can be undone.

    This process can then be read or traced by none of the others, who may have its uid but are held to more.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(keyctl, _JOIN_SESSION_KEYRING, None)  # not there: then neither are keys
    libc.signal(_SIGINT, 0)  # without Python's handler no signal from inside ends the first process
    program = _Program(len(steps) // 8, steps)
    if libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "system calls cannot be filtered here")


def _run(command: list[str], settings: dict[str, str], uid: int | None) -> None:
    try:
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        os.chdir(WORKSPACE)
        for name, kind in _LIMITS.items():
            resource.setrlimit(kind, (int(settings[name]), int(settings[name])))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execv(command[0], command)
    except (OSError, ValueError) as error:
        _fail(error)


def _fail(error: Exception) -> None:
    os.write(2, f"the sandbox could not be made ready: {error}\n".encode(errors="replace"))
    os._exit(FAILED)


if __name__ == "__main__":
    main()
