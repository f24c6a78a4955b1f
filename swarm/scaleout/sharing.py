"""How the agents of a run are shared, as the command line says it, and the fleet that does it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from swarm.errors import UsageError
from swarm.scaleout.fleet import Fleet
from swarm.scaleout.link import OpenLink
from swarm.scaleout.processes import Process
from swarm.scenario.schema import Scenario
from swarm.tasks import Task


@dataclass(frozen=True)
class Sharing:
    """How the agents of a run are shared: as it is by default, not at all."""

    engine: Literal["local", "ray"] = "local"
    """Processes of this machine, or actors of a Ray cluster."""
    workers: int | None = None
    """None: one process, and an actor on each node."""
    address: str | None = None
    """Address of the Ray cluster; None: the one that Ray finds."""

    @property
    def alone(self) -> bool:
        return self.engine == "local" and self.workers in (None, 1)


ALONE = Sharing()


@asynccontextmanager
async def open_fleet(sharing: Sharing, scenario: Scenario, tasks: Sequence[Task]) -> AsyncIterator[Fleet | None]:
    """The shards that share a run's agents, up to its end; None where there are none. Raises as `Fleet.start`."""
    if sharing.alone:
        yield None
        return
    async with AsyncExitStack() as stack:
        if sharing.engine == "ray":
            count, open_link = stack.enter_context(_cluster(sharing))
        else:
            count, open_link = sharing.workers or 1, Process.start
        fleet = Fleet(count, open_link, scenario, tasks)
        stack.push_async_callback(fleet.close)
        await fleet.start()
        yield fleet


def _cluster(sharing: Sharing) -> AbstractContextManager[tuple[int, OpenLink]]:
    try:
        from swarm.scaleout.ray_actors import cluster
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UsageError("--engine ray: Ray is not installed here; pip install 'swarm-load[ray]'") from None
    return cluster(sharing.address, sharing.workers)
