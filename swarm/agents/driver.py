"""Who decides what an agent does next: the seam between the closed loop and the script, the model or a trace."""

from dataclasses import dataclass
from typing import Any, Protocol

from swarm.client.base import ChatRequest, Observation
from swarm.tasks import Task


@dataclass(frozen=True, slots=True)
class Job:
    """One pass through a task. `ticket` is unique per agent and job, or session of jobs: no two agents send the same
    prompt."""

    task: Task
    ticket: str
    skip: int = 0
    """Turns that were before the agent came: it enters in the middle."""
    pause_ns: int = 0
    """Before its first request: a person reads, and writes."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call to execute; its result is delivered `planned_ns` after its start, or when it is ready (None)."""

    id: str
    name: str
    arguments: dict[str, Any] | str
    planned_ns: int | None = None
    sub_agents: "tuple[SubAgent, ...]" = ()
    """Those that it starts; where there are some, `planned_ns` counts from the end of those that it waits for."""
    real: bool = False
    """Whether it is carried out although its time is planned, where calls with a planned time are only waited for."""


@dataclass(frozen=True, slots=True)
class SubAgent:
    """A job that an agent's call starts, `after_ns` after its own start, and that runs beside the agent's."""

    job: Job
    after_ns: int
    joins: bool
    """Whether the call waits for its end."""

    @property
    def name(self) -> str:
        return self.job.task.variant


class Conversation(Protocol):
    """A job's conversation, turn by turn: `request`, `accept`, then `add_result` for each call."""

    @property
    def awaits(self) -> tuple[str, ...]:
        """Names of the sub-agents whose results the next request holds: it is not sent before they have ended."""

    @property
    def beside(self) -> tuple[SubAgent, ...]:
        """Jobs that start with the next request and that nobody waits for: a title, a summary for the screen."""

    @property
    def answered(self) -> bool:
        """Whether the reply that was accepted last has ended the job."""

    @property
    def stuck(self) -> bool:
        """Whether the server lost tool calls, and not one has arrived: the agent could do nothing."""

    @property
    def think_ns(self) -> int | None:
        """How long to think before the next request, from the end of the last turn, or of the last of those that it
        awaits; None: as the scenario says."""

    def request(self) -> ChatRequest | None:
        """The next completion to ask for; None when it would not fit in the context."""

    def accept(self, reply: Observation) -> tuple[Call, ...]:
        """Takes a complete reply into the history and returns the calls that follow."""

    def add_result(self, call: Call, text: str) -> None: ...


class Driver(Protocol):
    def begin(self, job: Job, before: Conversation | None = None) -> Conversation:
        """`before`: the conversation of the agent's last job, which one of the same session goes on with."""

    def entering(self, job: Job) -> ChatRequest | None:
        """The last request that was before a job, or before the middle that it begins in; None: there was none."""
