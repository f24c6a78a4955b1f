"""Agents that replay sessions, in virtual time: what happens when, and whose it is."""

import asyncio
import dataclasses
from contextlib import suppress
from itertools import count

import async_solipsism
import msgspec
import pytest
from built import FIXED, SECOND, session, size, trace
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.agents.agent import Agent, AgentContext
from swarm.agents.driver import Job
from swarm.agents.trace import ReplayTools, TraceDriver, session_task
from swarm.analysis.trial.trial import Trial
from swarm.client.retry import RetryPolicy
from swarm.clock import VirtualClock
from swarm.engine.virtual import VirtualTokenizer
from swarm.engine.workloads.replay import prepare, tasks_of_trace
from swarm.recording import records
from swarm.recording.observations import lost_calls
from swarm.recording.status import AgentStatus
from swarm.scenario.schema import TraceSettings
from swarm.trace.format import Parent, Trace, write_trace


class Server:
    """Every reply takes a second, or as long as `took` says of its session."""

    def __init__(self, clock, took, finish):
        self.clock = clock
        self.took = took
        self.finish = finish

    async def complete(self, request, seen):
        seen.send_ns = self.clock.now()
        await asyncio.sleep(self.took.get(request.extra_body["session"], 1.0))
        seen.stamps.append(self.clock.now())
        seen.prompt_tokens, seen.completion_tokens, seen.finish_reason = FIXED, request.max_tokens, self.finish
        seen.end_ns = self.clock.now()


class Named:
    """A driver whose requests say of which session they are."""

    def __init__(self, driver):
        self.driver = driver

    def begin(self, job, *rest):
        return NamedConversation(self.driver.begin(job, *rest), job.task.variant)


class NamedConversation:
    def __init__(self, conversation, session):
        self._conversation = conversation
        self._session = session

    def __getattr__(self, name):
        return getattr(self._conversation, name)

    def request(self):
        request = self._conversation.request()
        return request and dataclasses.replace(request, extra_body={"session": self._session})


async def replay(path, made, name, agents=4, number=2, seconds=1000.0, took=None, finish="stop"):
    """What the agent `number` of `agents` publishes in one job of the session `name`."""
    write_trace(path, made)
    prepared = await prepare(TraceSettings(path=str(path)), 100_000, VirtualTokenizer())
    clock, ids, published = VirtualClock(), count(1), []
    around = AgentContext(
        header={"run": "r", "shard": 0, "target": "moe", "agents": agents, "trial": 1},
        stage_id="0.0",
        clock=clock,
        client=Server(clock, took or {}, finish),
        driver=Named(TraceDriver(prepared.replay, "0" * 16, 100_000)),
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


async def test_lost_calls_are_counted_and_the_session_goes_on_as_it_was_recorded(tmp_path):
    made = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "t1"]], pause_s=7, calls=["Bash"]))
    published = await replay(tmp_path / "a.jsonl", made, "one", finish="tool_calls")
    assert [lost_calls(each) for each in of(published, records.Attempt)] == [True, True]
    assert sends(published, "one") == [0, 8]
    assert [(job.outcome, job.turns) for job in of(published, records.Job)] == [("answered", 2)]


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


def holding(made, turn, *results):
    """The trace, where a turn (session, number) is the first to hold the results of these sub-agents."""
    turns = [
        msgspec.structs.replace(each, results=results) if (each.session, each.number) == turn else each
        for each in made.turns
    ]
    return Trace(made.header, tuple(turns))


def background(slow_s):
    """A parent whose call answered at once (1 s); it went on at 2 s, and sends the result of its sub-agent at 4 s."""
    return holding(
        trace(
            session("parent", [["u1"], ["u1", "a1", "t1"], ["u1", "a1", "t1", "a2", "u2"]], calls=["Task"], pause_s=1),
            session("child", [["u3"]], parent=Parent(session="parent", turn=1), start_s=1, turn_s=slow_s),
        ),
        ("parent", 3),
        "child",
    )


@pytest.mark.parametrize(("took", "sent"), [(1.0, 4), (60.0, 62)])
async def test_a_prompt_waits_for_the_background_agent_whose_result_it_holds(tmp_path, took, sent):
    made = background(2)  # the child ended at 3 s, the prompt that holds its result was sent at 4 s
    published = await replay(tmp_path / "a.jsonl", made, "parent", took={"child": took})
    assert sends(published, "child") == [1]
    assert sends(published, "parent") == [0, 2, sent]  # a second after the result is there


