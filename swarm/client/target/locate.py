"""From an address as a person types it to the address of the API behind it, and the model that is served there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from swarm.client.base import Connection
from swarm.client.target.probe import list_models, served_model
from swarm.client.wire import plain_session
from swarm.errors import BackendError


@dataclass(frozen=True, slots=True)
class Located:
    """A server that answered: its address with the version, as clients take it, and its model."""

    api_base: str
    model: str
    max_model_len: int | None
    """Tokens of prompt and reply together; None: it does not say."""
    root: str | None = None
    """The server's own name of the weights, where the model's name is an alias."""


async def locate(connection: Connection) -> Located:
    """Asks for the list of models, with `/v1` and without. Raises BackendError: nothing there, or no such model."""
    failures = []
    # Last of all, a server without such a list is taken at the word of whoever named its model.
    for known in dict.fromkeys((None, connection.model)):
        for address in _addresses(connection.api_base):
            reach = replace(connection, api_base=address)
            async with plain_session(reach) as session:
                try:
                    entries = await list_models(session, replace(reach, model=known))
                except BackendError as error:
                    failures.append(str(error))
                    continue
            return _located(reach, entries)
    raise BackendError("\n".join(dict.fromkeys(failures)))


def _located(reach: Connection, entries: Sequence[Mapping[str, Any]]) -> Located:
    model = served_model(reach, tuple(str(entry["id"]) for entry in entries))
    mine = next((entry for entry in entries if entry["id"] == model), {})
    length, root = mine.get("max_model_len"), mine.get("root")
    return Located(
        reach.api_base,
        model,
        length if isinstance(length, int) and length > 0 else None,
        root if isinstance(root, str) else None,
    )


def _addresses(url: str) -> list[str]:
    """Where the API may be: as it was typed, and with `/v1` where no path was."""
    address = url.rstrip("/")
    return [address] if urlsplit(address).path.endswith("/v1") else [f"{address}/v1", address]
