"""Runs a command that nobody vouches for: bounded in time and output, and gone with all its children afterwards."""

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

_MARKER = "SWARM_PROCESS_TREE"
_DRAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: its status (negative: killed by that signal), and the ends of what it wrote."""

    status: int
    output: str
    stopped: Literal["time", "output"] | None = None
    """The limit that ended it."""


@dataclass(slots=True)
class _Output:
    """Keeps the first and the last `keep / 2` bytes of a stream, and counts the rest."""

    keep: int
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    total: int = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = max(0, self.keep // 2 - len(self.head))
        self.head += data[:room]
        self.tail += data[room:]
        del self.tail[: -(self.keep // 2)]

    def text(self) -> str:
        left_out = self.total - len(self.head) - len(self.tail)
        head, tail = (bytes(part).decode("utf-8", "replace") for part in (self.head, self.tail))
        return f"{head}\n[cut: {left_out} bytes left out here]\n{tail}" if left_out else head + tail


async def run_bounded(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    wall_s: float,
    keep_bytes: int,
    flood_bytes: int,
    stdin: IO[bytes] | None = None,
    merge_stderr: bool = True,
) -> Finished:
    """Runs `command` in a session of its own until it ends or a limit does; `stdin` is a file to read from, or nothing.

    Of its output `keep_bytes` are kept, half from the start and half from the end; after `flood_bytes` it is stopped.
    stderr is part of the output, or thrown away where `merge_stderr` is off. However this ends, by cancellation too,
    the process group is killed, and on Linux also every process that left the group but kept its environment. Raises
    OSError if the command cannot be started.
    """
    marker = secrets.token_hex(16)
    output = _Output(keep_bytes)
    flooded = asyncio.Event()
    read_end, write_end = os.pipe()
    try:
        # `preexec_fn` is avoided: it makes the start a full fork of this process.
        # asyncio's own start takes up to 4 ms of the loop, most of it for a thread that waits; a pidfd needs none.
        process = subprocess.Popen(  # noqa: ASYNC220
            command,
            cwd=cwd,
            env={**env, _MARKER: marker},
            stdin=stdin or subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end if merge_stderr else subprocess.DEVNULL,
            start_new_session=True,
        )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    gone = asyncio.create_task(_gone(process))
    reader = asyncio.create_task(_read(read_end, output, flood_bytes, flooded))
    stopped: Literal["time", "output"] | None = None
    try:
        try:
            async with asyncio.timeout(wall_s):
                stopped = await _ended(gone, flooded)
        except TimeoutError:
            stopped = "time"
    finally:
        await asyncio.shield(_kill_tree(process, marker, gone, reader))
    return Finished(process.returncode or 0, output.text(), stopped)


async def _gone(process: "subprocess.Popen[bytes]") -> None:
    """Returns when the process has ended and is reaped."""
    if hasattr(os, "pidfd_open"):
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        descriptor = os.pidfd_open(process.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        process.wait()
    else:
        await asyncio.to_thread(process.wait)


async def _ended(gone: "asyncio.Task[None]", flooded: asyncio.Event) -> Literal["output"] | None:
    flood = asyncio.create_task(flooded.wait())
    try:
        await asyncio.wait([gone, flood], return_when=asyncio.FIRST_COMPLETED)
    finally:
        flood.cancel()
    return "output" if flooded.is_set() else None


async def _read(descriptor: int, output: _Output, flood_bytes: int, flooded: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    stream = asyncio.StreamReader(limit=65536)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        while data := await stream.read(65536):
            output.add(data)
            if output.total > flood_bytes:
                flooded.set()
                return
    finally:
        transport.close()


async def _kill_tree(
    process: "subprocess.Popen[bytes]", marker: str, gone: "asyncio.Task[None]", reader: "asyncio.Task[None]"
) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.to_thread(_kill_marked, marker)
    await gone
    # Everything that held the pipe is dead; what was written before that is still in it.
    await asyncio.wait([reader], timeout=_DRAIN_S)
    reader.cancel()
    await asyncio.wait([reader])


def _kill_marked(marker: str) -> None:
    """Kills every process with our marker in its environment, again until none is left: one may fork meanwhile."""
    needle = f"{_MARKER}={marker}".encode()
    for _ in range(20):
        found = [pid for pid in _processes() if needle in _environment(pid)]
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []  # no /proc here: the process group has to do


def _environment(pid: int) -> bytes:
    """Empty for zombies, for processes of others, and for those that ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
