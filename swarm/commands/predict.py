"""The composition root of `swarm predict`: the same agents, tasks, recorder and analysis, in virtual time."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from swarm.agents.agent import Tools
from swarm.agents.recorded import RecordedTools, Results, recorded_results
from swarm.agents.trace import ReplayTools
from swarm.client.base import Client, Connection
from swarm.clock import VirtualClock
from swarm.engine.agent_pool import LocalCrew
from swarm.engine.compose import recording, stage_spec
from swarm.engine.environment import describe_environment
from swarm.engine.runspec import Outcome, RunSpec, new_run
from swarm.engine.schedule import StagePlan, StageSource
from swarm.engine.server import ServerWatch
from swarm.engine.soak_segment import Part
from swarm.engine.stage import run_stage
from swarm.engine.stop import Stop, on_signals
from swarm.engine.virtual import VirtualClient, VirtualLoop, VirtualServer, VirtualTokenizer
from swarm.engine.workloads.entering import enter as enter_stage
from swarm.engine.workloads.replay import Prepared, prepare
from swarm.engine.workloads.sessions import planned, prepare_sessions
from swarm.engine.workloads.tasks import tasks_of
from swarm.errors import UsageError
from swarm.recording.recorder import Recorder
from swarm.recording.status import AgentStatus
from swarm.scenario.schema import Scenario, Target
from swarm.simulator.profiles import accuracy, profiles
from swarm.simulator.profiles.profiles import Profile

FLUSH_S = 120.0
"""Virtual seconds between two lines of the interval log: encoding its histograms is what a short interval costs."""


@dataclass(frozen=True)
class Parts:
    """The world of a prediction; tests exchange parts of it for their own."""

    server: Callable[[Profile, VirtualLoop], VirtualServer] = VirtualServer
    client: Callable[[VirtualServer, Connection, VirtualClock], Client] = VirtualClient
    tools: Callable[[Mapping[Path, Results]], Tools] = RecordedTools
    file_bytes: int = RunSpec.file_bytes


PARTS = Parts()


@dataclass(frozen=True)
class _Prediction:
    """Everything that the stages of a prediction share."""

    asked: RunSpec
    parts: Parts
    servers: dict[str, VirtualServer]
    prepared: dict[str, Prepared]
    """By target, where a trace is replayed."""
    tools: Tools
    recorder: Recorder
    clock: VirtualClock
    stop: Stop
    ids: "count[int]" = field(default_factory=lambda: count(1))

    def next_id(self) -> str:
        return f"{self.asked.prefix('0')}.{next(self.ids)}"


def predict_scenario(
    scenario: Scenario,
    out: Path | None,
    show: TextIO | None,
    part: Part | None = None,
    course: StageSource | None = None,
    parts: Parts = PARTS,
) -> Outcome:
    """Runs all stages of a scenario in virtual time into a new run directory; `show` is where progress is told.

    `part`: of a soak, its first one. `course`: chooses the stages, in the place of the schedule.
    Raises UsageError for what cannot be predicted, before anything is made, and RecordingError as soon as the run
    directory cannot be written.
    """
    known = _profiles(scenario)
    with new_run(scenario, out, show, part, course) as asked:
        prepared = _prepared(scenario)
        facts: dict[str, dict[str, Any]] = {
            name: {"model": profile.name, "profile": asdict(profile), "expected_errors": accuracy.bands(profile)}
            for name, profile in known.items()
        }
        _say(show, f"{asked.summary}, in virtual time; results in {asked.directory}")
        for name, made in prepared.items():
            facts[name]["notes"] = made.notes
            for note in made.notes:
                _say(show, f"{name}: {note}")
        asked.write(describe_environment(scenario, asked.started, facts, predicted=True))
        return _in_virtual_time(asked, parts, known, prepared)


def rehearse(scenario: Scenario, course: StageSource) -> None:
    """Runs the stages of a course in virtual time, and nobody but the course sees what happens: no file is written.

    Raises UsageError as `predict_scenario`, and KeyboardInterrupt where a signal ends it early.
    """
    known, tasks = _profiles(scenario), tuple(tasks_of(scenario))
    asked = RunSpec(scenario, tasks, Path(scenario.name), datetime.now(UTC), None, course=course)
    if _in_virtual_time(asked, PARTS, known, _prepared(scenario), kept=False).by_signal:
        raise KeyboardInterrupt


def continue_prediction(asked: RunSpec, parts: Parts = PARTS) -> Outcome:
    """Predicts the next part of a soak."""
    return _in_virtual_time(asked, parts, _profiles(asked.scenario), _prepared(asked.scenario))


def _prepared(scenario: Scenario) -> dict[str, Prepared]:
    """The trace, made ready for each target, where one is to be replayed; its calls take as long as they took."""
    tokenizer = VirtualTokenizer()
    if scenario.agents.session:
        made = asyncio.run(prepare_sessions(planned(scenario), tokenizer))
    elif scenario.agents.trace:
        waiting = scenario.agents.trace.model_copy(update={"workspace": None})
        made = asyncio.run(prepare(waiting, scenario.agents.context, tokenizer))
    else:
        return {}
    return dict.fromkeys((target.name for target in scenario.targets), made)  # all targets count tokens alike


def _in_virtual_time(
    asked: RunSpec, parts: Parts, known: Mapping[str, Profile], prepared: dict[str, Prepared], *, kept: bool = True
) -> Outcome:
    """`kept`: whether what happens is recorded in the run directory."""
    asked = replace(asked, file_bytes=parts.file_bytes)
    tools: Tools = ReplayTools()
    if not prepared:
        script: Literal["quick", "full"] = "quick" if asked.scenario.agents.script == "quick" else "full"
        tools = parts.tools(asyncio.run(recorded_results(asked.tasks, script)))
    start_s = asked.part.start_ns / 1e9 if asked.part else 0.0
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start_s)) as runner:
        loop = cast(VirtualLoop, runner.get_loop())
        servers = {name: parts.server(profile, loop) for name, profile in known.items()}
        return runner.run(_predict(asked, parts, servers, prepared, tools, kept=kept))


def _profiles(scenario: Scenario) -> dict[str, Profile]:
    """By target. Raises UsageError as `_profile`."""
    return {target.name: _profile(scenario, target) for target in scenario.targets}


def _profile(scenario: Scenario, target: Target) -> Profile:
    """The profile of a target. Raises UsageError where the model of it is missing, or cannot follow."""
    name = target.name
    if target.simulate is None:
        raise UsageError(
            f"targets.{name}: there is no model of a running server to predict with; put `simulate: PROFILE` in the "
            "place of `api_base` (`swarm profiles` lists them; `swarm calibrate RUN` makes one from a measured run)"
        )
    if scenario.agents.driver == "model":
        raise UsageError("agents.driver: what a model decides cannot be predicted; use script or trace")
    if target.simulate.faults:
        raise UsageError(f"targets.{name}.simulate.faults: cannot be predicted; leave them out")
    # That there is such a profile was checked when the scenario was loaded.
    return profiles.load(target.simulate.profile, **target.simulate.overrides())


async def _predict(
    asked: RunSpec,
    parts: Parts,
    servers: dict[str, VirtualServer],
    prepared: dict[str, Prepared],
    tools: Tools,
    *,
    kept: bool,
) -> Outcome:
    clock, stop = VirtualClock(asked.started.timestamp()), Stop()
    async with AsyncExitStack() as stack:
        stack.enter_context(on_signals(stop))
        if kept:
            recorder = await stack.enter_async_context(recording(asked, clock, stop, flush_s=FLUSH_S))
        else:
            recorder = Recorder([asked.course] if asked.course else [])
        run = _Prediction(asked, parts, servers, prepared, tools, recorder, clock, stop)
        salt = f"{asked.name}{asked.part.salt if asked.part else ''}"
        for number, of, plan in asked.stages(salt, partial(_say, asked.show)):
            if stop.reason is not None:
                break
            began = time.perf_counter()
            await _stage(run, plan)
            took = time.perf_counter() - began
            trial = f", trial {plan.trial}" if asked.scenario.stage.trials > 1 else ""
            if not asked.course:
                _say(asked.show, f"{number}/{of} {plan.target}, agents: {plan.agents}{trial}: took {took:.1f} s")
    if stop.failure and not asked.part:  # a soak can go on when there is room
        raise stop.failure
    return Outcome(asked.directory, stop.reason, stop.by_signal, stop.unreachable)


async def _stage(run: _Prediction, plan: StagePlan) -> None:
    scenario, part, prepared = run.asked.scenario, run.asked.part, run.prepared.get(plan.target)
    replay = prepared.replay if prepared else None
    spec = stage_spec(run.asked.name, scenario, run.asked.tasks, plan, watch_client=False, replay=replay)
    if part:
        spec = part.of_stage(scenario, spec)
    server = run.servers[plan.target]
    connection = Connection(api_base=f"simulate:{server.profile.name}", model=None, timeout_s=scenario.client.timeout)
    statuses = [AgentStatus(agent) for agent in spec.numbers]
    client = run.parts.client(server, connection, run.clock)
    watch = ServerWatch(server, plan, run.clock, run.recorder.publish)
    crew = LocalCrew(spec, client, run.tools, run.clock, statuses, run.next_id)
    enter = partial(enter_stage, spec, client, run.clock) if spec.sessions else None
    await run_stage(spec, crew, watch, run.clock, run.recorder.publish, run.next_id, run.stop, enter)


def _say(show: TextIO | None, line: str) -> None:
    if show is not None:
        print(line, file=show, flush=True)
