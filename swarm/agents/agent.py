"""The closed loop of one coding agent: job -> turn -> streamed completion -> tools -> next turn, until cancelled."""

import asyncio
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Protocol

from swarm.agents.content import Contents
from swarm.agents.driver import Call, Conversation, Driver, Job, SubAgent
from swarm.agents.tools import ToolResult
from swarm.client.base import ChatRequest, Client, Observation
from swarm.client.retry import RetryPolicy, complete
from swarm.clock import Clock
from swarm.recording import records
from swarm.recording.records import JobOutcome
from swarm.recording.redaction import Redaction
from swarm.recording.status import AgentStatus

BACK_OFF_S = (0.1, 5.0)
"""After a failed job an agent waits, doubling from the first to the second: it neither spins nor starves."""


class Tools(Protocol):
    """How tool calls are carried out: really, or (in virtual time) from what was recorded."""

    def open(self, repository: Path) -> Any:
        """An async context manager that gives a job the private workspace of its calls."""

    async def execute(self, call: Call, workspace: Any) -> ToolResult: ...


@dataclass(frozen=True)
class AgentContext:
    """Everything that the agents of one stage share."""

    header: dict[str, Any]
    """The fields of every record of the stage: run, shard, target, agents, trial."""
    stage_id: str
    clock: Clock
    client: Client
    driver: Driver
    tools: Tools
    retry: RetryPolicy
    publish: Callable[[records.Record], None]
    next_id: Callable[[], str]
    think_ns: int = 0
    max_turns: int = 30
    redact: Redaction = field(default_factory=Redaction)
    contents: Contents | None = None
    """None: what is said is not recorded."""


@dataclass(slots=True)
class _JobRun:
    """A job under way: what it works on, where its time went (nanoseconds), and what came of it."""

    id: str
    job: Job
    conversation: Conversation
    workspace: Any
    first_send_ns: int | None = None
    answer_ns: int | None = None
    turns: int = 0
    serving_ns: int = 0
    tool_ns: int = 0
    think_ns: int = 0
    completion_tokens: int = 0
    outcome: JobOutcome = "censored"
    said: list[dict[str, Any]] = field(default_factory=list)
    """Messages of the last request; empty where contents are not recorded."""
    beside: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    """Its sub-agents."""
    started: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """The same by their names."""


