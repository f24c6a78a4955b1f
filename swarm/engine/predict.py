"""The composition root of `swarm predict`: the same agents, tasks, recorder and analysis, in virtual time."""

import asyncio
import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TextIO, cast

from swarm.agents.agent import Tools
from swarm.agents.recorded import RecordedTools, recorded_results
from swarm.agents.trace import Replay, ReplayTools
from swarm.client.base import Connection
from swarm.clock import VirtualClock
from swarm.engine.compose import recording, stage_spec
from swarm.engine.crew import LocalCrew
from swarm.engine.environment import describe_environment
from swarm.engine.part import Part
from swarm.engine.plan import tasks_of
from swarm.engine.replay import Prepared, prepare
from swarm.engine.run import Outcome
from swarm.engine.schedule import Course, StagePlan, load_summary, schedule
from swarm.engine.server import ServerWatch
from swarm.engine.stage import run_stage
from swarm.engine.stop import Stop, on_signals
from swarm.engine.virtual import VirtualClient, VirtualLoop, VirtualServer, VirtualTokenizer
from swarm.errors import UsageError
from swarm.recording import rundir
from swarm.recording.recorder import Recorder
from swarm.recording.status import AgentStatus
from swarm.scenario.load import dump_scenario
from swarm.scenario.schema import Scenario, Target
from swarm.simulator import profiles
from swarm.simulator.profiles import Profile
from swarm.tasks import Task

FLUSH_S = 120.0
"""Virtual seconds between two lines of the interval log: encoding its histograms is what a short interval costs."""


@dataclass(frozen=True)
class _Prediction:
    """What all stages of a prediction share."""

    id: str
    scenario: Scenario
    tasks: tuple[Task, ...]
    servers: dict[str, VirtualServer]
    tools: Tools
    replays: dict[str, Replay]
    """By target, where a trace is replayed."""
    recorder: Recorder
    clock: VirtualClock
    stop: Stop
    ids: "count[int]"
    part: Part | None

    def next_id(self) -> str:
        return f"0{self.part.suffix if self.part else ''}.{next(self.ids)}"


def predict_scenario(
    scenario: Scenario,
    out: Path | None,
    show: TextIO | None,
    part: Part | None = None,
    course: Course | None = None,
) -> Outcome:
    """Runs all stages of a scenario in virtual time into a new run directory; `show` is where progress is told.

    `part`: of a soak, its first one. `course`: chooses the stages, in the place of the schedule.
    Raises UsageError for what cannot be predicted, before anything is made.
    """
    if course is None:
        scenario = scenario.model_copy(update={"capacity": None})
    for target in scenario.targets:
        _profile(scenario, target)
    started = datetime.now(UTC)
    directory = rundir.create(scenario.name, started, out)
    try:
        (directory / rundir.SCENARIO).write_text(dump_scenario(scenario), encoding="utf-8")
        prepared = _prepared(scenario)
        facts = {target.name: _facts(_profile(scenario, target)) for target in scenario.targets}
        for name, made in prepared.items():
            facts[name]["notes"] = made.notes
        environment = describe_environment(scenario, started, facts, predicted=True)
        rundir.write_json(directory / rundir.ENVIRONMENT, environment)
        _say(show, f"{scenario.name if course else load_summary(scenario)}, in virtual time; results in {directory}")
        for name, made in prepared.items():
            for note in made.notes:
                _say(show, f"{name}: {note}")
        return _in_virtual_time(scenario, prepared, directory, started, show, part, course)
    except UsageError:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def continue_prediction(
    scenario: Scenario, directory: Path, started: datetime, show: TextIO | None, part: Part
) -> Outcome:
    """Predicts the next part of a soak that was started at `started`, into its directory."""
    return _in_virtual_time(scenario, _prepared(scenario), directory, started, show, part)


