"""Runs whose truth is known: agents in virtual time, who get the replies that were made up for them."""

import asyncio
import math
import re
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from truth.generate import MS, Counts, Done, End, Finish, Piece, Refusal, Reply, Told, Voice, often, replies
from truth.network import NetworkLoop, clock
from truth.to_bytes import arrivals

from swarm.agents.model import ModelDriver
from swarm.agents.script import ScriptDriver
from swarm.agents.tools import ToolResult
from swarm.client.base import Connection
from swarm.client.direct import DirectClient
from swarm.client.litellm_route import LiteLLMClient
from swarm.client.retry import RetryPolicy
from swarm.engine.agent_pool import LocalCrew
from swarm.engine.schedule import StagePlan
from swarm.engine.server import ServerWatch
from swarm.engine.stage import StageSpec, run_stage
from swarm.engine.stop import Stop
from swarm.recording import records, rundir
from swarm.recording.appender import RecordFile
from swarm.recording.histograms import Histograms
from swarm.recording.recorder import Recorder
from swarm.recording.status import AgentStatus
from swarm.tasks import PlannedCall, ReplyLength, ScriptTurn, Task, load_tasks

CONTEXT = 30_000
FULL = 60_000
"""A prompt, as the server counts it, after which the next one does not fit."""
IDLE_MS = 60_000
ALL = -1


@dataclass(frozen=True, repr=False)
class Run(Told):
    """One stage. Agent a gets `answers[(a + k) % n]` for its k-th request, counted from 0; the first agent may
    get another one for one of its own: `odd` is the number of that request, and the answer."""

    agents: int
    answers: tuple[Reply | Refusal, ...]
    odd: tuple[int, Reply | Refusal] | None = None
    driver: str = "script"
    turns: int = 3
    """Of a job, by the script: all but the last call a tool."""
    max_turns: int = 30
    planned: int = 10
    """Tokens of a reply, by the script."""
    tool_ms: int = 100
    work_ms: int = 20
    """What a tool call really takes."""
    slots: int = 1 << 20
    """Tool calls that go on at a time; the others wait. Where some do, the truth is not worked out."""
    think_ms: int = 0
    warmup_ms: int = 1000
    window_ms: int = 8000
    error_share: int = 0
    """Percent."""
    counters: float | None = 1.0
    """The server's own count of completion tokens, as a share of the true one; None: it tells none."""
    freeze: tuple[int, int] | None = None
    """The load generator stands still from a little after the first, for the second (ms)."""
    crash: tuple[int, int] | None = None
    """An agent, and the tool call (from 1) in which it crashes; ALL: each crashes in its own."""
    retries: int = 0
    retry_after_max_ms: int = 30_000
    down: tuple[int, int] | None = None
    """The server dies a little after the first, and is back after the second (ms)."""
    route: str = "direct"

    @property
    def stop_ns(self) -> int:
        """Half a millisecond after the window's whole ones, so that nothing comes just then."""
        return (self.warmup_ms + self.window_ms) * MS + MS // 2

    @property
    def most_tokens(self) -> int:
        return self.planned if self.driver == "script" else 64

    @property
    def down_ns(self) -> tuple[float, float]:
        if self.down is None:
            return math.inf, math.inf
        dies = self.down[0] * MS + MS // 4
        return dies, dies + self.down[1] * MS

    def crashes(self, agent: int, call: int) -> bool:
        return self.crash is not None and self.crash[0] in (agent, ALL) and self.crash[1] == call

    def awake(self, t: int) -> int:
        """When the process gets to what is due at `t`."""
        if self.freeze is None:
            return t
        begin = self.freeze[0] * MS + MS // 4
        end = begin + self.freeze[1] * MS
        return end if begin <= t < end else t

    def answer(self, agent: int, k: int) -> Reply | Refusal:
        if self.odd and (agent, k) == (0, self.odd[0]):
            return self.odd[1]
        return self.answers[(agent + k) % len(self.answers)]


@st.composite
def good(draw: Any, driver: str, planned: int) -> Reply:
    """A reply as servers give it nearly always."""
    at = first = draw(st.sampled_from([20, 50, 120, 300]))
    gap, chunks = draw(st.sampled_from([1, 10, 20])), draw(st.integers(1, 6))
    each = planned // chunks
    calls = driver == "model" and draw(often(True, True, False))
    lost = not calls and draw(often(False, False, False, True))
    said: list[Any] = []
    for number in range(chunks):
        tokens = each + (planned - each * chunks) * (number == chunks - 1)
        said.append(Piece(at, "call" if calls else "content", "{}" if number == 0 else " ", tokens))
        at += gap * draw(often(1, 0, 5))
    at = max(at, first)
    said.append(Finish(at, "tool_calls" if calls or lost else "stop"))
    usage = draw(often("always", "end", "finish"))
    said += [Counts(at)] * (usage != "finish") + [Done(at)]
    kind = draw(often("clean", "clean", "close"))
    return Reply(
        first - draw(st.sampled_from([0, 10])),
        tuple(said),
        End(at + draw(often(0, 3)), kind),
        usage,
        prompt=draw(often(500, 3000, FULL)),
        cached=draw(st.sampled_from([None, 0, 400])),
        voice=Voice(whole=draw(st.booleans())),
    )


