"""The servers behind the targets: a simulated one is started in its own process, a running one is only named."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from string import Template
from typing import IO, Literal

from swarm.client.base import Connection
from swarm.client.target.gpu import DcgmReader, NvmlReader
from swarm.client.wire import plain_session
from swarm.errors import BackendError, UsageError
from swarm.recording.redaction import remember
from swarm.scenario.credentials import sendable
from swarm.scenario.schema import Fault, Scenario, Simulate, Target

START_LIMIT_S = 30.0
STOP_LIMIT_S = 5.0
UNSENDABLE = (
    "holds a line end, a control character or one beyond Latin-1, which no HTTP header can carry; set it again without"
)


def connection(
    scenario: Scenario, target: Target, simulated_at: str | None = None, environment: Mapping[str, str] = os.environ
) -> Connection:
    """How to reach a target; `simulated_at` is the address of its simulated server, if it has one.

    Raises UsageError for a missing environment variable, naming it.
    """
    reach = Connection(
        api_base=f"{simulated_at}/v1" if simulated_at else target.api_base or "",
        model=target.model,
        api_key=variable(target.api_key_env, f"targets.{target.name}.api_key_env", environment),
        headers=_headers(target, "headers", environment),
        metrics_url=target.metrics_url,
        metrics_headers=_headers(target, "metrics_headers", environment),
        timeout_s=scenario.client.timeout,
        idle_timeout_s=scenario.client.idle_timeout,
        max_reply_bytes=scenario.client.max_reply_bytes,
        provider=scenario.litellm_provider,
        ca_file=scenario.client.ca_file,
    )
    remember(*secrets_of(target, environment))
    return reach


def variable(name: str | None, key: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The value of an environment variable, None for no name. Raises UsageError; `key` is where the name stands."""
    if name is None:
        return None
    if not environment.get(name):
        raise UsageError(f"{key}: the environment variable {name} is not set; export {name}=... and run again")
    if not sendable(environment[name]):
        raise UsageError(f"{key}: the environment variable {name} {UNSENDABLE}")
    return environment[name]


def _headers(
    target: Target, key: Literal["headers", "metrics_headers"], environment: Mapping[str, str]
) -> dict[str, str]:
    """A target's headers as they are sent. Raises UsageError, which shows no value."""
    given: dict[str, str] = getattr(target, key)
    return {name: _expand(value, f"targets.{target.name}.{key}.{name}", environment) for name, value in given.items()}


def _expand(value: str, key: str, environment: Mapping[str, str]) -> str:
    try:
        expanded = Template(value).substitute(environment)
    except KeyError as missing:
        raise UsageError(f"{key}: the environment variable {missing.args[0]} is not set") from None
    except ValueError:
        raise UsageError(f"{key}: write $$ for a dollar sign") from None
    if not sendable(expanded):
        names = [name for name in Template(value).get_identifiers() if not sendable(environment[name])]
        raise UsageError(f"{key}: {f'the environment variable {names[0]}' if names else 'the value'} {UNSENDABLE}")
    return expanded


def secrets_of(target: Target, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The secrets that `connection` found in the environment for a target, and its headers as they are sent."""
    given = [*target.headers.values(), *target.metrics_headers.values()]
    names = {name for value in given for name in Template(value).get_identifiers()}
    headers = {Template(value).substitute(environment) for value in given}
    named = names | ({target.api_key_env} if target.api_key_env else set())
    return tuple(sorted(headers | {environment[name] for name in named}))


def gpu_reader(target: Target) -> AbstractAsyncContextManager[DcgmReader | NvmlReader] | None:
    """Who tells of the GPUs under a target; None: the scenario names nobody."""
    if target.gpu_metrics_url:
        return DcgmReader(target.gpu_metrics_url, target.gpu_devices)
    return NvmlReader(target.gpu_devices) if target.gpu_devices else None


@asynccontextmanager
async def simulated(name: str, simulate: Simulate) -> AsyncIterator[tuple[str, int]]:
    """Runs a simulated vLLM in a process of its own; yields its address and the process's number; stops it, whatever
    happens."""
    options = [f"--{key.replace('_', '-')}={value}" for key, value in simulate.overrides().items()]
    command = [sys.executable, "-m", "swarm.simulator", f"--profile={simulate.profile}", "--port=0", *options]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--exit-with-parent",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the terminal is ours alone: the servers must outlive the agents
        )
        try:
            yield await _address(name, process, log), process.pid
        finally:
            await _end(process)


async def break_on_purpose(reach: Connection, faults: Sequence[Fault]) -> None:
    """Asks a simulated server for its faults, from the next chat completion on, which is its number 1."""
    url = reach.api_base.removesuffix("/v1") + "/swarm/faults"
    async with plain_session(reach) as session, session.post(url, json=[fault.plain() for fault in faults]) as reply:
        if reply.status != 200:
            raise BackendError(f"{url}: {await reply.text()}")


def fault_names(faults: Sequence[Fault]) -> str:
    return ", ".join(dict.fromkeys(fault.kind for fault in faults))


async def _address(name: str, process: asyncio.subprocess.Process, log: IO[bytes]) -> str:
    assert process.stdout
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S)).decode().strip()
    except TimeoutError:
        raise BackendError(f"{name}: the simulated server did not start within {START_LIMIT_S:g} s") from None
    if not line.startswith("listening on "):
        log.seek(0)
        reason = log.read().decode(errors="replace").strip() or line or "it ended at once"
        raise BackendError(f"{name}: the simulated server did not start: {reason}")
    return line.removeprefix("listening on ")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
