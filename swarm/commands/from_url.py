"""Runs without a scenario file: the server is asked what it serves, and the rest has defaults."""

import os
from dataclasses import dataclass
from pathlib import Path

from swarm.client import eventloop
from swarm.client.base import Connection
from swarm.client.target.locate import Located, locate
from swarm.engine.backends import variable
from swarm.errors import UsageError
from swarm.recording.redaction import remember
from swarm.scenario import quick
from swarm.scenario.credentials import plain_address, variable_name
from swarm.scenario.document import Document
from swarm.scenario.load import put, read_scenario, resolve
from swarm.scenario.schema import Scenario

KEY_VARIABLE = "SWARM_API_KEY"
"""The environment variable with the server's key, where no other is named."""


@dataclass(frozen=True)
class Server:
    """A server as the command line names it."""

    url: str
    model: str | None = None
    key_env: str | None = None


def document_for(server: Server, workload: str | None = None, *, soak: bool = False) -> Document:
    """A scenario for a server, which is asked for its model. Raises UsageError, BackendError where nothing answers."""
    found, key_env = find(server)
    chosen = quick.workload_settings(workload) if workload else {}
    document = quick.server_document(
        found.api_base,
        found.model,
        key_env=key_env,
        most_tokens=found.max_model_len,
        chosen=chosen,
    )
    if soak:
        quick.as_soak(document)
    return document


def on_server(path: Path, server: Server) -> Document:
    """A scenario file's document, with another server under its one target: its keys and headers stay behind."""
    document = read_scenario(path)
    targets = document.data.get("targets")
    if not isinstance(targets, list) or len(targets) != 1 or not isinstance(targets[0], dict):
        raise UsageError(f"--url: {path} does not have one target; --url replaces the server of a single one")
    found, key_env = find(server)
    kept = {key: targets[0][key] for key in ("name", "gpus") if key in targets[0]}
    targets[0] = kept | quick.server_keys(found.api_base, found.model, key_env)
    document.origins["targets",] = "--url"
    return document


def find(server: Server) -> tuple[Located, str | None]:
    """The server's API and model, and the name of the variable with its key."""
    try:
        address = plain_address(server.url, f"put the key into the environment variable {KEY_VARIABLE}")
    except ValueError as error:
        raise UsageError(f"URL: {error}") from None
    key_env = server.key_env or (KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else None)
    try:
        key = variable(key_env and variable_name(key_env), "--api-key-env")
    except ValueError as error:
        raise UsageError(f"--api-key-env: {error}") from None
    if key:
        remember(key)
    return eventloop.run(locate(Connection(api_base=address, model=server.model, api_key=key))), key_env


def resolved(document: Document, workload: str | None, settings: list[str]) -> Scenario:
    """The document as a scenario, with a workload, and what the command line sets. Raises ScenarioError, UsageError."""
    chosen = quick.workload_settings(workload) if workload else {}
    for key, value in chosen.items():
        put(document, key, value, "--workload")
    return resolve(document, settings)


def scenario_text(server: Server, workload: str | None) -> str:
    """A scenario file for a server, checked. Raises as `document_for` and `resolved`."""
    document = document_for(server, workload)
    resolved(document, workload, [])
    return quick.as_text(document)
