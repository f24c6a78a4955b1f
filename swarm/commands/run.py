"""The composition root of `swarm run`: wires clock, targets, clients, tools and sinks, and runs the stages."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TextIO

from swarm.agents.agent import Tools
from swarm.agents.sandbox.bubblewrap import Sandbox, open_sandbox
from swarm.agents.sandbox.launch import Launcher
from swarm.agents.trace import Replay
from swarm.client import eventloop
from swarm.client.base import Connection
from swarm.client.connect import open_client, warm_up
from swarm.client.direct import DirectClient
from swarm.client.target.metrics import MetricsReader
from swarm.client.target.probe import Probe, probe
from swarm.client.target.tokenizer import open_tokenizer
from swarm.clock import Clock
from swarm.commands.checkpoint import keep_checkpoints
from swarm.commands.export import linger, metrics_of, open_endpoint
from swarm.engine.agent_pool import LocalCrew, make_calm
from swarm.engine.backends import break_on_purpose, connection, fault_names, gpu_reader, secrets_of, simulated
from swarm.engine.compose import launcher_of, recording, stage_spec, tools_of
from swarm.engine.environment import describe_environment, told
from swarm.engine.objectives import refuse_unmeasurable
from swarm.engine.runspec import Outcome, RunSpec, new_run
from swarm.engine.schedule import StagePlan, StageSource
from swarm.engine.server import GpuReader, ServerWatch
from swarm.engine.soak_segment import Part, locked
from swarm.engine.stage import Crew, StageSpec, run_stage
from swarm.engine.stop import Stop, on_signals
from swarm.engine.workloads.entering import enter
from swarm.engine.workloads.replay import Prepared, prepare
from swarm.engine.workloads.sessions import planned, prepare_sessions, real_tasks
from swarm.errors import UsageError
from swarm.exporter.metrics import Metrics
from swarm.live.view import LiveView, StageView
from swarm.recording.recorder import Recorder
from swarm.recording.records import Entered
from swarm.recording.status import AgentStatus
from swarm.scaleout.fleet import Fleet
from swarm.scaleout.shared_pool import ShardedCrew
from swarm.scaleout.sharing import ALONE, Sharing, open_fleet
from swarm.scenario.architecture import architecture_of
from swarm.scenario.schema import Scenario, Target
from swarm.scratch import scratch
from swarm.text import counted


@dataclass(frozen=True)
class Parts:
    """The world of a run; tests exchange parts of it for their own."""

    probe: Callable[[Connection], Awaitable[Probe]] = probe
    open_sandbox: Callable[[], Launcher] = open_sandbox


PARTS = Parts()


@dataclass(frozen=True)
class Backend:
    """A target that is up and has shown what it can do."""

    target: Target
    connection: Connection
    facts: Probe
    gpu: GpuReader | None = None
    replay: Replay | None = None
    """The trace, made ready for it."""
    process: int | None = None
    """The number of the simulated server's; None: swarm did not start the server."""


@dataclass(frozen=True)
class _Run:
    """Everything that the stages of a run share."""

    asked: RunSpec
    id: str
    backends: dict[str, Backend]
    recorder: Recorder
    clock: Clock
    stop: Stop
    view: LiveView | None
    metrics: Metrics | None
    fleet: Fleet | None
    ids: "count[int]" = field(default_factory=lambda: count(1))

    def next_id(self) -> str:
        return f"{self.asked.prefix('c' if self.fleet else '0')}.{next(self.ids)}"


def run_scenario(
    scenario: Scenario,
    out: Path | None,
    show: TextIO | None,
    part: Part | None = None,
    course: StageSource | None = None,
    sharing: Sharing = ALONE,
    parts: Parts = PARTS,
) -> Outcome:
    """Runs all stages of a scenario into a new run directory; `show` is where the live view goes, None: nowhere.

    `part`: of a soak, its first one. `course`: chooses the stages, in the place of the schedule. `sharing`: among which
    processes the agents are shared.
    Raises UsageError for what cannot be run and BackendError for a target that cannot be tested, both before any load;
    the run directory is then gone again. What happens later is recorded, and told in the outcome.
    """
    launcher = launcher_of(scenario, parts.open_sandbox)
    with new_run(scenario, out, show, part, course) as asked:
        return eventloop.run(_run(asked, launcher, sharing, parts))


def continue_run(asked: RunSpec, sharing: Sharing = ALONE, parts: Parts = PARTS) -> Outcome:
    """Runs the next part of a soak. Raises as `run_scenario`."""
    return eventloop.run(_run(asked, launcher_of(asked.scenario, parts.open_sandbox), sharing, parts))


