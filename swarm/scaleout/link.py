"""How a coordinator reaches a shard, and what passes between the two."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from swarm.client.base import Connection
from swarm.engine.stage import StageSpec
from swarm.recording.status import AgentStatus
from swarm.scenario.schema import Scenario

Reply = tuple[Literal["done", "refused", "failed"], Any]
"""Outcome of a call: its result, a SwarmError that a user can act on, or the traceback of a bug."""


class LostError(Exception):
    """A shard does not answer any more; the message says what became of it."""


class Link(Protocol):
    """How a shard is reached."""

    where: str
    """For people: a process, or a node."""

    async def call(self, method: str, *arguments: object) -> Reply:
        """Calls a method of the shard's `Worker`. Raises LostError where there is none any more."""

    async def close(self) -> None:
        """Ends the shard, and what it runs."""


OpenLink = Callable[[int], Awaitable[Link]]
"""Starts the shard of a number, or starts it again. Raises SwarmError or LostError."""


@dataclass(frozen=True)
class Setup:
    """Everything that a shard must know before its first stage."""

    scenario: Scenario
    neighbours: int
    """Shards on its machine, itself among them: they share its cores."""
    repositories: dict[Path, bytes]
    """The tasks' repositories as tar files, by their path at the coordinator; of its own machine none is sent."""


@dataclass(frozen=True)
class Assignment:
    """Everything that a shard must know before a stage."""

    spec: StageSpec
    connection: Connection
    origin_ns: int
    """Start of the run's time line, on the shard's own monotonic clock."""
    prefix: str
    """Prefix of the ids of its records."""


@dataclass(frozen=True)
class Batch:
    """Records since the last batch, and what the agents do now."""

    records: list[bytes]
    """One a piece, in MessagePack."""
    statuses: list[AgentStatus]
    left: int
    """Agents that have not ended."""
