"""Who decides what an agent does next: the seam between the closed loop and the script, the model or a trace."""

from dataclasses import dataclass
from typing import Any, Protocol

from swarm.client.base import ChatRequest, Observation
from swarm.tasks import Task


@dataclass(frozen=True, slots=True)
class Job:
    """One pass through a task. `ticket` is unique per agent and job: no two agents send the same prompt."""

    task: Task
    ticket: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call to execute; its result is delivered `planned_ns` after its start, or when it is ready (None)."""

    id: str
    name: str
    arguments: dict[str, Any] | str
    planned_ns: int | None = None


class Conversation(Protocol):
    """A job's conversation, turn by turn: `request`, `accept`, then `add_result` for each call."""

    def request(self) -> ChatRequest | None:
        """The next completion to ask for; None when it would not fit in the context."""

    def accept(self, reply: Observation) -> tuple[Call, ...]:
        """Takes a complete reply into the history and returns the calls that follow; none: the job is answered."""

    def add_result(self, call: Call, text: str) -> None: ...


class Driver(Protocol):
    def begin(self, job: Job) -> Conversation: ...
