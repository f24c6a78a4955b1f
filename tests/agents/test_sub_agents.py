"""Sub-agents in the background and side calls, in virtual time: no request is sent before what it holds exists."""

import asyncio
from itertools import count
from types import SimpleNamespace

from swarm.agents.agent import Agent, AgentContext
from swarm.agents.driver import Call, Job, SubAgent
from swarm.agents.trace import Line, Part, Replay, ReplayTools, ReplayTurn, TraceDriver, session_task
from swarm.client.retry import RetryPolicy
from swarm.clock import VirtualClock
from swarm.recording import records
from swarm.recording.status import AgentStatus

SECOND = 1_000_000_000


class Server:
    """Every reply takes as many seconds as it has tokens."""

    def __init__(self, clock):
        self.clock = clock

    async def complete(self, request, seen):
        seen.send_ns = self.clock.now()
        await asyncio.sleep(request.max_tokens)
        seen.stamps.append(self.clock.now())
        seen.prompt_tokens, seen.completion_tokens = 10, request.max_tokens
        seen.end_ns = self.clock.now()


def turn(reply_tokens, kept=0, calls=(), **more):
    line = Line({"role": "user"}, (Part(f"{reply_tokens}", 3, False),))
    return ReplayTurn(kept, (line,), 10, reply_tokens, [], 0, calls, **more)


def sub_agent(name, *, joins, after_s=0):
    return SubAgent(Job(session_task(name, None), ""), after_s * SECOND, joins)


async def published(**sessions):
    """What an agent publishes in one job of the session `parent`."""
    clock, ids, seen = VirtualClock(), count(1), []
    replay = Replay({name: tuple(turns) for name, turns in sessions.items()}, ("and",))
    around = AgentContext(
        header={"run": "r", "shard": 0, "target": "moe", "agents": 1, "trial": 1},
        stage_id="0.0",
        clock=clock,
        client=Server(clock),
        driver=TraceDriver(replay, "0" * 16, 100_000),
        tools=ReplayTools(),
        retry=RetryPolicy(0),
        publish=seen.append,
        next_id=lambda: f"0.{next(ids)}",
        max_turns=10**9,
    )
    await Agent(0, iter([Job(session_task("parent", None), "T-1")]), around, AgentStatus(0)).run()
    of = {}
    for each in seen:
        if isinstance(each, records.Attempt):
            of.setdefault(each.variant, []).append((each.t_ns // SECOND, each.end_ns // SECOND))
    (job,) = [each for each in seen if isinstance(each, records.Job)]
    return SimpleNamespace(spans=of, job=job, seen=seen)


def launches(*names):
    return (Call("call_0", "Task", {}, SECOND, tuple(sub_agent(name, joins=False) for name in names)),)


async def test_a_result_in_the_background_is_not_sent_before_it_exists():
    found = await published(
        parent=[turn(2, calls=launches("slow")), turn(1, kept=2), turn(1, kept=4, awaits=("slow",))],
        slow=[turn(20)],
    )
    assert found.spans == {"parent": [(0, 2), (3, 4), (22, 23)], "slow": [(2, 22)]}


async def test_a_parent_goes_on_while_its_sub_agent_works_and_is_as_fast_where_that_has_ended():
    found = await published(
        parent=[turn(2, calls=launches("quick")), turn(9, kept=2), turn(1, kept=4, awaits=("quick",))],
        quick=[turn(3)],
    )
    assert found.spans == {"parent": [(0, 2), (3, 12), (12, 13)], "quick": [(2, 5)]}


async def test_several_results_are_all_waited_for():
    found = await published(
        parent=[turn(1, calls=launches("a", "b")), turn(1, kept=2, awaits=("a", "b"))], a=[turn(5)], b=[turn(8)]
    )
    assert found.spans["parent"] == [(0, 1), (9, 10)]


async def test_the_wait_for_a_result_is_time_of_tools_and_the_shares_of_a_job_add_up():
    found = await published(
        parent=[turn(2, calls=launches("slow")), turn(1, kept=2, awaits=("slow",))], slow=[turn(20)]
    )
    job = found.job
    assert (job.serving_ns, job.tool_ns, job.think_ns, job.client_ns) == (3 * SECOND, 20 * SECOND, 0, 0)
    assert job.completion_tokens == 23


async def test_a_side_call_runs_beside_the_turn_that_it_begins_with_and_holds_up_nobody():
    title = SubAgent(Job(session_task("title", None), ""), 0, joins=False)
    found = await published(parent=[turn(2, beside=(title,)), turn(1, kept=2)], title=[turn(2)])
    assert found.spans == {"parent": [(0, 2), (2, 3)], "title": [(0, 2)]}
    owners = {each.variant: (each.agent, each.owner) for each in found.seen if isinstance(each, records.Attempt)}
    assert owners == {"parent": (0, 0), "title": (1, 0)}


async def test_a_sub_agent_that_was_never_started_is_not_waited_for():
    found = await published(
        parent=[turn(1, calls=launches("missing")), turn(1, kept=2, awaits=("other",))], missing=[turn(1)]
    )
    assert found.spans["parent"] == [(0, 1), (2, 3)]  # what never started is not waited for