async def _run(asked: RunSpec, launcher: Launcher, sharing: Sharing, parts: Parts) -> Outcome:
    scenario, part, stop = asked.scenario, asked.part, Stop()
    clock = Clock.going_on(part.start_ns) if part else Clock()
    view = LiveView(asked.show, clock) if asked.show else None
    say = view.say if view else lambda line: None
    async with AsyncExitStack() as stack:
        if part:
            stack.enter_context(locked(asked.directory))
        stack.enter_context(on_signals(stop))
        say(f"{asked.summary}; results in {asked.directory}")
        endpoint = await open_endpoint(scenario, clock, view, stack)
        fleet = await stack.enter_async_context(open_fleet(sharing, scenario, asked.tasks))
        backends = await open_backends(scenario, stack, parts, warm=fleet is None)
        facts = {name: told(backend.connection, backend.facts) for name, backend in backends.items()}
        environment = describe_environment(scenario, asked.started, facts)
        if isinstance(launcher, Sandbox):
            environment["sandbox"] = launcher.told()
        if fleet:
            environment["shards"] = fleet.facts()
        if part is None or part.number == 1:
            asked.write(environment)
        else:
            for name, backend in backends.items():
                part.check_server(name, backend.facts.model, backend.facts.version)
        metrics = metrics_of(endpoint, asked.name, scenario, environment)
        recorder = await stack.enter_async_context(recording(asked, clock, stop, view, metrics))
        run = _Run(asked, asked.name, backends, recorder, clock, stop, view, metrics, fleet)
        if scenario.soak:
            checkpoints = asyncio.create_task(keep_checkpoints(asked.directory, scenario.soak.checkpoint, say))
            stack.callback(checkpoints.cancel)
        if view:
            _introduce(view, scenario, backends)
            drawing = asyncio.create_task(keep_drawing(view))
            stack.callback(drawing.cancel)
        root = stack.enter_context(scratch())
        make_calm()
        salt = f"{asked.name}:{asked.started.timestamp()}{part.salt if part else ''}"
        for number, of, plan in asked.stages(salt, say):
            if stop.reason is not None:
                break
            await _stage(run, plan, tools_of(scenario, root, launcher), number, of)
        outcome = Outcome(asked.directory, stop.reason, stop.by_signal, stop.unreachable)
        if endpoint and not stop.signalled.is_set():
            await linger(endpoint, scenario.prometheus.linger, recorder, stop)
    # A file may have failed when it was closed; a signal came too late to interrupt anything.
    return replace(outcome, stopped=outcome.stopped or (None if stop.by_signal else stop.reason))


def _introduce(view: LiveView, scenario: Scenario, backends: Mapping[str, Backend]) -> None:
    if scenario.agents.isolation == "allow-unsafe":
        view.say("agents.isolation: allow-unsafe: what a model wrote is run with all your rights")
    for backend in backends.values():
        for note in backend.facts.notes:
            view.say(f"{backend.target.name}: {note}")


async def open_backends(
    scenario: Scenario, stack: AsyncExitStack, parts: Parts = PARTS, *, warm: bool = True
) -> dict[str, Backend]:
    """Starts what is simulated and asks every target what it can do, all side by side; if `warm`, LiteLLM's import
    too."""
    # A thread, because the import takes seconds that the servers' start takes too.
    warming = asyncio.create_task(asyncio.to_thread(warm_up, scenario.route)) if warm else None
    starting = (_backend(scenario, target, stack, parts) for target in scenario.targets)
    # All are waited for, so that none is left starting behind the back of the stack that stops it.
    found = await asyncio.gather(*starting, return_exceptions=True)
    if warming:
        await warming
    backends: dict[str, Backend] = {}
    for backend in found:
        if isinstance(backend, BaseException):
            raise backend
        backends[backend.target.name] = backend
    return backends


async def _backend(scenario: Scenario, target: Target, stack: AsyncExitStack, parts: Parts) -> Backend:
    address = process = None
    if target.simulate:
        address, process = await stack.enter_async_context(simulated(target.name, target.simulate))
    gpu = await stack.enter_async_context(reader) if (reader := gpu_reader(target)) else None
    reach = connection(scenario, target, address)
    facts = await parts.probe(reach)
    if not facts.metrics:
        refuse_unmeasurable(scenario, {"server_running_mean": f"{target.name} has no /metrics that tell it"})
    named = architecture_of(facts.model, guess=False)
    if None not in (target.architecture, named) and target.architecture != named:
        claim = f"the scenario says architecture: {target.architecture}, and by its name {facts.model} is {named}"
        facts = replace(facts, notes=(*facts.notes, claim))
    reach, replay = replace(reach, model=facts.model, honours=facts.honours), None
    if prepared := await _prepared(scenario, reach):
        facts, replay = replace(facts, notes=(*facts.notes, *prepared.notes)), prepared.replay
    if target.simulate and target.simulate.faults:
        await break_on_purpose(reach, target.simulate.faults)  # only now, so that a probe cannot fail by chance
        facts = replace(facts, notes=(*facts.notes, f"faults on purpose: {fault_names(target.simulate.faults)}"))
    if facts.max_model_len is not None and scenario.agents.context > facts.max_model_len:
        raise UsageError(
            f"agents.context: {scenario.agents.context} tokens, but {target.name} ({facts.model}) takes at most "
            f"{facts.max_model_len}; lower `context` or serve a longer one"
        )
    if scenario.agents.driver == "model" and not (facts.honours.tools and facts.honours.tool_choice):
        raise UsageError(
            f"agents.driver: model, but {target.name} ({facts.model}) lets no model call tools; start it so that it "
            "does (vLLM: --enable-auto-tool-choice --tool-call-parser ...), or use `driver: script`"
        )
    return Backend(target, reach, facts, gpu, replay, process)


