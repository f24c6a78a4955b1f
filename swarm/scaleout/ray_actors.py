"""Shards as actors of a Ray cluster, on as many nodes as it has."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers; nobody outside is contacted

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from swarm.client import eventloop
from swarm.errors import BackendError
from swarm.scaleout.link import Link, LostError, OpenLink, Reply
from swarm.scaleout.worker import Worker, answer

CONNECT_LIMIT_S = 5.0
STOP_LIMIT_S = 10.0


@contextmanager
def cluster(address: str | None, workers: int | None) -> Iterator[tuple[int, OpenLink]]:
    """Joins a Ray cluster; yields how many actors to start (None: one on each node), and what starts them.

    Raises BackendError where there is no cluster, or none that fits this Ray and this Python.
    """
    _check_answers(address)
    ours = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise BackendError(f"--engine ray: {_one_line(error)}") from None
    signal.signal(signal.SIGTERM, ours)  # Ray's own would leave the run at once
    try:
        if not (nodes := _nodes()):
            raise BackendError("--engine ray: the cluster has no node with a CPU to give")
        with redirect_stdout(sys.stderr):  # where Ray tells of what has died, and swarm of nothing but its results
            yield workers or len(nodes), _Starter()
    finally:
        ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Raises BackendError where nobody listens, which Ray itself takes minutes to say."""
    host, _, port = (address or "").rpartition(":")
    if "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_LIMIT_S).close()
    except OSError as error:
        raise BackendError(f"--address {address}: no Ray cluster answers there: {error.strerror or error}") from None


def _nodes() -> list[dict[str, Any]]:
    """Those that can take an actor, in an order that does not change."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    return sorted(nodes, key=lambda node: (node["NodeManagerAddress"], node["NodeID"]))


class _Starter:
    """Starts shard i on node i, from the first again where there are fewer. One that was lost goes to the next node:
    Ray takes a minute to find out that a node is dead."""

    def __init__(self) -> None:
        self._starts: Counter[int] = Counter()

    async def __call__(self, number: int) -> Link:
        if not (nodes := _nodes()):
            raise LostError("the cluster has no node left")
        node = nodes[(number + self._starts[number]) % len(nodes)]
        self._starts[number] += 1
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        actor = ray.remote(_Host).options(num_cpus=1, scheduling_strategy=strategy).remote()
        return _Actor(actor, f"node {node['NodeManagerAddress']} {node['NodeID'][:6]}")


class _Actor:
    """The coordinator's end."""

    def __init__(self, handle: Any, where: str) -> None:
        self._handle = handle
        self.where = where

    async def call(self, method: str, *arguments: object) -> Reply:
        try:
            reply: Reply = await self._handle.call.remote(method, arguments)
        except RayError as error:
            raise LostError(_one_line(error)) from None
        return reply

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self.call("close"), STOP_LIMIT_S)
        except (LostError, TimeoutError):
            pass
        finally:
            ray.kill(self._handle)


class _Host:
    """The actor: a worker in an event loop of its own, which Ray's affairs do not hold up."""

    def __init__(self) -> None:
        self._loop = eventloop.new()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._worker = Worker()

    def call(self, method: str, arguments: tuple[Any, ...]) -> Reply:
        return asyncio.run_coroutine_threadsafe(answer(self._worker, method, arguments), self._loop).result()


def _one_line(error: Exception) -> str:
    return next((line.strip(" .") for line in str(error).splitlines() if line.strip()), type(error).__name__)