@dataclass
class Agent:
    """One agent; `run` ends only by cancellation, and publishes everything that it began."""

    number: int
    jobs: Iterator[Job]
    around: AgentContext
    status: AgentStatus
    taken: set[int] = field(default_factory=set)
    """Places of its sub-agents in use: the one at place p has the number of its agent plus p times `agents`."""
    _failures: int = field(default=0, init=False)
    """Failed jobs in a row."""
    _before: Conversation | None = field(default=None, init=False)
    """That of its last job."""

    async def run(self) -> None:
        started, crash = self.around.clock.now(), None
        try:
            for job in self.jobs:
                await self._job(job)
        except asyncio.CancelledError:
            self.status.state = "stopped"
            raise
        except Exception as error:
            # A bug of ours must not end the other agents: it is recorded, makes the stage invalid, and is printed.
            crash = "".join(traceback.format_exception(error)).strip()
            self.status.state = "crashed"
        finally:
            now = self.around.clock.now()
            self._publish(records.AgentEnd, self.around.stage_id, started, end_ns=now, crash=crash)

    async def _job(self, job: Job) -> None:
        self.status.task, self.status.turn = f"{job.task.kind}/{job.task.variant}", 0
        async with self.around.tools.open(job.task.repository) as workspace:
            await self._pause(job.pause_ns)
            conversation = self._before = self.around.driver.begin(job, self._before)
            run = _JobRun(self.around.next_id(), job, conversation, workspace, turns=job.skip)
            try:
                run.outcome = await self._through(run)
            finally:
                self._close(run)
        self._failures = self._failures + 1 if run.outcome == "error" else 0
        if self._failures:
            self.status.state = "back-off"
            first, most = BACK_OFF_S
            await asyncio.sleep(min(most, first * 2 ** min(self._failures - 1, 10)))

    async def _pause(self, ns: int) -> None:
        if ns:
            self.status.state = "think"
            await self.around.clock.sleep_until(self.around.clock.now() + ns)

    async def _through(self, run: _JobRun) -> JobOutcome:
        """A job with its sub-agents: it is over when all of them are."""
        async with run.beside:
            outcome = await self._work(run)
            return "error" if run.conversation.stuck else outcome

    async def _sub_agent(self, run: _JobRun, sub: SubAgent) -> None:
        """A job beside another, by an agent of its own number. It is part of the other's job, and has no record."""
        agents = self.around.header["agents"]
        place = next(place for place in count(1) if place not in self.taken)
        self.taken.add(place)
        number = self.number % agents + place * agents
        agent = Agent(number, iter(()), self.around, AgentStatus(number), self.taken)
        part = _JobRun(run.id, sub.job, self.around.driver.begin(sub.job), run.workspace)
        try:
            await self.around.clock.sleep_until(self.around.clock.now() + sub.after_ns)
            await agent._through(part)
        finally:
            run.completion_tokens += part.completion_tokens
            self.taken.discard(place)

    async def _work(self, run: _JobRun) -> JobOutcome:
        while (request := run.conversation.request()) is not None:
            if run.turns >= self.around.max_turns:
                return "turn_limit"
            await self._results(run)
            begun = run.turns > run.job.skip
            intended = await self._think(run) if begun else self.around.clock.now()
            run.turns += 1
            self.status.turn = run.turns
            if outcome := await self._turn(run, request, intended):
                return outcome
        if not run.turns:
            raise ValueError(f"the first prompt of {self.status.task} does not fit in the context")
        return "context_limit"

    def _start(self, run: _JobRun, sub: SubAgent) -> asyncio.Task[None]:
        task = run.started[sub.name] = run.beside.create_task(self._sub_agent(run, sub))
        return task

    async def _results(self, run: _JobRun) -> None:
        """Waits for the sub-agents whose results the next request holds."""
        awaited = [run.started[name] for name in run.conversation.awaits if name in run.started]
        if not awaited:
            return
        self.status.state, self.status.tool = "tool", "sub-agents"
        started = self.around.clock.now()
        try:
            await asyncio.wait(awaited)
        finally:
            run.tool_ns += self.around.clock.now() - started

    async def _turn(self, run: _JobRun, request: ChatRequest, intended_ns: int) -> JobOutcome | None:
        """One completion and its tools. Returns how the job ended, if it did."""
        turn_id = self.around.next_id()
        ok: bool | None = None
        context: int | None = None
        try:
            for sub in run.conversation.beside:
                self._start(run, sub)
            seen = await self._complete(run, request, turn_id, intended_ns)
            ok = seen.failure is None
            if not ok:
                return "error"
            if seen.prompt_tokens is not None:
                context = seen.prompt_tokens + (seen.completion_tokens or 0)
                self.status.context_tokens = context
            run.answer_ns = seen.stamps[0] if seen.stamps else None
            calls = run.conversation.accept(seen)
            for call in calls:
                run.conversation.add_result(call, await self._tool(run, call, turn_id))
            return "answered" if run.conversation.answered else None
        finally:
            self._publish(
                records.Turn,
                run.id,
                intended_ns,
                id=turn_id,
                end_ns=self.around.clock.now(),
                number=run.turns,
                ok=ok,
                context_tokens=context,
            )

    async def _think(self, run: _JobRun) -> int:
        """Waits the planned think time; returns when the next request is meant to be sent."""
        started, planned = self.around.clock.now(), run.conversation.think_ns
        if planned is None:
            planned = self.around.think_ns
        if not planned:
            return started
        self.status.state = "think"
        try:
            await self.around.clock.sleep_until(started + planned)
        finally:
            run.think_ns += self.around.clock.now() - started
        return started + planned

    async def _complete(self, run: _JobRun, request: ChatRequest, turn_id: str, intended_ns: int) -> Observation:
        """The turn's completion, retried as the policy says; every attempt becomes a record, a cut-off one too."""
        number = 0

        def begin(seen: Observation) -> None:
            self.status.state, self.status.stream = "model", seen.stamps

        def end(seen: Observation) -> None:
            nonlocal number
            number += 1
            self.status.stream = ()
            self._attempt(run, request, seen, turn_id, intended_ns, number)

        return await complete(self.around.client, request, self.around.retry, begin, end)

    def _attempt(
        self, run: _JobRun, request: ChatRequest, seen: Observation, turn_id: str, intended_ns: int, number: int
    ) -> None:
        aborted = seen.end_ns is None
        end = self.around.clock.now() if seen.end_ns is None else seen.end_ns
        send = intended_ns if seen.send_ns is None else seen.send_ns
        if run.first_send_ns is None:
            run.first_send_ns = send
        run.serving_ns += end - send
        run.completion_tokens += seen.completion_tokens or 0
        self.status.serving_ns += end - send
        self.status.output_tokens += seen.completion_tokens or 0
        self.status.errors += seen.failure is not None
        stamps, tokens = seen.stamps, seen.tokens
        attempt_id = self.around.next_id()
        self._publish(
            records.Attempt,
            turn_id,
            send,
            id=attempt_id,
            number=number,
            task=run.job.task.kind,
            variant=run.job.task.variant,
            intended_ns=intended_ns,
            end_ns=end,
            first_token_ns=stamps[0] if stamps else None,
            last_token_ns=stamps[-1] if stamps else None,
            chunks=_gaps(send, stamps),
            chunk_tokens=_gaps(0, tokens) if tokens else None,
            first_tokens=tokens[0] if tokens else None,
            prompt_tokens=seen.prompt_tokens,
            cached_tokens=seen.cached_tokens,
            completion_tokens=seen.completion_tokens,
            doubts={name: self.around.redact.text(said) for name, said in seen.doubts.items()} or None,
            planned_tokens=request.max_tokens if request.pinned else None,
            finish_reason=seen.finish_reason,
            tool_calls=sum(bool(call.name) for call in seen.tool_calls),
            error=seen.failure.kind if seen.failure else None,
            message=self.around.redact.text(seen.failure.message) if seen.failure else None,
            aborted=aborted,
            max_lag_ns=seen.max_lag_ns,
            coalesced=seen.coalesced,
        )
        if self.around.contents:
            said = self.around.contents.fields(run.said, request, seen)
            self._publish(records.Content, attempt_id, send, **said)
            run.said = request.messages

    async def _tool(self, run: _JobRun, call: Call, turn_id: str) -> str:
        """Carries a call out; its result is delivered at the planned time, or when it is ready if that is later."""
        clock = self.around.clock
        self.status.state, self.status.tool = "tool", call.name
        started = waiting = clock.now()
        try:
            beside = [(sub.joins, self._start(run, sub)) for sub in call.sub_agents]
            result = await self.around.tools.execute(call, run.workspace)
            if beside:
                await asyncio.gather(*(task for joins, task in beside if joins))
                waiting = clock.now()
            work = clock.now() - started
            if call.planned_ns is not None:
                await clock.sleep_until(waiting + call.planned_ns)
        finally:
            ended = clock.now()
            run.tool_ns += ended - started
        self._publish(
            records.Tool,
            turn_id,
            started,
            end_ns=ended,
            name=call.name,
            ok=result.ok,
            work_ns=work,
            planned_ns=None if beside else call.planned_ns,
            error=result.error,
            mistake=result.mistake,
            result_bytes=len(result.text.encode()),
            sub_agents=sum(joins for joins, _ in beside),
            waited_ns=result.waited_ns,
        )
        return result.text

    def _close(self, run: _JobRun) -> None:
        if run.first_send_ns is None or run.job.skip:
            return  # cut off before its first request: never started; or entered in its middle: no job that was seen
        end = self.around.clock.now()
        total = end - run.first_send_ns
        finished = run.outcome in records.FINISHED
        self.status.jobs += finished
        self._publish(
            records.Job,
            self.around.stage_id,
            run.first_send_ns,
            id=run.id,
            end_ns=end,
            task=run.job.task.kind,
            variant=run.job.task.variant,
            outcome=run.outcome,
            turns=run.turns,
            serving_ns=run.serving_ns,
            tool_ns=run.tool_ns,
            think_ns=run.think_ns,
            client_ns=total - run.serving_ns - run.tool_ns - run.think_ns,
            answer_ns=run.answer_ns if finished else None,
            completion_tokens=run.completion_tokens,
        )

    def _publish(self, kind: type[records.Record], parent: str, t_ns: int, **fields: Any) -> None:
        fields.setdefault("id", self.around.next_id())
        self.around.publish(kind(**self.around.header, agent=self.number, parent=parent, t_ns=t_ns, **fields))


def _gaps(start: int, values: Iterable[int]) -> list[int]:
    return [after - before for before, after in pairwise([start, *values])]
