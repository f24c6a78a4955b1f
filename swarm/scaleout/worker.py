"""A shard: some of a stage's agents in a process of their own, which does as its coordinator says, call by call.

The process is one of this machine (`swarm.scaleout.processes` talks to it through its pipes) or a Ray actor
(`swarm.scaleout.ray_actors`); it is the same `Worker` in both.
"""

import asyncio
import io
import os
import platform
import tarfile
import time
import traceback
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from swarm import __version__
from swarm.agents.agent import Tools
from swarm.client.base import Client, Connection
from swarm.client.connect import open_client, warm_up
from swarm.clock import Clock
from swarm.engine.agent_pool import LocalCrew, make_calm
from swarm.engine.compose import launcher_of, tools_of
from swarm.errors import SwarmError
from swarm.recording.appender import printable
from swarm.recording.records import Record
from swarm.recording.status import AgentStatus
from swarm.scaleout.link import Assignment, Batch, Reply, Setup
from swarm.scratch import scratch
from swarm.tasks import Task

ALONE_S = 30.0
"""A shard that has heard nothing for so long stops its agents: nobody is left who would."""


def identity() -> dict[str, Any]:
    """Who this process is, in builtin types, which every version of swarm understands."""
    return {
        "host": platform.node(),
        "machine": _machine(),
        "pid": os.getpid(),
        "cores": os.cpu_count(),
        "swarm": __version__,
        "python": platform.python_version(),
    }


def _machine() -> str:
    """Same for two processes exactly if 127.0.0.1 is the same to both: a boot of a system, and its network."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/net')}"
    except OSError:
        return platform.node()


async def answer(worker: "Worker", method: str, arguments: tuple[Any, ...]) -> Reply:
    """Makes a coordinator's call; what goes wrong is told, as there is nobody here to catch it."""
    try:
        return "done", await getattr(worker, method)(*arguments)
    except SwarmError as error:
        return "refused", error
    except Exception:
        return "failed", traceback.format_exc()


class Worker:
    """One shard, from the start of the run to its end. Its public methods are what a coordinator may call."""

    def __init__(self) -> None:
        self._setup: Setup | None = None
        self._folder = ExitStack()
        self._tools: Tools | None = None
        self._repositories: dict[Path, Path] = {}
        self._client: Client | None = None
        self._crew: LocalCrew | None = None
        self._statuses: list[AgentStatus] = []
        self._waiting: list[bytes] = []
        self._encoder = msgspec.msgpack.Encoder()
        self._ids = count(1)
        self._heard = asyncio.Event()
        self._alone: asyncio.Task[None] | None = None

    async def hello(self) -> dict[str, Any]:
        return identity()

    async def now(self) -> int:
        """This machine's monotonic clock, in nanoseconds."""
        return time.perf_counter_ns()

    async def set_up(self, setup: Setup) -> None:
        """Raises UsageError where this machine cannot run the scenario's agents."""
        self._setup = setup
        root = self._folder.enter_context(scratch())
        for number, (path, packed) in enumerate(setup.repositories.items()):
            self._repositories[path] = root / f"repository-{number}"
            unpack(packed, self._repositories[path])
        slots = max(1, (os.cpu_count() or 1) // setup.neighbours)
        self._tools = tools_of(setup.scenario, root, launcher_of(setup.scenario), slots)
        warm_up(setup.scenario.route)
        make_calm()

    async def prepare(self, work: Assignment) -> None:
        """Opens the client of a stage, and puts its agents in their places."""
        assert self._setup
        assert self._tools
        clock = self._clock(work.origin_ns)
        spec = work.spec
        sessions = tuple(tuple(replace(job, task=self._here(job.task)) for job in session) for session in spec.sessions)
        spec = replace(spec, tasks=tuple(map(self._here, spec.tasks)), sessions=sessions)
        self._client = self._open(work.connection, clock)
        self._statuses = [AgentStatus(agent) for agent in spec.numbers]
        self._crew = LocalCrew(
            spec, self._client, self._tools, clock, self._statuses, lambda: f"{work.prefix}.{next(self._ids)}"
        )

    def _clock(self, origin_ns: int) -> Clock:
        return Clock(origin_ns)

    def _open(self, connection: Connection, clock: Clock) -> Client:
        assert self._setup
        return open_client(self._setup.scenario.route, connection, clock)

    def _here(self, task: Task) -> Task:
        return replace(task, repository=self._repositories.get(task.repository, task.repository))

    async def begin(self, stage_id: str, start_ns: int) -> None:
        """Lets the agents begin at `start_ns` of the run's time line."""
        assert self._crew
        self._alone = asyncio.create_task(self._watch())
        await self._crew.begin(stage_id, start_ns, self._add)

    def _add(self, record: Record) -> None:
        try:
            self._waiting.append(self._encoder.encode(record))
        except UnicodeEncodeError:
            self._waiting.append(self._encoder.encode(printable(record)))

    async def _watch(self) -> None:
        """Ends the stage where the coordinator is gone without a word."""
        try:
            while True:
                await asyncio.wait_for(self._heard.wait(), ALONE_S)
                self._heard.clear()
        except TimeoutError:
            await self._stop()

    async def poll(self) -> Batch:
        self._heard.set()
        records, self._waiting = self._waiting, []
        statuses = [replace(status, stream=status.stream[-1:]) for status in self._statuses]
        return Batch(records, statuses, self._crew.left if self._crew else 0)

    async def end(self) -> Batch:
        """Stops the agents; the last batch of the stage."""
        if self._alone:
            if self._crew:
                self._alone.cancel()
            await asyncio.wait([self._alone])
        await self._stop()
        return await self.poll()

    async def _stop(self) -> None:
        crew, client, self._crew, self._client = self._crew, self._client, None, None
        if crew:
            await crew.end()
        if client:
            await client.close()

    async def close(self) -> None:
        """Stops whatever runs, and leaves nothing on the disk."""
        await self.end()
        self._folder.close()


def pack(repository: Path) -> bytes:
    """A task's repository as a tar file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(repository, arcname=".")
    return packed.getvalue()


def unpack(packed: bytes, place: Path) -> None:
    """The reverse of `pack`, into a new directory; links stay links, as the coordinator has them."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extraction_filter = lambda member, _: member  # no argument of `extractall` before 3.11.4
        archive.extractall(place)
