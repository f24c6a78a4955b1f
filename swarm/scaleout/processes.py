"""Shards as processes of this machine: both ends of the pipes through which a coordinator calls its workers.

A call is a pickled method and arguments, an answer a pickled `Reply`; each behind its length. The pipes are private to
the two, no secret is in a command line or an environment, and a worker whose coordinator is gone reads the end of its
input, and ends.
"""

import asyncio
import os
import pickle
import signal
import struct
import sys
import tempfile
from contextlib import suppress
from typing import IO, Any, cast

from swarm.client import eventloop
from swarm.scaleout.link import LostError, Reply
from swarm.scaleout.worker import Worker, answer

_LENGTH = struct.Struct("!Q")
_BUFFER = 1 << 20
STOP_LIMIT_S = 10.0


class Process:
    """The coordinator's end: a worker in a process of its own. One call at a time."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._turn = asyncio.Lock()
        self.where = f"process {process.pid}"

    @classmethod
    async def start(cls, _: int) -> "Process":
        """One worker is as good as another, whatever its number."""
        with tempfile.TemporaryFile() as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "swarm.scaleout.processes",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_BUFFER,
                start_new_session=True,  # a Ctrl-C in the terminal is the coordinator's alone
            )
            return cls(process, os.fdopen(os.dup(log.fileno()), "rb"))

    async def call(self, method: str, *arguments: object) -> Reply:
        """Raises LostError where the process has ended."""
        reader, writer = self._process.stdout, self._process.stdin
        assert reader
        assert writer
        async with self._turn:
            try:
                await _send(writer, (method, arguments))
                return cast(Reply, await _receive(reader))
            except (asyncio.IncompleteReadError, ConnectionError):
                raise LostError(await self._end()) from None

    async def _end(self) -> str:
        """How the process ended."""
        status = await self._process.wait()
        if status < 0:
            return f"its process was killed ({signal.Signals(-status).name})"
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with exit code {status}{f': {said[-1]}' if said else ''}"

    async def close(self) -> None:
        """Lets the worker end what it does; kills it where that takes too long."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._log.close()


async def _send(writer: asyncio.StreamWriter, value: object) -> None:
    packed = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    writer.writelines((_LENGTH.pack(len(packed)), packed))
    await writer.drain()


async def _receive(reader: asyncio.StreamReader) -> Any:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return pickle.loads(await reader.readexactly(length))


async def _serve(incoming: int, outgoing: int) -> None:
    """The worker's end: answers until its input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_BUFFER)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(incoming, "rb"))
    pipe, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(outgoing, "wb"))
    writer = asyncio.StreamWriter(pipe, protocol, reader, loop)
    worker = Worker()
    try:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                method, arguments = await _receive(reader)
                await _send(writer, await answer(worker, method, arguments))
    finally:
        await worker.close()


if __name__ == "__main__":
    # Text printed by mistake must not come between two answers.
    pipes = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    eventloop.run(_serve(*pipes))