@pytest.mark.parametrize(("turn", "ended"), [(3, 5), (2, 34)])
async def test_a_call_waits_for_its_sub_agent_only_where_the_next_prompt_holds_its_result(tmp_path, turn, ended):
    turns = [["u1"], ["u1", "a1", "t1"], ["u1", "a1", "t1", "a2", "t2"]]
    made = trace(
        session("parent", turns, calls=["Task"], pause_s=4),
        session("child", [["u3"]], parent=Parent(session="parent", turn=1), start_s=1, turn_s=1),
    )
    made = holding(made, ("parent", turn), "child")
    (first, *_) = of(await replay(tmp_path / "a.jsonl", made, "parent", took={"child": 30.0}), records.Tool)
    assert first.end_ns // SECOND == ended  # its own four seconds; or the child's 30 and the three after its end


async def test_failed_attempts_and_back_off_are_no_time_of_tools_or_thinking(tmp_path):
    turns = session("one", [["u1"], ["u1", "a1", "t1"], ["u1", "a1", "t1"]], calls=["Bash"], pause_s=5)
    turns[1] = msgspec.structs.replace(turns[1], error="rate_limited", reply=None, completion_tokens=None)
    published = await replay(tmp_path / "a.jsonl", trace(turns), "one")
    assert sends(published, "one") == [0, 6]  # five seconds of Bash, and none of the twelve until the reply
    (tool,) = of(published, records.Tool)
    assert tool.name == "Bash"


async def test_a_side_call_starts_with_its_turn_and_nobody_waits_for_it(tmp_path):
    title = session("title", [["s9", "u1"]], parent=Parent(session="one", turn=1), start_s=0.5)
    title = [msgspec.structs.replace(title[0], side=True)]
    made = trace(session("one", [["s0", "u1"], ["s0", "u1", "a1", "u2"]], pause_s=3), title)
    published = await replay(tmp_path / "a.jsonl", made, "one", took={"title": 50.0})
    assert (sends(published, "title"), sends(published, "one")) == ([0.5], [0, 4])
    assert [job.variant for job in of(published, records.Job)] == ["one"]
    names = [task.variant for task in tasks_of_trace(TraceSettings(path=str(tmp_path / "a.jsonl")), 100_000)]
    assert names == ["one"]


@st.composite
def families(draw):
    """Sessions in a tree, some of whose prompts hold the results of sub-agents that had ended by then."""
    sessions, lines = {"root": None}, []
    for number in range(draw(st.integers(1, 5))):
        sessions[f"agent {number}"] = draw(st.sampled_from(sorted(sessions)))
    starts = {}
    for name, above in sessions.items():
        count = draw(st.integers(2, 4))
        prompts = [["u1", *(f"a{at} t{at}" for at in range(end))] for end in range(count)]
        prompts = [[word for part in prompt for word in part.split()] for prompt in prompts]
        began = starts[above] + 1.5 if above else 0.0
        starts[name] = began
        parent = Parent(session=above, turn=1) if above else None
        lines.append(session(name, prompts, calls=["Task"], start_s=began, parent=parent))
    ends = {each[0].session: each[-1].end_ns for each in lines}
    for place, turns in enumerate(lines):
        children = [name for name, above in sessions.items() if above == turns[0].session]
        for child in children:
            later = [turn.number for turn in turns if turn.t_ns >= ends[child]]
            if later and draw(st.booleans()):
                at = later[0] - 1
                lines[place][at] = msgspec.structs.replace(turns[at], results=(*turns[at].results, child))
    return trace(*lines)


@settings(max_examples=60, deadline=None)
@given(made=families(), speeds=st.lists(st.floats(0.01, 30), min_size=6, max_size=6))
def test_no_turn_is_sent_before_the_results_that_it_holds_exist(made, speeds, tmp_path_factory):
    took = dict(zip(sorted(made.sessions()), speeds, strict=False))
    path = tmp_path_factory.mktemp("family") / "a.jsonl"
    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        published = runner.run(replay(path, made, "root", took=took, seconds=10_000))
    attempts = {}
    for attempt in of(published, records.Attempt):
        attempts.setdefault(attempt.variant, []).append(attempt)
    assert {name: len(each) for name, each in attempts.items()} == {
        name: len(turns) for name, turns in made.sessions().items()
    }
    for turn in made.turns:
        for child in turn.results:
            sent = attempts[turn.session][turn.number - 1].t_ns
            assert all(attempt.end_ns <= sent for attempt in attempts[child])
