"""Clients are tested in the event loop that a run uses."""

from swarm.client import eventloop


def pytest_asyncio_loop_factories(config, item):
    return {"draining": eventloop.new}
