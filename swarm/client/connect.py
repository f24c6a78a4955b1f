"""The way from a route's name to its client; only this module knows them all."""

from swarm.client.base import Client, Connection, Route
from swarm.client.direct import DirectClient
from swarm.clock import Clock


def open_client(route: Route, connection: Connection, clock: Clock) -> Client:
    """A client for one target. Call it inside the event loop that uses it, and close it there."""
    if connection.model is None:
        raise ValueError("the model must be known: probe the target first")
    return DirectClient(connection, clock)
