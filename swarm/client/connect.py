"""The way from a route's name to its client; only this module knows them all."""

import logging
from contextlib import suppress

from swarm.client.base import Client, Connection, Route
from swarm.client.direct import DirectClient
from swarm.clock import Clock

_log = logging.getLogger(__name__)


def open_client(route: Route, connection: Connection, clock: Clock) -> Client:
    """A client for one target. Call it inside the event loop that uses it, and close it there.

    Raises UsageError when LiteLLM's provider does not fit the route.
    """
    if connection.model is None:
        raise ValueError("the model must be known: probe the target first")
    if route in ("direct", "litellm-proxy"):
        return DirectClient(connection, clock, proxied=route == "litellm-proxy")
    from swarm.client.litellm_codec import MovedError  # here, because importing LiteLLM takes seconds
    from swarm.client.litellm_route import LiteLLMClient, LiteLLMSdkClient

    if route == "litellm-sdk":
        return LiteLLMSdkClient(connection, clock)
    try:
        return LiteLLMClient(connection, clock)
    except MovedError as error:
        _log.warning(
            "this version of LiteLLM lacks what the route litellm builds on (%s): going through its whole SDK, with "
            "user-space stamps; choose the route direct, or install a version that swarm was tested with",
            error,
        )
        return LiteLLMSdkClient(connection, clock)


def warm_up(route: Route) -> None:
    """Imports what the route needs, so that the first request need not. Takes seconds; may run in a thread."""
    if route not in ("litellm", "litellm-sdk"):
        return
    from swarm.client.litellm_codec import Codec, MovedError
    from swarm.client.litellm_route import rehearse

    with suppress(MovedError):
        Codec(Connection("http://127.0.0.1:1/v1", "warm-up"))
    if route == "litellm-sdk":
        rehearse()
