"""Agents that replay sessions, in virtual time: what happens when, and whose it is."""

import asyncio
from contextlib import suppress
from itertools import count

import pytest
from built import FIXED, SECOND, session, size, trace

from swarm.agents.agent import Agent, AgentContext
from swarm.agents.driver import Job
from swarm.agents.trace import ReplayTools, TraceDriver, session_task
from swarm.analysis.trial.trial import Trial
from swarm.client.retry import RetryPolicy
from swarm.clock import VirtualClock
from swarm.engine.replay import prepare
from swarm.engine.virtual import VirtualTokenizer
from swarm.recording import records
from swarm.recording.status import AgentStatus
from swarm.scenario.schema import TraceSettings
from swarm.trace.format import Parent, write_trace


class Server:
    """Every reply takes a second."""

    def __init__(self, clock):
        self.clock = clock

    async def complete(self, request, seen):
        seen.send_ns = self.clock.now()
        await asyncio.sleep(1.0)
        seen.stamps.append(self.clock.now())
        seen.prompt_tokens, seen.completion_tokens = FIXED, request.max_tokens
        seen.end_ns = self.clock.now()


async def replay(path, made, name, agents=4, number=2, seconds=1000.0):
    """What the agent `number` of `agents` publishes in one job of the session `name`."""
    write_trace(path, made)
    prepared = await prepare(TraceSettings(path=str(path)), 100_000, VirtualTokenizer())
    clock, ids, published = VirtualClock(), count(1), []
    around = AgentContext(
        header={"run": "r", "shard": 0, "target": "moe", "agents": agents, "trial": 1},
        stage_id="0.0",
        clock=clock,
        client=Server(clock),
        driver=TraceDriver(prepared.replay, "0" * 16, 100_000),
        tools=ReplayTools(),
        retry=RetryPolicy(0),
        publish=published.append,
        next_id=lambda: f"0.{next(ids)}",
        max_turns=10**9,
    )
    agent = Agent(number, iter([Job(session_task(name, None), "T-1")]), around, AgentStatus(number))
    with suppress(TimeoutError):
        await asyncio.wait_for(agent.run(), seconds)
    return published


def of(published, kind):
    return [record for record in published if isinstance(record, kind)]


def sends(published, session):
    return [each.t_ns / SECOND for each in of(published, records.Attempt) if each.variant == session]


async def test_think_and_tool_times_are_those_of_the_recording(tmp_path):
    made = trace(
        session("one", [["s0", "u1"], ["s0", "u1", "a1", "t1"], ["s0", "u1", "a1", "t1", "a2", "u2"]], pause_s=7)
    )
    turns = [turn.reply.calls for turn in made.turns]
    assert turns == [(), (), ()]
    published = await replay(tmp_path / "a.jsonl", made, "one")
    assert sends(published, "one") == [0, 8, 16]
    (job,) = of(published, records.Job)
    assert (job.outcome, job.think_ns, job.tool_ns, job.turns) == ("answered", 14 * SECOND, 0, 3)


async def test_a_wait_is_told_as_the_tool_that_was_called(tmp_path):
    made = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "t1"]], pause_s=7, calls=["Bash"]))
    published = await replay(tmp_path / "a.jsonl", made, "one")
    (tool,) = of(published, records.Tool)
    assert (tool.name, tool.ok, tool.planned_ns, tool.overran) == ("Bash", True, 7 * SECOND, False)
    assert (tool.t_ns, tool.end_ns) == (1 * SECOND, 8 * SECOND)
    assert sends(published, "one") == [0, 8]


FAMILY = trace(
    session("parent", [["s0", "u1"], ["s0", "u1", "a1", "t1", "t2"]], calls=["Task", "Task"], pause_s=9),
    session("first", [["s1", "u2"], ["s1", "u2", "a2"]], parent=Parent(session="parent", turn=1), start_s=2, pause_s=1),
    session("second", [["s1", "u3"]], parent=Parent(session="parent", turn=1), start_s=3, turn_s=5),
)
"""The parent's reply ends at 1 s, its sub-agents run from 2 to 5 s and from 3 to 8 s, and it goes on at 10 s."""


