"""`swarm soak`: a stage of hours that can break off and go on, in real time or in virtual time."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, TextIO

from swarm.analysis.read import Notes, read_events
from swarm.analysis.soak.soak_windows import Segment
from swarm.commands.checkpoint import check_files
from swarm.commands.predict import continue_prediction
from swarm.commands.run import continue_run
from swarm.engine.dry_run import expected
from swarm.engine.runspec import Outcome, RunSpec
from swarm.engine.soak_segment import Part, as_soak, locked
from swarm.engine.workloads.tasks import mean_turn, tasks_of
from swarm.errors import UsageError
from swarm.recording import rundir
from swarm.recording.records import Attempt, Job, Stage
from swarm.recording.rotation import put_aside
from swarm.scenario.load import load_scenario
from swarm.scenario.schema import Scenario
from swarm.scenario.units import format_duration

TOKEN_BYTES, REQUEST_BYTES, SECOND_BYTES = 11, 1300, 1600
"""Bytes in the files of a completion token (the stamp and count of its chunk), a request with its turn and tool calls,
and a second of samples: measured, rounded up."""
CONTENT_BYTES = 5
"""Bytes of a token of text where contents are recorded; a job's messages are as many tokens as its context."""


def run_soak(
    scenario: Scenario,
    out: Path | None,
    show: TextIO | None,
    run: Callable[[Scenario, Path | None, TextIO | None, Part], Outcome],
) -> Outcome:
    """A new soak. `run`: `run_scenario` or `predict_scenario`, for its first part.

    Raises UsageError for what cannot be soaked, or does not fit on the disk, and as `run` does.
    """
    soak = as_soak(scenario)
    needed, free = disk_bytes(soak), shutil.disk_usage(_existing(out or Path("runs"))).free
    if show:
        print(_announce(soak, needed, free), file=show, flush=True)
    if needed > free:
        raise UsageError(
            f"the soak may take {_size(needed)} on the disk, and {_size(free)} are free; free some, choose another "
            "--out, or use `record.chunks: false`"
        )
    return run(soak, out, show, Part())


def resume_soak(
    directory: Path,
    show: TextIO | None,
    scenario: Scenario | None = None,
    *,
    run: Callable[[RunSpec], Outcome] = continue_run,
    predict: Callable[[RunSpec], Outcome] = continue_prediction,
) -> Outcome:
    """Goes on with a soak that was killed, interrupted, or stopped by a full disk. `scenario`: what it must be of.

    `run`, `predict`: what goes on with a measured soak, and with a predicted one.

    Raises UsageError where there is nothing to go on with, or the scenario or the server is another one now.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such run directory")
    with locked(directory):
        recorded = load_scenario(directory / rundir.SCENARIO)
        if recorded.soak is None:
            raise UsageError(f"{directory}: not a soak; start one with `swarm soak SCENARIO`")
        recorded = as_soak(recorded)  # one of before this version may lack what a soak does without
        if scenario is not None and as_soak(scenario) != recorded:
            raise UsageError(f"{directory}: was started with another scenario or other settings; leave them out")
        environment = _environment(directory)
        started = datetime.fromisoformat(environment["started_at"])
        check_files(directory)
        part = next_part(directory, recorded, environment, time.time() - started.timestamp())
        if show:
            left = format_duration(recorded.stage.duration - part.done_s)
            print(f"{directory}: part {part.number}, {left} of load to go", file=show, flush=True)
        for name in (rundir.EVENTS, rundir.SERVER, rundir.HISTOGRAMS):
            put_aside(directory / name)
    asked = RunSpec(recorded, tuple(tasks_of(recorded)), directory, started, show, part)
    return predict(asked) if environment["predicted"] else run(asked)


def _environment(directory: Path) -> dict[str, Any]:
    path = directory / rundir.ENVIRONMENT
    try:
        found = rundir.read_environment(directory)
        return {"started_at": found["started_at"], "predicted": found["predicted"], "targets": dict(found["targets"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: is damaged: {error}; the soak cannot be resumed, start it again") from None


def next_part(directory: Path, scenario: Scenario, environment: Mapping[str, Any], elapsed_s: float) -> Part:
    """Where the soak in `directory` goes on, `elapsed_s` after its start by the wall clock.

    The time line goes on by the wall clock but never back, whatever that was set to meanwhile. A window that was cut
    short is measured again, whole. Raises UsageError when all is measured.
    """
    assert scenario.soak
    width_s, level = scenario.soak.window, scenario.agents.levels[0]
    parts: list[Segment] = []
    jobs: Counter[int] = Counter()
    requests = tokens = 0
    for record in read_events(directory, Notes()):
        if isinstance(record, Stage):
            parts.append(Segment(record, last_ns=record.t_ns))
        elif parts:
            parts[-1].add(record)
        if isinstance(record, Job) and record.agent is not None:
            jobs[record.agent] += 1
        elif isinstance(record, Attempt):
            requests += 1
            tokens += (record.prompt_tokens or 0) + (record.completion_tokens or 0)
    done_s = 0.0
    if parts:
        done_s = parts[-1].began.done_ns / 1e9 + parts[-1].measured_ns / 1e9 // width_s * width_s
    if done_s >= scenario.stage.duration:
        raise UsageError(f"{directory}: is finished, all {format_duration(scenario.stage.duration)} are measured")
    budget = scenario.budget
    for name, spent, limit in (("requests", requests, budget.requests), ("tokens", tokens, budget.tokens)):
        if limit is not None and spent >= limit:
            raise UsageError(f"{directory}: its budget of {limit} {name} is spent")
    last_ns = max((part.last_ns for part in parts), default=0)
    return Part(
        number=len(parts) + 1,
        start_ns=max(last_ns + 1_000_000_000, round(elapsed_s * 1e9)),
        done_s=done_s,
        # One more for the job that broke off: an agent never does the same job twice.
        jobs_begun=tuple(jobs[agent] + 1 for agent in range(level)) if parts else (),
        requests=requests,
        tokens=tokens,
        servers=tuple((name, found.get("model"), found.get("version")) for name, found in _targets(environment)),
    )


def _targets(environment: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    return () if environment["predicted"] else environment["targets"].items()


def disk_bytes(scenario: Scenario) -> int:
    """About the most that the soak's files will take."""
    (target,), (level,) = scenario.targets, scenario.agents.levels
    assert scenario.soak
    seconds = scenario.stage.warmup + scenario.stage.duration
    busy = fmean(scenario.soak.levels(level, scenario.stage.duration)) / level
    requests, tokens = expected(scenario, target, level, seconds * busy)
    per_token = TOKEN_BYTES if scenario.record.chunks else 0
    said = 0.0
    if scenario.record.content:
        jobs = requests / mean_turn(scenario).per_job
        said = (tokens + jobs * scenario.agents.context) * CONTENT_BYTES
    return round(tokens * per_token + requests * REQUEST_BYTES + seconds * SECOND_BYTES + said)


def _announce(scenario: Scenario, needed: int, free: int) -> str:
    (level,) = scenario.agents.levels
    assert scenario.soak
    levels = scenario.soak.levels(level, scenario.stage.duration)
    agents = f"{min(levels)} to {level} agents" if min(levels) < level else f"{level} agents"
    return (
        f"{scenario.name}: {format_duration(scenario.stage.duration)} of {agents} ({scenario.soak.pattern}), "
        f"{len(levels)} windows; at most about {_size(needed)} on the disk, {_size(free)} are free"
    )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