async def _prepared(scenario: Scenario, reach: Connection) -> Prepared | None:
    """Sessions, or a trace, made ready for a target; None: agents follow scripts, or the model."""
    agents = scenario.agents
    if not agents.session and not agents.trace:
        return None
    async with open_tokenizer(reach) as tokenizer:
        if agents.session:
            real = real_tasks(scenario)
            return await prepare_sessions(planned(scenario), tokenizer, real, agents.session.real_tools)
        assert agents.trace
        return await prepare(agents.trace, agents.context, tokenizer)


async def keep_drawing(view: LiveView) -> None:
    """Draws until cancelled."""
    while True:
        view.draw()
        await asyncio.sleep(view.period_s)


async def _stage(run: _Run, plan: StagePlan, tools: Tools, number: int, of: int) -> None:
    scenario, backend = run.asked.scenario, run.backends[plan.target]
    pinned, secrets = backend.facts.honours.pinned_length, secrets_of(backend.target)
    spec = stage_spec(run.id, scenario, run.asked.tasks, plan, pinned=pinned, secrets=secrets, replay=backend.replay)
    servers = tuple(other.process for other in run.backends.values() if other.process is not None)
    spec = replace(spec, companions=(*servers, os.getpid()) if run.fleet else servers)
    if run.asked.part:
        spec = run.asked.part.of_stage(scenario, spec)
    statuses = [AgentStatus(agent) for agent in spec.numbers]
    if run.view:
        run.view.begin(_shown(run, spec, number, of, statuses))
    if run.metrics:
        run.metrics.watch(statuses)
    async with (
        MetricsReader(backend.connection) as reader,
        _crew(run, spec, backend.connection, tools, statuses) as crew,
    ):
        metrics = reader if backend.facts.metrics else None
        watch = ServerWatch(metrics, plan, run.clock, run.recorder.publish, backend.gpu)
        enter = partial(_enter, run, spec, backend.connection) if spec.sessions else None
        await run_stage(spec, crew, watch, run.clock, run.recorder.publish, run.next_id, run.stop, enter)


async def _enter(run: _Run, spec: StageSpec, connection: Connection) -> Entered:
    """Lets the agents of all processes in, past LiteLLM: nothing of it is measured."""
    if run.view:
        run.view.say(f"{spec.plan.target}, {counted(spec.plan.agents, 'agent')}: prefilling their contexts")
    client = DirectClient(connection, run.clock)
    try:
        return await enter(spec, client, run.clock)
    finally:
        await client.close()


def _shown(run: _Run, spec: StageSpec, number: int, of: int, statuses: list[AgentStatus]) -> StageView:
    plan, settings = spec.plan, run.asked.scenario.stage
    window_start = run.clock.now() + round(settings.warmup * 1e9)
    trial = f", trial {plan.trial} of {settings.trials}" if settings.trials > 1 else ""
    return StageView(
        label=f"{plan.target}, {counted(plan.agents, 'agent')}{trial}",
        number=number,
        count=of,
        window_start_ns=window_start,
        window_end_ns=window_start + round((spec.until.max if spec.until else spec.duration_s) * 1e9),
        statuses=statuses,
        later_s=(of - number) * (settings.warmup + settings.longest),
    )


@asynccontextmanager
async def _crew(
    run: _Run, spec: StageSpec, connection: Connection, tools: Tools, statuses: list[AgentStatus]
) -> AsyncIterator[Crew]:
    """Who runs the agents of a stage: the fleet, or this process."""
    if run.fleet:
        yield ShardedCrew(run.fleet, spec, connection, run.clock, statuses, run.next_id, run.asked.prefix)
        return
    client = open_client(run.asked.scenario.route, connection, run.clock)
    try:
        yield LocalCrew(spec, client, tools, run.clock, statuses, run.next_id)
    finally:
        await client.close()
