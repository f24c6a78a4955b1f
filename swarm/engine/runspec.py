"""The settings that a run was asked for, in real time or in virtual time, and how it ended."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from swarm.engine.schedule import StagePlan, StageSource, load_summary, schedule
from swarm.engine.soak_segment import Part
from swarm.engine.workloads.tasks import tasks_of
from swarm.errors import BackendError, UsageError
from swarm.recording import rundir
from swarm.scenario.load import dump_scenario
from swarm.scenario.schema import Scenario
from swarm.tasks import Task


@dataclass(frozen=True)
class Outcome:
    """How a run ended: where it lies, and what cut it short, if anything did."""

    directory: Path
    stopped: str | None
    by_signal: bool
    unreachable: bool = False
    """Whether it was cut short because a target could no longer be reached."""


@dataclass(frozen=True)
class RunSpec:
    """A run, or the next part of one, and its directory."""

    scenario: Scenario
    tasks: tuple[Task, ...]
    directory: Path
    started: datetime
    """The run, and not this part of it."""
    show: TextIO | None
    """Where it is told what happens; None: nowhere."""
    part: Part | None = None
    """The part of a soak; None: no soak."""
    course: StageSource | None = None
    """Chooses the stages, in the place of the schedule."""
    file_bytes: int = 64 << 20
    """A soak's files are put aside when they have grown so large."""

    @property
    def name(self) -> str:
        return rundir.name_of(self.directory)

    @property
    def summary(self) -> str:
        return self.scenario.name if self.course else load_summary(self.scenario)

    def prefix(self, who: str) -> str:
        """Beginning of the ids of a shard's or a coordinator's records."""
        return f"{who}{self.part.suffix if self.part else ''}"

    def write(self, environment: Mapping[str, Any]) -> None:
        """The files that a run directory begins with. Raises UsageError."""
        rundir.write_whole(self.directory / rundir.SCENARIO, dump_scenario(self.scenario), private=True)
        rundir.write_json(self.directory / rundir.ENVIRONMENT, environment)

    def stages(self, salt: str, say: Callable[[str], None]) -> Iterator[tuple[int, int, StagePlan]]:
        """The stages in their order: each one's number, how many there are as far as is known, and what it is.

        `salt` is what tells the prompts of this run from all others'; `say` shows a line to the user.
        """
        if self.course:
            for number, plan in enumerate(self.course.stages(salt, say), 1):
                yield number, number + self.course.stages_left(), plan
        else:
            planned = schedule(self.scenario, salt)
            for number, plan in enumerate(planned, 1):
                yield number, len(planned), plan


@contextmanager
def new_run(
    scenario: Scenario,
    out: Path | None,
    show: TextIO | None,
    part: Part | None = None,
    course: StageSource | None = None,
) -> Iterator[RunSpec]:
    """A run with a new directory, which is gone again where the run turns out to be impossible.

    Raises UsageError for what cannot be run, before anything is made.
    """
    if course is None:
        scenario = scenario.model_copy(update={"capacity": None})
    tasks, started = tuple(tasks_of(scenario)), datetime.now(UTC)
    directory = rundir.create(scenario.name, started, out)
    try:
        yield RunSpec(scenario, tasks, directory, started, show, part, course)
    except (UsageError, BackendError):
        shutil.rmtree(directory, ignore_errors=True)
        raise
