"""A soak's part: what one process does of it. A soak that never breaks off is one part; each `--resume` adds one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from swarm.engine.stage import StageSpec
from swarm.errors import UsageError
from swarm.recording import rundir
from swarm.scenario.schema import Scenario, Soak
from swarm.text import listed


@dataclass(frozen=True)
class Part:
    """Where a soak goes on; as it is by default, where it begins."""

    number: int = 1
    start_ns: int = 0
    """On the run's time line, which goes on while nothing runs."""
    done_s: float = 0.0
    """Seconds of the soak that earlier parts have measured: whole windows."""
    jobs_begun: tuple[int, ...] = ()
    """By each agent."""
    requests: int = 0
    tokens: int = 0
    servers: tuple[tuple[str, str | None, str | None], ...] = ()
    """Target, model and version, as the first part found them."""

    @property
    def salt(self) -> str:
        """Text that makes the part's prompts its own: a server may have kept those of the part before."""
        return "" if self.number == 1 else f":{self.number}"

    @property
    def suffix(self) -> str:
        """End of the prefix of its records' ids: they are unique over all parts."""
        return "" if self.number == 1 else f"-{self.number}"

    def check_server(self, target: str, model: str, version: str | None) -> None:
        """Raises UsageError for a server that is not the one which the soak began with."""
        for name, *before in self.servers:
            if name == target and before != [model, version]:
                raise UsageError(
                    f"{target}: the soak began with {before[0]} on version {before[1]}, and the server now has {model} "
                    f"on {version}; two servers make no soak, so start another one"
                )

    def of_stage(self, scenario: Scenario, spec: StageSpec) -> StageSpec:
        """The rest of the soak's one stage."""
        assert scenario.soak
        soak, duration = scenario.soak, scenario.stage.duration
        levels = soak.levels(spec.plan.agents, duration)
        return replace(
            spec,
            duration_s=duration - self.done_s,
            levels=levels[round(self.done_s / soak.window) :],
            level_s=soak.window,
            done_s=self.done_s,
            jobs_begun=self.jobs_begun,
        )

    def used(self) -> dict[str, int]:
        """Tokens and requests of the budget that the parts before have used."""
        return {"tokens": self.tokens, "requests": self.requests}


def as_soak(scenario: Scenario) -> Scenario:
    """The scenario as a soak runs it: it outlasts a server's absence, unless the scenario says for how long.

    Raises UsageError unless it names one target and one number of agents.
    """
    names, levels = [target.name for target in scenario.targets], scenario.agents.levels
    if len(names) > 1:
        raise UsageError(f"a soak loads one target, and this scenario has {listed(names)}; choose with --target")
    if len(levels) > 1:
        raise UsageError(f"agents.levels: a soak has one, and not {listed(levels)}; choose with --agents {levels[-1]}")
    if scenario.stage.until:
        raise UsageError("stage.until: a soak runs for its whole duration; leave it out")
    soak = scenario.soak or Soak()
    try:
        soak.levels(levels[0], scenario.stage.duration)
    except ValueError as error:
        raise UsageError(f"soak.window: {error}; use a longer window") from None
    client = scenario.client
    if "give_up" not in client.model_fields_set:
        client = client.model_copy(update={"give_up": None})
    stage = scenario.stage.model_copy(update={"trials": 1})
    return scenario.model_copy(update={"soak": soak, "stage": stage, "client": client})


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps a run directory to this process, until it ends, however it ends. Raises UsageError where another has it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{directory}: the soak is still running; it can be resumed once it has ended") from None
        rundir.close_off(directory)
        yield
    finally:
        os.close(descriptor)
