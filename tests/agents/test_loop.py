"""The closed loop of one agent, in virtual time, against a client and tools that do as they are told."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise

import pytest

from swarm.agents.agent import BACK_OFF_S, Agent, AgentContext
from swarm.agents.content import Contents
from swarm.agents.driver import Job
from swarm.agents.prompt import system_prompt
from swarm.agents.script import ScriptDriver, job_order
from swarm.agents.tools import ToolResult
from swarm.client.base import Failure
from swarm.client.retry import RetryPolicy
from swarm.clock import VirtualClock
from swarm.recording import records
from swarm.recording.observations import lost_calls
from swarm.recording.redaction import PLACEHOLDER, Redaction
from swarm.recording.status import AgentStatus
from swarm.tasks import PlannedCall, ReplyLength, ScriptTurn, Task, load_tasks

SECOND = 1_000_000_000
SCHEMAS = [{"type": "function", "function": {"name": "list_files", "parameters": {}}}]


@dataclass
class FakeClient:
    """Answers after `ttft_s`, then a token every 10 ms; the failures of `failing` come first, in their order."""

    clock: VirtualClock
    ttft_s: float = 0.5
    failing: list[Failure] = field(default_factory=list)
    requests: list = field(default_factory=list)
    says: str = "hello"
    finish: str = "length"

    async def complete(self, request, seen):
        self.requests.append(request)
        seen.send_ns = self.clock.now()
        if self.failing:
            seen.failure = self.failing.pop(0)
            seen.end_ns = self.clock.now()
            return
        seen.prompt_tokens = sum(len(json.dumps(message)) for message in request.messages) // 4
        await asyncio.sleep(self.ttft_s)
        for _ in range(request.max_tokens):
            await asyncio.sleep(0.01)
            seen.stamps.append(self.clock.now())
            seen.tokens.append(len(seen.stamps))
            seen.completion_tokens = len(seen.stamps)
        seen.content, seen.finish_reason = self.says, self.finish
        seen.end_ns = self.clock.now()


@dataclass
class FakeTools:
    """Every call takes `takes_s` and answers with its own arguments."""

    takes_s: float = 0.1

    @asynccontextmanager
    async def open(self, repository):
        yield None

    async def execute(self, call, workspace):
        await asyncio.sleep(self.takes_s)
        return ToolResult(True, f"result of {call.name}")


@dataclass
class Stage:
    """An agent about to run, and everything that it publishes."""

    agent: Agent
    client: FakeClient
    records: list = field(default_factory=list)

    def of(self, kind):
        return [record for record in self.records if isinstance(record, kind)]

    async def run_for(self, seconds: float) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.agent.run(), seconds)


def task(turns: int, tokens: int = 10, takes_s: float = 0.3, say: str = "Looking.") -> Task:
    reply = ReplyLength(tokens, 1.0, tokens, tokens)
    call = PlannedCall("list_files", {"path": "."}, takes_s, "ok")
    script = (*[ScriptTurn(say, (call,), reply)] * (turns - 1), ScriptTurn("Done.", (), reply))
    return Task("lru-cache", "tiny", "A task", "Do it.", load_tasks(["lru-cache"])[0].repository, script, script)


def stage(
    task,
    *,
    client=None,
    tools=None,
    context=8000,
    retries=0,
    think_s=0.0,
    max_turns=30,
    history="script",
    secret="no secret",
    content=False,
) -> Stage:
    clock = VirtualClock()
    client = client or FakeClient(clock)
    ids = count(1)
    driver = ScriptDriver(
        system=system_prompt(1500, "0" * 16), tools=SCHEMAS, context=context, seed=7, history=history, tool_choice=None
    )
    built = Stage(None, client)
    around = AgentContext(
        header={"run": "r", "shard": 0, "target": "moe", "agents": 1, "trial": 1},
        stage_id="0.0",
        clock=clock,
        client=client,
        driver=driver,
        tools=tools or FakeTools(),
        retry=RetryPolicy(retries),
        publish=built.records.append,
        next_id=lambda: f"0.{next(ids)}",
        think_ns=round(think_s * SECOND),
        max_turns=max_turns,
        redact=Redaction((secret,)),
        contents=Contents(Redaction((secret,))) if content else None,
    )
    jobs = (Job(task, f"T-{number}") for number in count(1))
    built.agent = Agent(0, jobs, around, AgentStatus(0))
    return built


async def test_a_job_is_its_turns_each_with_one_attempt_and_its_tools():
    running = stage(task(turns=3))
    await running.run_for(3.0)
    job = running.of(records.Job)[0]
    assert (job.outcome, job.turns, job.template) == ("answered", 3, "lru-cache/tiny")
    mine = [turn for turn in running.of(records.Turn) if turn.parent == job.id]
    assert [turn.number for turn in mine] == [1, 2, 3]
    attempts = [attempt for attempt in running.of(records.Attempt) if attempt.parent in {turn.id for turn in mine}]
    assert [attempt.completion_tokens for attempt in attempts] == [10, 10, 10]
    tools = [tool for tool in running.of(records.Tool) if tool.parent in {turn.id for turn in mine}]
    assert [tool.name for tool in tools] == ["list_files", "list_files"]


async def test_the_shares_of_a_jobs_time_add_up_and_are_those_that_were_spent():
    running = stage(task(turns=3), think_s=0.25)
    await running.run_for(4.0)
    job = running.of(records.Job)[0]
    assert job.serving_ns == pytest.approx(3 * 0.6 * SECOND, abs=10)
    assert job.tool_ns == pytest.approx(2 * 0.3 * SECOND, abs=10)
    assert job.think_ns == pytest.approx(2 * 0.25 * SECOND, abs=10)
    assert job.client_ns == pytest.approx(0, abs=10)
    assert job.serving_ns + job.tool_ns + job.think_ns + job.client_ns == job.end_ns - job.t_ns
    assert job.answer_ns - job.t_ns == pytest.approx((2 * (0.6 + 0.3 + 0.25) + 0.51) * SECOND, abs=10)


async def test_chunks_are_recorded_as_gaps_from_the_send():
    running = stage(task(turns=1, tokens=4))
    await running.run_for(0.6)
    attempt = running.of(records.Attempt)[0]
    assert attempt.chunks == pytest.approx([0.51 * SECOND, *[0.01 * SECOND] * 3], abs=10)
    assert attempt.chunk_tokens == [1, 1, 1, 1]
    assert (attempt.first_token_ns, attempt.last_token_ns) == pytest.approx((0.51 * SECOND, 0.54 * SECOND), abs=10)
    assert (attempt.planned_tokens, attempt.finish_reason, attempt.error, attempt.aborted) == (4, "length", None, False)


async def test_a_script_whose_calls_are_lost_goes_on_as_it_was_written_and_they_are_counted():
    running = stage(task(turns=3))
    running.client.finish = "tool_calls"
    await running.run_for(3.0)
    job = running.of(records.Job)[0]
    assert (job.outcome, job.turns, len(running.of(records.Tool)) >= 2) == ("answered", 3, True)
    assert all(lost_calls(attempt) for attempt in running.of(records.Attempt) if not attempt.aborted)


async def test_a_tools_result_is_delivered_at_its_planned_time_although_it_was_ready_before():
    running = stage(task(turns=2, takes_s=0.3), tools=FakeTools(takes_s=0.1))
    await running.run_for(2.0)
    tool = running.of(records.Tool)[0]
    assert tool.end_ns - tool.t_ns == pytest.approx(0.3 * SECOND, abs=10)
    assert tool.work_ns == pytest.approx(0.1 * SECOND, abs=10)
    assert not tool.overran


async def test_a_tool_that_takes_longer_than_planned_is_delivered_when_ready_and_counted_as_overrun():
    running = stage(task(turns=2, takes_s=0.3), tools=FakeTools(takes_s=0.7))
    await running.run_for(2.0)
    tool = running.of(records.Tool)[0]
    assert tool.end_ns - tool.t_ns == pytest.approx(0.7 * SECOND, abs=10)
    assert tool.overran


async def test_the_intended_send_is_the_planned_end_of_the_think_time():
    running = stage(task(turns=2, takes_s=0.3), think_s=1.0)
    await running.run_for(3.0)
    tool, second = running.of(records.Tool)[0], running.of(records.Attempt)[1]
    assert second.intended_ns == tool.end_ns + SECOND


async def test_every_request_extends_the_one_before_and_pairs_each_tool_call_with_its_result():
    running = stage(task(turns=3))
    await running.run_for(3.0)
    first, second, third = (request.messages for request in running.client.requests[:3])
    assert [message["role"] for message in third] == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert second[: len(first)] == first
    assert third[: len(second)] == second
    for asked, answered in zip(third[2::2], third[3::2], strict=True):
        assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]
        assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {"path": "."}
    assert third[3]["content"] == "result of list_files"


async def test_prompts_are_the_same_whatever_the_model_writes_unless_the_history_is_live():
    async def prompts(says, history):
        running = stage(task(turns=3), client=FakeClient(VirtualClock(), says=says), history=history)
        await running.run_for(3.0)
        return [request.messages for request in running.client.requests[:3]]

    assert await prompts("one thing", "script") == await prompts("another", "script")
    live = await prompts("another", "live")
    assert live[1][2]["content"] == "another"


async def test_a_job_that_runs_out_of_turns_or_of_context_ends_with_that_outcome():
    limited = stage(task(turns=9), max_turns=2)
    await limited.run_for(3.0)
    assert (limited.of(records.Job)[0].outcome, limited.of(records.Job)[0].turns) == ("turn_limit", 2)
    full = stage(task(turns=9, say="word " * 800), context=3000)
    await full.run_for(5.0)
    assert full.of(records.Job)[0].outcome == "context_limit"
    assert all(attempt.prompt_tokens + 10 <= 3000 for attempt in full.of(records.Attempt))


async def test_what_is_cut_off_at_the_stages_end_is_recorded_as_aborted_and_censored():
    running = stage(task(turns=3))
    await running.run_for(0.55)
    (attempt,), (turn,), (job,), (end,) = (
        running.of(kind) for kind in (records.Attempt, records.Turn, records.Job, records.AgentEnd)
    )
    assert (attempt.aborted, attempt.error, attempt.completion_tokens) == (True, None, 5)
    assert attempt.end_ns == pytest.approx(0.55 * SECOND, abs=10)
    assert (turn.ok, job.outcome, end.crash) == (None, "censored", None)


async def test_a_failed_request_ends_its_job_with_an_error_and_the_agent_backs_off_and_goes_on():
    refused = Failure("refused", "nobody there")
    running = stage(task(turns=1), client=FakeClient(VirtualClock(), failing=[refused] * 4))
    await running.run_for(10.0)
    failed = running.of(records.Attempt)[:4]
    assert [attempt.error for attempt in failed] == ["refused"] * 4
    assert [job.outcome for job in running.of(records.Job)[:5]] == ["error"] * 4 + ["answered"]
    pauses = [(later.t_ns - earlier.end_ns) / SECOND for earlier, later in pairwise(failed)]
    assert pauses == pytest.approx([BACK_OFF_S[0], 2 * BACK_OFF_S[0], 4 * BACK_OFF_S[0]])


async def test_a_server_that_is_always_down_is_not_hammered():
    running = stage(task(turns=1), client=FakeClient(VirtualClock(), failing=[Failure("refused", "down")] * 10_000))
    await running.run_for(600.0)
    assert 100 < len(running.of(records.Attempt)) < 140


async def test_a_bug_in_an_agent_is_recorded_as_its_crash_with_the_traceback():
    class Broken(FakeTools):
        async def execute(self, call, workspace):
            raise KeyError("lost")

    running = stage(task(turns=2), tools=Broken())
    await running.agent.run()
    (end,) = running.of(records.AgentEnd)
    assert "KeyError: 'lost'" in end.crash
    assert running.agent.status.state == "crashed"


def test_each_agent_has_its_own_order_of_the_same_tasks_and_no_two_begin_with_the_same():
    tasks = load_tasks(["lru-cache", "merge-sort", "cron-tests", "flask-layers", "rate-limiter"])
    orders = [job_order(tasks, seed=7, agent=agent) for agent in range(len(tasks))]
    assert all(sorted(order, key=id) == sorted(tasks, key=id) for order in orders)
    assert len({order[0].name for order in orders}) == len(tasks)
    assert job_order(tasks, seed=7, agent=3) == orders[3]
    assert job_order(tasks, seed=8, agent=3) != orders[3]
    assert len({task.kind for task in orders[0][:5]}) == 5


def test_a_templates_reply_lengths_depend_on_the_seed_and_on_nothing_else():
    some = load_tasks(["lru-cache"])[0]
    driver = ScriptDriver(system="", tools=[], context=8000, seed=7)
    again = ScriptDriver(system="other", tools=[], context=4000, seed=7)
    lengths = [driver.reply_tokens(Job(some, "a"), turn) for turn in range(len(some.turns))]
    assert lengths == [again.reply_tokens(Job(some, "b"), turn) for turn in range(len(some.turns))]
    other = ScriptDriver(system="", tools=[], context=8000, seed=8)
    assert lengths != [other.reply_tokens(Job(some, "a"), turn) for turn in range(len(some.turns))]


def told(running: Stage) -> dict[str, list[list]]:
    """Job -> the messages of each of its requests, put together from the records of what was said."""
    attempts = {attempt.id: attempt for attempt in running.of(records.Attempt)}
    turns = {turn.id: turn for turn in running.of(records.Turn)}
    jobs: dict[str, list[list]] = {}
    for said in running.of(records.Content):
        requests = jobs.setdefault(turns[attempts[said.parent].parent].parent, [])
        requests.append([*(requests[-1][: said.kept] if requests else ()), *said.messages])
    return jobs


async def test_what_was_said_is_recorded_so_that_every_request_and_reply_can_be_put_together_again():
    client = FakeClient(VirtualClock(), failing=[Failure("reset", "gone")])
    running = stage(task(turns=3), client=client, retries=1, content=True)
    await running.run_for(6.0)
    requests = [request for job in told(running).values() for request in job]
    assert len(requests) > 4
    assert requests == [request.messages for request in client.requests[: len(requests)]]
    said = running.of(records.Content)
    assert [one.content for one in said[:3]] == ["", "hello", "hello"]
    assert [one.schemas for one in said] == [SCHEMAS] + [None] * (len(said) - 1)
    assert len({one.tools for one in said}) == 1
    assert (said[1].kept, said[1].messages) == (2, [])  # the retry


async def test_nothing_that_is_said_is_recorded_unless_asked_for():
    running = stage(task(turns=3))
    await running.run_for(3.0)
    assert not running.of(records.Content)


@pytest.mark.parametrize("content", [False, True])
async def test_a_secret_that_the_model_the_server_or_a_tool_says_is_in_no_record(content):
    secret = "s3cret-of-the-server"
    refused = Failure("unauthorized", f"HTTP 401: Incorrect API key provided: {secret}")
    client = FakeClient(VirtualClock(), failing=[refused], says=f"I found {secret}")
    running = stage(task(turns=2, say=f"Using {secret}."), client=client, secret=secret, content=content)
    await running.run_for(4.0)
    assert running.of(records.Attempt)[0].message == f"HTTP 401: Incorrect API key provided: {PLACEHOLDER}"
    assert not any(secret in repr(record) for record in running.records)
    if content:
        assert f"I found {PLACEHOLDER}" in {said.content for said in running.of(records.Content)}