def _prepared(scenario: Scenario) -> dict[str, Prepared]:
    """The trace, made ready for each target, where one is to be replayed; its calls take as long as they took."""
    if scenario.agents.trace is None:
        return {}
    waiting = scenario.agents.trace.model_copy(update={"workspace": None})
    tokenizer = VirtualTokenizer()
    return {
        target.name: asyncio.run(prepare(waiting, scenario.agents.context, tokenizer)) for target in scenario.targets
    }


def _in_virtual_time(
    scenario: Scenario,
    prepared: dict[str, Prepared],
    directory: Path,
    started: datetime,
    show: TextIO | None,
    part: Part | None,
    course: Course | None = None,
) -> Outcome:
    known = {target.name: _profile(scenario, target) for target in scenario.targets}
    tasks = tuple(tasks_of(scenario))
    tools: Tools = ReplayTools()
    if not prepared:
        tools = RecordedTools(asyncio.run(recorded_results(tasks, scenario.agents.script)))
    replays = {name: made.replay for name, made in prepared.items()}
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(part.start_ns / 1e9 if part else 0.0)) as runner:
        loop = cast(VirtualLoop, runner.get_loop())
        servers = {name: VirtualServer(profile, loop) for name, profile in known.items()}
        predicting = _predict(scenario, servers, tasks, tools, replays, directory, started, show, part, course)
        return runner.run(predicting)


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
    return profiles.load(
        target.simulate.profile, **target.simulate.overrides()
    )  # the scenario's loading has checked it


async def _predict(
    scenario: Scenario,
    servers: dict[str, VirtualServer],
    tasks: tuple[Task, ...],
    tools: Tools,
    replays: dict[str, Replay],
    directory: Path,
    started: datetime,
    show: TextIO | None,
    part: Part | None,
    course: Course | None,
) -> Outcome:
    clock, stop = VirtualClock(started.timestamp()), Stop()
    used = part.used() if part else None
    async with AsyncExitStack() as stack:
        stack.enter_context(on_signals(stop))
        recorder = await stack.enter_async_context(
            recording(scenario, directory, clock, stop, None, FLUSH_S, course=course, used=used)
        )
        run = _Prediction(
            directory.name, scenario, tasks, servers, tools, replays, recorder, clock, stop, count(1), part
        )
        salt = f"{directory.name}{part.salt if part else ''}"
        planned = schedule(scenario, salt)
        stages = course.stages(salt, partial(_say, show)) if course else planned
        for number, plan in enumerate(stages, 1):
            if stop.reason is not None:
                break
            began = time.perf_counter()
            await _stage(run, plan)
            took = time.perf_counter() - began
            trial = f", trial {plan.trial}" if scenario.stage.trials > 1 else ""
            if not course:
                _say(show, f"{number}/{len(planned)} {plan.target}, agents: {plan.agents}{trial}: took {took:.1f} s")
    return Outcome(directory, stop.reason, stop.by_signal)


def _facts(profile: Profile) -> dict[str, Any]:
    return {"model": profile.name, "profile": asdict(profile)}


async def _stage(run: _Prediction, plan: StagePlan) -> None:
    replay = run.replays.get(plan.target)
    spec = stage_spec(run.id, run.scenario, run.tasks, plan, watch_client=False, replay=replay)
    if run.part:
        spec = run.part.of_stage(run.scenario, spec)
    server = run.servers[plan.target]
    connection = Connection(
        api_base=f"simulate:{server.profile.name}", model=None, timeout_s=run.scenario.client.timeout
    )
    statuses = [AgentStatus(agent) for agent in spec.numbers]
    client = VirtualClient(server, connection, run.clock)
    watch = ServerWatch(server, plan, run.clock, run.recorder.publish)
    crew = LocalCrew(spec, client, run.tools, run.clock, statuses, run.next_id)
    await run_stage(spec, crew, watch, run.clock, run.recorder.publish, run.next_id, run.stop)


def _say(show: TextIO | None, line: str) -> None:
    if show is not None:
        print(line, file=show, flush=True)