REFUSALS = (
    Refusal(30, 500, {"error": {"message": "engine died"}}),
    Refusal(30, 429, {"error": "slow down"}, (("Retry-After", "1"),)),
    Refusal(30, 429, {"error": "go away"}, (("Retry-After", "1000000000"),)),
    Refusal(30, 503, {"error": "loading"}, (("Retry-After", "7"),)),
    Refusal(30, 400, {"error": {"message": "maximum context length is 10 tokens"}}),
    Refusal(30, 401, {"error": "no"}),
    Refusal(30, 404, {"detail": "Not Found"}),
    Refusal(30, 200, {"error": {"message": "engine died"}}),
    Refusal(30, 200, b"<html>hello", content_type="text/html"),
)


@st.composite
def runs(draw: Any) -> Run:
    driver, planned = draw(often("script", "model")), draw(st.sampled_from([1, 2, 10, 64]))
    usual = draw(st.lists(good(driver, planned), min_size=1, max_size=3))
    happens = draw(often("nothing", "a freeze", "odd", "odd", "retries", "down"))
    once, retries = None, draw(st.integers(0, 3)) if happens in ("retries", "down") else 0
    answers = usual * draw(st.integers(1, 2))
    if happens in ("odd", "retries"):
        strange = draw(st.sampled_from(REFUSALS) if happens == "retries" else st.sampled_from(REFUSALS) | replies())
        if draw(st.booleans()):
            once = draw(st.integers(0, 12)), strange
        else:
            answers.append(strange)
    tool, work, think = draw(st.sampled_from([0, 40, 200])), draw(often(0, 10, 60, 333)), draw(often(0, 150))
    turn = max(answer.end.at for answer in usual) + max(tool, work) + think
    warmup, window = draw(st.sampled_from([200, 1000])), min(10_000, max(100, turn * draw(st.integers(8, 20))))
    agents, when = draw(st.integers(1, 4)), st.integers(1, warmup + window)
    return Run(
        agents,
        tuple(draw(st.permutations(answers))),
        once,
        driver,
        turns=draw(st.integers(1, 4)),
        max_turns=draw(often(30, 2)),
        planned=planned,
        tool_ms=tool,
        work_ms=work,
        think_ms=think,
        warmup_ms=warmup,
        window_ms=window,
        error_share=draw(often(0, 30)),
        counters=draw(often(1.0, 1.0, None, 1.5)),
        freeze=(draw(when), draw(st.sampled_from([1, 30, 800, 2000]))) if happens == "a freeze" else None,
        crash=(draw(often(0, ALL)), draw(st.integers(1, 9))) if draw(often(False, False, False, True)) else None,
        retries=retries,
        retry_after_max_ms=draw(often(30_000, 500, 10**7)),
        down=(draw(when), draw(st.sampled_from([1, 400, 20_000]))) if happens == "down" else None,
        route=draw(often("direct", "litellm")),
    )


@dataclass
class Tools:
    """Every call takes as long as the run says. Agents are known by their tasks, which begin in their order."""

    run: Run
    agents: dict[Any, int] = field(default_factory=dict)
    made: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.run.slots)

    @asynccontextmanager
    async def open(self, repository: Path) -> Any:
        yield self.agents.setdefault(asyncio.current_task(), len(self.agents))

    async def execute(self, call: Any, agent: int) -> ToolResult:
        self.made[agent] += 1
        if self.run.crashes(agent, self.made[agent]):
            raise RuntimeError("a bug")
        asked = asyncio.get_running_loop().time()
        async with self.slots:
            waited = round((asyncio.get_running_loop().time() - asked) * 1e9)
            await asyncio.sleep(self.run.work_ms / 1000)
        return ToolResult(True, "done", waited_ns=waited)


