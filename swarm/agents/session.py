"""Which sessions an agent works through, and where in the first one it enters: as if it had always been at work."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from swarm.agents.driver import Job
from swarm.tasks import Task


@dataclass(frozen=True, slots=True)
class SessionJob:
    """A user message of a session, and the turns that answer it."""

    task: Task
    turns: int
    pause_ns: int


Session = tuple[SessionJob, ...]


def session_jobs(sessions: Sequence[Session], order: str, agent: int, tickets: str) -> Iterator[Job]:
    """The jobs of an agent, without end, and the same at every level and target; `order` is the seed of the sessions'
    order, `tickets` begins its tickets.

    Agent i begins with the i-th session of the order, at a depth of its own (`depth`); then come the others.
    """
    dealt = random.Random(f"{order}:sessions").sample(list(sessions), len(sessions))
    before = int(depth(agent) * sum(job.turns for job in dealt[agent % len(dealt)]))
    """Turns of its first session that were before the agent came."""
    enters = True
    for number in count():
        for job in dealt[(agent + number) % len(dealt)]:
            if before >= job.turns:
                before -= job.turns
                continue
            yield Job(job.task, f"{tickets}-{number + 1:05d}", before, 0 if enters else job.pause_ns)
            before, enters = 0, False


def depth(agent: int) -> float:
    """How much of its first session an agent has behind it, 0..1: spread evenly, so that a stage begins as it goes on.

    Agents 0 and 3 are in the middle, all others in pairs that lie around it (van der Corput's sequence in base 2), so
    that 1, 4, 6, 8 and more agents have the same depth on average, and each agent the same at every level.
    """
    if agent in (0, 3):
        return 0.5
    number = agent - 1 if agent < 3 else agent - 2
    below = _van_der_corput(number // 2 + 1) / 2
    return 1 - below if number % 2 else below


def _van_der_corput(number: int) -> float:
    """0.5, 0.25, 0.75, 0.125, ...: the binary digits mirrored at the point."""
    value, digit = 0.0, 0.5
    while number:
        value += digit * (number & 1)
        number, digit = number >> 1, digit / 2
    return value
