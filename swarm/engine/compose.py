"""The parts common to all ways to run a scenario, in real time or in virtual time: its stages and its recording."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from swarm.agents.agent import Tools
from swarm.agents.driver import Driver
from swarm.agents.model import ModelDriver
from swarm.agents.prompt import system_prompt
from swarm.agents.sandbox.bubblewrap import open_sandbox
from swarm.agents.sandbox.launch import Launcher, low_priority
from swarm.agents.script import ScriptDriver
from swarm.agents.tools import Toolbox
from swarm.agents.trace import Replay, ReplayTools, TraceDriver
from swarm.client.retry import RetryPolicy
from swarm.clock import Clock
from swarm.engine.runspec import RunSpec
from swarm.engine.schedule import StagePlan
from swarm.engine.stage import StageSpec
from swarm.engine.stop import BudgetSink, GiveUpSink, Stop
from swarm.engine.workloads.sessions import planned, real_tasks, sessions_of
from swarm.exporter.metrics import Metrics
from swarm.live.view import LiveView
from swarm.recording import rundir
from swarm.recording.appender import RecordFile, RecordingError
from swarm.recording.histograms import Histograms
from swarm.recording.recorder import Recorder, Sink
from swarm.recording.records import Record, ServerSample
from swarm.recording.redaction import Redaction
from swarm.scenario.schema import Scenario
from swarm.tasks import Task
from swarm.tasks.calls import tool_schemas


def stage_spec(
    run: str,
    scenario: Scenario,
    tasks: tuple[Task, ...],
    plan: StagePlan,
    *,
    watch_client: bool = True,
    pinned: bool = True,
    secrets: tuple[str, ...] = (),
    replay: Replay | None = None,
) -> StageSpec:
    """The stage `plan` of a scenario with all its agents; `pinned`: the target keeps to reply lengths.

    `secrets` are kept out of the files. `replay`: the trace, made ready for the target, where one is to be replayed.
    """
    agents, settings = scenario.agents, scenario.stage
    sessions = sessions_of(planned(scenario), real_tasks(scenario)) if agents.session else ()
    return StageSpec(
        run=run,
        shard=0,
        plan=plan,
        numbers=tuple(range(plan.agents)),
        driver=_replaying(scenario, plan, pinned, replay) if replay else _driver(scenario, plan, pinned),
        tasks=tasks,
        retry=RetryPolicy(scenario.client.retries, retry_after_max_s=scenario.client.retry_after_max),
        warmup_s=settings.warmup,
        duration_s=settings.duration,
        think_s=agents.think,
        max_turns=sys.maxsize if replay else agents.max_turns,
        seed=agents.seed,
        sessions=sessions,
        until=plan.until or settings.until,
        redact=Redaction(secrets),
        content=scenario.record.content,
        watch_client=watch_client,
    )


def launcher_of(scenario: Scenario, open_sandbox: Callable[[], Launcher] = open_sandbox) -> Launcher:
    """The launcher of test runs: a sandbox, where the code that they run is a model's and not a task's own."""
    agents = scenario.agents
    foreign = agents.driver == "model" or (agents.trace is not None and agents.trace.workspace is not None)
    return open_sandbox() if foreign and agents.isolation == "required" else low_priority


def tools_of(scenario: Scenario, root: Path, launcher: Launcher, test_slots: int | None = None) -> Tools:
    """The tools that carry out the agents' calls; `root` is an existing directory for their workspaces."""
    agents = scenario.agents
    waits = (agents.trace and agents.trace.workspace is None) or (agents.session and not agents.session.real_tools)
    toolbox = None if waits else Toolbox(root, test_slots=test_slots, launcher=launcher)
    return ReplayTools(toolbox) if agents.trace or agents.session or toolbox is None else toolbox


def _replaying(scenario: Scenario, plan: StagePlan, pinned: bool, replay: Replay) -> Driver:
    sampling = scenario.sampling
    return TraceDriver(
        replay,
        plan.salt,
        scenario.agents.context,
        pinned=pinned,
        temperature=sampling.temperature,
        sampling_seed=sampling.seed,
        extra_body=sampling.extra_body,
    )


def _driver(scenario: Scenario, plan: StagePlan, pinned: bool) -> Driver:
    agents, sampling = scenario.agents, scenario.sampling
    if agents.driver == "model":
        return ModelDriver(
            system=system_prompt(agents.system_tokens, plan.salt),
            tools=tool_schemas(),
            context=agents.context,
            max_reply_tokens=agents.max_reply_tokens,
            keep_reasoning=agents.keep_reasoning,
            compaction=agents.compaction,
            tool_choice=agents.tool_choice,
            temperature=sampling.temperature,
            sampling_seed=sampling.seed,
            extra_body=sampling.extra_body,
        )
    return ScriptDriver(
        system=system_prompt(agents.system_tokens, plan.salt),
        tools=tool_schemas(),
        context=agents.context,
        seed=agents.seed,
        script="quick" if agents.script == "quick" else "full",
        history=agents.history,
        reply_scale=agents.reply_scale,
        pinned=pinned,
        temperature=sampling.temperature,
        sampling_seed=sampling.seed,
        extra_body=sampling.extra_body,
    )


@asynccontextmanager
async def recording(
    run: RunSpec,
    clock: Clock,
    stop: Stop,
    view: LiveView | None = None,
    metrics: Metrics | None = None,
    flush_s: float = 1.0,
) -> AsyncIterator[Recorder]:
    """The recorder with its sinks, flushed every `flush_s`; one that fails stops the run.

    A soak's files come in parts, and its interval log has a line a window: a line a second would be most of the log.
    """
    scenario, directory = run.scenario, run.directory
    part_bytes, log_s = (run.file_bytes, scenario.soak.window) if scenario.soak else (None, 0.0)
    sinks: list[Sink] = [
        RecordFile(directory / rundir.EVENTS, Record, scenario.record.chunks, part_bytes),
        RecordFile(directory / rundir.SERVER, ServerSample, part_bytes=part_bytes),
        Histograms(directory / rundir.HISTOGRAMS, clock, log_s, part_bytes),
        BudgetSink(stop, scenario.budget.tokens, scenario.budget.requests, run.part.used() if run.part else None),
        *([GiveUpSink(stop, scenario.client.give_up)] if scenario.client.give_up is not None else []),
        *([view] if view else []),
        *([metrics] if metrics else []),
        *([run.course] if run.course else []),
    ]
    recorder = Recorder(sinks)
    flushing = asyncio.create_task(_flush(recorder, stop, flush_s))
    try:
        yield recorder
    finally:
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)
        try:
            recorder.close()
        except RecordingError as error:
            stop.fail(error)


async def _flush(recorder: Recorder, stop: Stop, every_s: float) -> None:
    try:
        await recorder.run(every_s)
    except RecordingError as error:
        stop.fail(error)
