"""A target's own view of itself: its `/metrics`, every second and when it is idle before and after a stage."""

from collections.abc import Callable
from typing import Literal, Protocol

from swarm.clock import Clock
from swarm.engine.schedule import StagePlan
from swarm.recording.records import Published, ServerSample

IDLE_LIMIT_S = 10.0
"""How long a server may take to drain what was cut off before its counters are read all the same."""
POLL_S = 0.1


class Reader(Protocol):
    async def read(self) -> dict[str, float] | None:
        """A target's metrics of now, by swarm's names; None: it says nothing."""


class GpuReader(Protocol):
    async def read(self) -> dict[str, float]:
        """Current readings of the GPUs under a target, by swarm's names."""


class ServerWatch:
    """Samples one target during one stage; does nothing where the target has no metrics (`reader` is None)."""

    def __init__(
        self,
        reader: Reader | None,
        plan: StagePlan,
        clock: Clock,
        publish: Callable[[Published], None],
        gpu: GpuReader | None = None,
    ) -> None:
        self._reader = reader
        self._plan = plan
        self._clock = clock
        self._publish = publish
        self._gpu = gpu

    async def sample(self, border: Literal["before", "after"] | None = None) -> dict[str, float] | None:
        """Publishes what the server and its GPU say now; returns what the server does, None: nothing, or no answer."""
        metrics = await self._reader.read() if self._reader else None
        gpu = await self._gpu.read() if self._gpu else {}
        if metrics is not None or gpu:
            self._publish(
                ServerSample(
                    t_ns=self._clock.now(),
                    target=self._plan.target,
                    agents=self._plan.agents,
                    trial=self._plan.trial,
                    border=border,
                    metrics={**(metrics or {}), **gpu},
                )
            )
        return metrics

    async def idle(self, border: Literal["before", "after"]) -> dict[str, float] | None:
        """Waits until the server runs and queues nothing (at most `IDLE_LIMIT_S`), then samples it."""
        limit = self._clock.now() + round(IDLE_LIMIT_S * 1e9)
        while self._reader and self._clock.now() < limit:
            metrics = await self._reader.read()
            if metrics is None or not (metrics.get("running") or metrics.get("waiting")):
                break
            await self._clock.sleep_until(self._clock.now() + round(POLL_S * 1e9))
        return await self.sample(border)
