"""The scheduler's loop: sleep until something is due, run it, and again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Callable, Sequence

from nextrun.search import NeverDue, next_run


@dataclass(frozen=True)
class Job:
    name: str
    expression: str
    action: Callable[[], None]


@dataclass(frozen=True)
class Plan:
    """What comes next: the jobs that are due at `at`, in the order in which they were given."""

    at: datetime
    jobs: tuple[Job, ...]


def plan(jobs: Sequence[Job], now: datetime) -> Plan | None:
    """The next moment at which any job is due, and all jobs that are due then; None if nothing ever is."""
    moments: dict[str, datetime] = {}
    for job in jobs:
        try:
            moments[job.name] = next_run(job.expression, now)
        except NeverDue:
            continue
    if not moments:
        return None
    at = min(moments.values())
    return Plan(at, tuple(job for job in jobs if moments.get(job.name) == at))


def run(jobs: Sequence[Job], now: Callable[[], datetime], sleep: Callable[[float], None], rounds: int) -> int:
    """Runs `rounds` rounds of planning, sleeping and acting; returns how many jobs ran.

    A job that is late, because the one before took long, runs at once and only once.
    """
    count = 0
    for _ in range(rounds):
        coming = plan(jobs, now())
        if coming is None:
            break
        sleep(max(0.0, (coming.at - now()).total_seconds()))
        for job in coming.jobs:
            job.action()
            count += 1
    return count
