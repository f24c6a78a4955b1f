"""The jobs that agents work through, and how they enter in their middle: with contexts that the server has seen."""

import asyncio
from collections.abc import Iterator
from itertools import count, cycle, islice

from swarm.agents.driver import Job
from swarm.agents.script import job_order
from swarm.agents.session import session_jobs
from swarm.client.base import Client, Observation
from swarm.clock import Clock
from swarm.engine.stage import StageSpec
from swarm.recording import records

AT_ONCE = 8
"""Prompts that are prefilled together: more would only wait in the server's queue, and might time out there."""


def jobs_of(spec: StageSpec, agent: int) -> Iterator[Job]:
    """The jobs of an agent in a stage, without end."""
    begun = spec.jobs_begun[agent] if spec.jobs_begun else 0
    tickets = f"{spec.seed}-{agent:04d}"
    if spec.sessions:
        jobs = session_jobs(spec.sessions, spec.plan.order, agent, tickets)
    else:
        order = cycle(job_order(list(spec.tasks), spec.plan.order, agent))
        jobs = (Job(task, ticket=f"{tickets}-{number:05d}") for number, task in zip(count(1), order))
    yield from islice(jobs, begun, None)


async def enter(spec: StageSpec, client: Client, clock: Clock) -> records.Entered:
    """Has the server prefill, for each agent of the stage, the last prompt before the turn with which it begins.

    One agent alone first, so that what all share is computed once. Nothing of it is recorded but what is returned.
    """
    seen: list[Observation] = []
    places = asyncio.Semaphore(AT_ONCE)
    started = clock.now()

    async def one(agent: int) -> None:
        async with places:
            if request := spec.driver.entering(next(jobs_of(spec, agent))):
                mine = Observation()
                await client.complete(request, mine)
                seen.append(mine)

    await one(0)
    async with asyncio.TaskGroup() as group:
        for agent in range(1, spec.plan.agents):
            group.create_task(one(agent))
    failures = [each.failure for each in seen if each.failure]
    return records.Entered(
        agents=len(seen),
        prompt_tokens=sum(each.prompt_tokens or 0 for each in seen),
        took_ns=clock.now() - started,
        failed=len(failures),
        message=spec.redact.text(failures[0].message) if failures else None,
    )