async def test_sub_agents_start_when_they_did_and_their_parent_waits_for_them(tmp_path):
    published = await replay(tmp_path / "a.jsonl", FAMILY, "parent")
    assert sends(published, "first") == [2, 4]
    assert sends(published, "second") == [3]
    # Both have ended at 5 s here, and the 2 s from the last one's end to the next send are kept.
    assert sends(published, "parent") == [0, 7]
    tools = of(published, records.Tool)
    assert [(tool.t_ns // SECOND, tool.end_ns // SECOND, tool.sub_agents) for tool in tools] == [(1, 6, 2), (6, 7, 0)]


async def test_sub_agents_have_numbers_of_their_own_and_belong_to_their_parents_job(tmp_path):
    published = await replay(tmp_path / "a.jsonl", FAMILY, "parent", agents=4, number=2)
    numbers = {each.variant: each.agent for each in of(published, records.Attempt)}
    assert numbers == {"parent": 2, "first": 6, "second": 10}
    assert {each.owner for each in of(published, records.Attempt)} == {2}
    (job,) = of(published, records.Job)
    assert {each.parent for each in of(published, records.Turn)} == {job.id}
    replies = ["written parent 1", "written parent 2", "written first 1", "written first 2", "written second 1"]
    assert job.completion_tokens == sum(map(size, replies))
    assert job.serving_ns + job.tool_ns == job.end_ns - job.t_ns


async def test_analysis_counts_sub_agents_for_their_agent_and_as_no_jobs(tmp_path):
    published = await replay(tmp_path / "a.jsonl", FAMILY, "parent")
    began = records.Stage(
        id="0.0",
        run="r",
        target="moe",
        agents=4,
        trial=1,
        t_ns=0,
        window_start_ns=0,
        window_end_ns=20 * SECOND,
        salt="",
        seed=1,
    )
    trial = Trial(began)
    for record in published:
        trial.add(record)
    assert list(trial.agents) == [2]
    assert (trial.agents[2].turns, trial.agents[2].jobs, trial.jobs.finished) == (5, 1, 1)
    tools = {key: spent.tool_ns // SECOND for key, spent in trial.causes.turns.items()}
    assert tools[("trace/parent", 1)] == 1  # what it waited for its sub-agents is no time of its tools


async def test_a_sub_agent_that_went_on_beside_its_parent_does_so_again(tmp_path):
    made = trace(
        session("parent", [["s0", "u1"], ["s0", "u1", "a1", "t1"]], calls=["Task"], pause_s=3),
        session("long", [["s1", "u2"]] * 3, parent=Parent(session="parent", turn=1), start_s=2, pause_s=9),
    )
    published = await replay(tmp_path / "a.jsonl", made, "parent")
    assert sends(published, "parent") == [0, 4]
    assert sends(published, "long") == [2, 12, 22]
    (job,) = of(published, records.Job)
    assert (job.outcome, job.end_ns // SECOND) == ("answered", 23)


async def test_sub_agents_end_with_their_stage(tmp_path):
    published = await replay(tmp_path / "a.jsonl", FAMILY, "parent", seconds=4.5)
    cut_off = {each.variant for each in of(published, records.Attempt) if each.aborted}
    assert cut_off == {"first"}  # `second` has just been answered
    (job,) = of(published, records.Job)
    assert job.outcome == "censored"
    assert len(asyncio.all_tasks()) == 1


async def test_sub_agents_of_sub_agents(tmp_path):
    made = trace(
        session("a", [["s0", "u1"], ["s0", "u1", "a1", "t1"]], calls=["Task"], pause_s=20),
        session(
            "b",
            [["s1", "u2"], ["s1", "u2", "a1", "t1"]],
            calls=["Task"],
            parent=Parent(session="a", turn=1),
            start_s=2,
            pause_s=9,
        ),
        session("c", [["s1", "u3"]], parent=Parent(session="b", turn=1), start_s=4),
    )
    published = await replay(tmp_path / "a.jsonl", made, "a", agents=1, number=0)
    numbers = {each.variant: each.agent for each in of(published, records.Attempt)}
    assert numbers == {"a": 0, "b": 1, "c": 2}
    assert sends(published, "b") == [2, pytest.approx(12)]
    assert sends(published, "c") == [4]