@dataclass
class Server:
    """Answers as the run says, and counts what it generates until the stage's end."""

    run: Run
    stop_ns: int
    asked: Counter[int] = field(default_factory=Counter)
    said: dict[int, Any] = field(default_factory=dict)
    """What arrives, for answers that were given before."""
    prompt: int = 0
    completion: int = 0

    def respond(self, body: dict[str, Any], at: int) -> Any:
        agent = int(re.search(r"Ticket 7-(\d+)-", body["messages"][1]["content"])[1])
        answer = self.run.answer(agent, self.asked[agent])
        self.asked[agent] += 1
        if isinstance(answer, Reply):
            self.prompt += answer.prompt
            seen = [one for one in answer.said if at + one.at * MS < self.stop_ns]
            self.completion += sum(one.tokens for one in seen if isinstance(one, Piece))
            self.completion += answer.unseen * any(isinstance(one, Finish | Counts) for one in seen)
        if id(answer) not in self.said:
            self.said[id(answer)] = arrivals(answer)
        return self.said[id(answer)]

    async def read(self) -> dict[str, float] | None:
        if self.run.counters is None:
            return None
        counted = {"prompt_tokens": self.prompt, "generation_tokens": self.completion * self.run.counters}
        return {"running": 0.0, "waiting": 0.0} | counted


REPOSITORY = load_tasks(["lru-cache"])[0].repository


def _task(run: Run) -> Task:
    reply = ReplyLength(run.planned, 1.0, run.planned, run.planned)
    call = PlannedCall("list_files", {"path": "."}, run.tool_ms / 1000, "ok")
    script = (*[ScriptTurn("Looking.", (call,), reply)] * (run.turns - 1), ScriptTurn("Done.", (), reply))
    return Task("lru-cache", "tiny", "A task", "Do it.", REPOSITORY, script, script)


def _spec(run: Run) -> StageSpec:
    schemas = [{"type": "function", "function": {"name": "list_files", "parameters": {}}}]
    driver: Any = ScriptDriver(system="You are an agent.", tools=schemas, context=CONTEXT, seed=7)
    if run.driver == "model":
        driver = ModelDriver(
            system="You are an agent.", tools=schemas, context=CONTEXT, max_reply_tokens=run.most_tokens
        )
    return StageSpec(
        run="r",
        shard=0,
        plan=StagePlan("moe", run.agents, 1, "0" * 16, "7"),
        numbers=tuple(range(run.agents)),
        driver=driver,
        tasks=(_task(run),),
        retry=RetryPolicy(run.retries, first_wait_s=0, retry_after_max_s=run.retry_after_max_ms / 1000),
        warmup_s=run.warmup_ms / 1000,
        duration_s=(run.window_ms + 0.5) / 1000,
        think_s=run.think_ms / 1000,
        max_turns=run.max_turns,
        seed=7,
    )


def carry_out(run: Run, directory: Path) -> None:
    """Records the run into a directory, as `swarm run` does."""
    directory.mkdir()
    scenario = {
        "name": "truth",
        "targets": [{"name": "moe", "architecture": "moe", "api_base": "http://127.0.0.1:80/v1", "gpus": 1}],
        "client": {"max_lag": "5ms", "max_cpu": "100%"},
        "agents": {"levels": [run.agents], "driver": run.driver},
        "stage": {"trials": 1, "max_error_share": f"{run.error_share}%"},
    }
    (directory / rundir.SCENARIO).write_text(yaml.safe_dump(scenario))
    rundir.write_json(directory / rundir.ENVIRONMENT, {"started_at": "2026-01-02T03:04:05+00:00", "predicted": False})
    with asyncio.Runner(loop_factory=NetworkLoop) as runner:
        runner.run(_stage(run, directory))


async def _stage(run: Run, directory: Path) -> None:
    loop, time, spec, ids = asyncio.get_running_loop(), clock(), _spec(run), count(1)
    assert isinstance(loop, NetworkLoop)
    server = Server(run, run.awake(run.stop_ns))
    loop.respond = server.respond
    if run.freeze:
        loop.freeze(run.freeze[0] * MS + MS // 4, run.freeze[1] * MS)
    if run.down:
        loop.die(int(run.down_ns[0]), run.down[1] * MS)
    recorder = Recorder(
        [
            RecordFile(directory / rundir.EVENTS, records.Record),
            RecordFile(directory / rundir.SERVER, records.ServerSample),
            Histograms(directory / rundir.HISTOGRAMS, time),
        ]
    )
    flushing = asyncio.create_task(recorder.run())

    def next_id() -> str:
        return f"0.{next(ids)}"

    connection = Connection("http://127.0.0.1:80/v1", "m", idle_timeout_s=IDLE_MS / 1000)
    client: Any = LiteLLMClient(connection, time) if run.route == "litellm" else DirectClient(connection, time)
    try:
        statuses = [AgentStatus(number) for number in spec.numbers]
        crew = LocalCrew(spec, client, Tools(run), time, statuses, next_id)
        watch = ServerWatch(server, spec.plan, time, recorder.publish)
        await run_stage(spec, crew, watch, time, recorder.publish, next_id, Stop())
    finally:
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)
        await client.close()
        recorder.close()
