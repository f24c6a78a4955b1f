"""A run's `/metrics`: opened before anything else starts, filled while stages run, kept up for the last scrapes."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from swarm.clock import Clock
from swarm.engine.stop import Stop
from swarm.exporter.endpoint import Endpoint, serving
from swarm.exporter.info import run_info
from swarm.exporter.metrics import Metrics
from swarm.live.view import LiveView
from swarm.recording.recorder import Recorder
from swarm.scenario.schema import Scenario


async def open_endpoint(
    scenario: Scenario, clock: Clock, view: LiveView | None, stack: AsyncExitStack
) -> Endpoint | None:
    """Serves `/metrics` until the stack is left; None where the scenario wants none.

    Raises UsageError for a port that is taken; it comes before any server is started, so that this fails early.
    """
    if scenario.prometheus.port is None:
        return None
    endpoint = Endpoint(clock)
    address = await stack.enter_async_context(serving(endpoint, scenario.prometheus.host, scenario.prometheus.port))
    if view:
        view.say(f"metrics for Prometheus at {address}")
    return endpoint


def metrics_of(
    endpoint: Endpoint | None, run: str, scenario: Scenario, environment: Mapping[str, Any]
) -> Metrics | None:
    """The sink that fills the endpoint, if there is one; `environment` as in `environment.json`."""
    if endpoint is None:
        return None
    endpoint.metrics = Metrics(run_info(run, scenario.model_dump(mode="json"), environment))
    return endpoint.metrics


async def linger(endpoint: Endpoint, limit_s: float, recorder: Recorder, stop: Stop) -> None:
    """Stays until two scrapes have seen the end of the run: for so long at most, and not beyond a signal."""
    await recorder.flush()
    ends = stop.wait() if stop.reason is None else stop.signalled.wait()
    waits = [asyncio.create_task(endpoint.linger(limit_s)), asyncio.create_task(ends)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
