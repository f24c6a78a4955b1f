"""Agents that work through random trees of sessions: no request is sent before what it holds exists."""

import asyncio
import random
from collections import defaultdict
from itertools import count, pairwise

import async_solipsism
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from shapes import shapes

from swarm.agents.agent import Agent, AgentContext
from swarm.agents.session import session_jobs
from swarm.agents.trace import ReplayTools, TraceDriver
from swarm.client.retry import RetryPolicy
from swarm.clock import VirtualClock
from swarm.engine.virtual import VirtualTokenizer
from swarm.engine.workloads.sessions import prepare_sessions, sessions_of
from swarm.recording import records
from swarm.recording.status import AgentStatus
from swarm.sessions.plan import everything, plan


class Server:
    """Every reply takes a time of its own."""

    def __init__(self, clock, seed):
        self.clock, self.random = clock, random.Random(seed)
        self.requests = []

    async def complete(self, request, seen):
        seen.send_ns = self.clock.now()
        await asyncio.sleep(self.random.choice([0.001, 0.1, 1, 30, 200]))
        seen.stamps.append(self.clock.now())
        tokens = await VirtualTokenizer().count(request.messages)
        seen.prompt_tokens, seen.completion_tokens = tokens, request.max_tokens
        seen.end_ns = self.clock.now()
        self.requests.append(request)


async def worked(sessions, seed, agents, jobs):
    """What so many agents publish in so many jobs each."""
    clock, ids, published = VirtualClock(), count(1), []
    prepared = await prepare_sessions(sessions, VirtualTokenizer())
    server = Server(clock, seed)
    around = AgentContext(
        header={"run": "r", "shard": 0, "target": "moe", "agents": agents, "trial": 1},
        stage_id="0.0",
        clock=clock,
        client=server,
        driver=TraceDriver(prepared.replay, "0" * 16, 20_000),
        tools=ReplayTools(),
        retry=RetryPolicy(0),
        publish=published.append,
        next_id=lambda: f"0.{next(ids)}",
        max_turns=10**9,
    )

    async def one(agent):
        work = session_jobs(sessions_of(sessions), "7", agent, f"T-{agent}")
        await Agent(agent, (next(work) for _ in range(jobs)), around, AgentStatus(agent)).run()

    await asyncio.gather(*map(one, range(agents)))
    return published, server


def spans(published):
    """By agent and by the session's name: begin and end of each request, in order."""
    found = defaultdict(list)
    for record in published:
        if isinstance(record, records.Attempt):
            assert record.error is None
            found[record.owner, record.variant].append((record.t_ns, record.end_ns))
    return found


@given(shapes(), st.integers(0, 99), st.integers(1, 3))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_is_sent_before_what_it_holds_exists(shape, seed, agents):
    try:
        sessions = plan(shape, seed, 2)
    except ValueError:
        assume(False)
    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        published, server = runner.run(worked(sessions, seed, agents, jobs=4))
    jobs = {
        f"{session.name}.{number}": session.steps[job.first : job.behind]
        for session in sessions
        for number, job in enumerate(session.jobs, 1)
    }
    found = spans(published)
    assert not [each for each in published if isinstance(each, records.AgentEnd) and each.crash]
    assert {job.outcome for job in published if isinstance(job, records.Job)} <= {"answered"}
    turns = {}
    for record in published:
        if isinstance(record, records.Turn):
            turns[record.id] = record
    for agent in range(agents):
        for name, steps in jobs.items():
            mine = [each for each in published if isinstance(each, records.Attempt) and each.agent == agent]
            mine = [each for each in mine if each.variant == name]
            for before, after in pairwise(mine):
                assert after.t_ns >= before.end_ns
            for attempt in mine:
                step = steps[turns[attempt.parent].number - 1]
                for awaited in step.awaits:
                    # Ends of this agent's sub-agents of that name before the next time that the job comes round.
                    ends = [end for begin, end in found[agent, awaited] if begin <= attempt.t_ns]
                    assert all(end <= attempt.t_ns for end in ends)
                for launch in step.launches:
                    begins = [begin for begin, _ in found[agent, launch.session]]
                    assert any(begin >= attempt.end_ns for begin in begins)
    for request in server.requests:
        assert len(request.messages) == len({id(message) for message in request.messages})


@given(shapes(), st.integers(0, 99))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_prompts_have_the_planned_tokens_and_begin_as_the_plan_says(shape, seed):
    try:
        sessions = plan(shape, seed, 2)
    except ValueError:
        assume(False)
    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        prepared = runner.run(prepare_sessions(sessions, VirtualTokenizer()))
    planned = {each.name: each for each in everything(sessions)}
    for name, turns in prepared.replay.sessions.items():
        for step, turn in zip(planned[name].steps, turns, strict=True):
            assert turn.prompt_tokens == step.prompt_tokens
            assert (turn.reply_tokens, turn.kept) == (step.reply_tokens, step.kept)
    assert prepared.notes == ()
