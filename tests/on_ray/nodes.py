"""Two Ray nodes on one machine, each in a network of its own, joined by a cable: they are two machines to everything
but the clock, which is the same, so that a measured offset is known to be 0."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from small_runs import until

RAY = Path(sys.executable).with_name("ray")
FIRST, SECOND = "10.77.0.1", "10.77.0.2"
ADDRESS = f"{FIRST}:6399"
COMMON = ("--num-cpus=4", "--object-store-memory=80000000", "--disable-usage-stats", "--block")


class Cluster:
    """The nodes; everything that it starts is ended by `close`."""

    def __init__(self, folder: Path, elsewhere: "subprocess.Popen[bytes]") -> None:
        self._folder = folder
        self._sockets = sockets()
        self._elsewhere = elsewhere
        head = ("--head", f"--node-ip-address={FIRST}", "--port=6399", "--include-dashboard=false")
        self._first = self._start("first", [], *head)
        self.second: subprocess.Popen[bytes] | None = None

    def _start(self, name: str, before: list[str], *options: str, **environment: str) -> "subprocess.Popen[bytes]":
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [*before, RAY, "start", *options, *COMMON],
                stdout=log,
                stderr=log,
                env={**os.environ, "RAY_TMPDIR": self._sockets.name, **environment},
            )

    def join(self, **environment: str) -> None:
        """Starts the second node, and waits for it. `environment`: of its own."""
        known = self.nodes()
        options = (f"--address={ADDRESS}", f"--node-ip-address={SECOND}")
        self.second = self._start("second", inside(self._elsewhere), *options, **environment)
        until(lambda: self.nodes() == known + 1)

    def part(self, *, kill: bool = False) -> None:
        """Ends the second node; `kill`: its raylet only, without a word."""
        assert self.second
        if kill:
            subprocess.run(["kill", "-9", *self._raylets(self.second.pid)], check=True)
        else:
            self.second.terminate()
        self.second.wait(30)
        until(lambda: self.nodes() == 1)

    def _raylets(self, parent: int) -> list[str]:
        found = subprocess.run(["pgrep", "-P", str(parent), "raylet"], capture_output=True, text=True, check=True)
        return found.stdout.split()

    def nodes(self) -> int:
        """How many are active."""
        told = subprocess.run([RAY, "status", f"--address={ADDRESS}"], capture_output=True, text=True)
        active = told.stdout.partition("Active:")[2].partition("Pending:")[0]
        return active.count(" node_")

    def close(self) -> None:
        for process in (self.second, self._first):
            if process:
                process.terminate()
                process.wait(30)
        self._sockets.cleanup()


def sockets() -> tempfile.TemporaryDirectory[str]:
    """A folder for Ray's own files, with a path short enough for sockets; no other cluster's."""
    return tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True)


def another_network() -> "subprocess.Popen[bytes]":
    """A process in a network of its own, where it is `SECOND`; a cable joins it to this one, which is `FIRST` to it."""
    elsewhere = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    until(lambda: _network(elsewhere.pid) != _network(os.getpid()))
    _ip("link set lo up")
    _ip("link add swarm0 type veth peer name swarm1")
    _ip(f"link set swarm1 netns {elsewhere.pid}")
    _ip(f"addr add {FIRST}/24 dev swarm0")
    _ip("link set swarm0 up")
    for command in ("link set lo up", f"addr add {SECOND}/24 dev swarm1", "link set swarm1 up"):
        subprocess.run([*inside(elsewhere), "ip", *command.split()], check=True)
    return elsewhere


def inside(process: "subprocess.Popen[bytes]") -> list[str]:
    """What starts a command in a process' network."""
    return ["nsenter", f"--target={process.pid}", "--net"]


def _network(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)
