"""The composition root of `swarm record`: the proxy, the trace that it fills, and a line that says how it goes."""

import asyncio
import os
import shutil
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import aiohttp
import msgspec

from swarm.client import eventloop, failures
from swarm.client.base import Connection
from swarm.client.wire import plain_session
from swarm.clock import Clock
from swarm.engine.backends import UNSENDABLE
from swarm.engine.stop import Stop, on_signals
from swarm.errors import BackendError, UsageError
from swarm.proxy.recording import Totals
from swarm.proxy.recording_process import RecordingApart
from swarm.proxy.relay import GRACE_S, Relay, Upstream
from swarm.recording.appender import RecordingError
from swarm.recording.redaction import remember, shown, styled
from swarm.scenario.credentials import plain_address, sendable, variable_name
from swarm.text import counted
from swarm.trace.format import TraceHeader
from swarm.trace.redact import Redactor
from swarm.trace.secret_rules import Rule

HOST = "127.0.0.1"
FRAME_S = 0.5
PLAIN_S = 10.0

NOTES = (
    "sessions are read off the prompts: a request belongs to the session whose last prompt and reply it repeats, or "
    "one of whose calls it holds, or whose summary (compaction)",
    "a session has a parent where its first messages repeat an argument of a call; a sub-agent told otherwise has none",
    "tokens are counted for whole prompts and replies, not for single messages",
)
NO_CONTENT = "texts are left out: what is there are keys, lengths, and names of tools"


@dataclass(frozen=True)
class Recorded:
    """How a recording ended."""

    path: Path
    totals: Totals
    passed: Counter[str]
    """POST requests that went through unrecorded, by path."""


def upstream_base(url: str) -> str:
    """An upstream's address as OpenAI's clients take it, with its version. Raises UsageError."""
    try:
        base = plain_address(url, "give it by --api-key-env")
    except ValueError as error:
        raise UsageError(f"--upstream: {error}") from None
    return base if urlsplit(base).path else f"{base}/v1"


def upstream_key(name: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The value of `--api-key-env`. Raises UsageError, which does not show it."""
    if name is None:
        return None
    try:
        key = environment.get(variable_name(name))
    except ValueError as error:
        raise UsageError(f"--api-key-env: {error}") from None
    if not key:
        raise UsageError(f"--api-key-env: the environment variable {name} is not set; export {name}=...")
    if not sendable(key):
        raise UsageError(f"--api-key-env: the environment variable {name} {UNSENDABLE}")
    remember(key)
    return key


def record(
    upstream: Upstream,
    out: Path | None,
    port: int,
    rules: Sequence[Rule],
    content: bool,
    show: TextIO | None,
    allowed: frozenset[str] = frozenset(),
) -> Recorded:
    """Records until SIGINT or SIGTERM. Says where it listens on stdout, and how it goes on `show`; None: nowhere.
    `allowed`: hosts that it is asked by beside loopback names, see `swarm.guard`.

    Raises UsageError for what cannot be opened and BackendError for an upstream that is not there, before anything is
    recorded.
    """
    return eventloop.run(_record(upstream, out, port, rules, content, show, allowed))


async def _record(
    upstream: Upstream,
    out: Path | None,
    port: int,
    rules: Sequence[Rule],
    content: bool,
    show: TextIO | None,
    allowed: frozenset[str],
) -> Recorded:
    upstream = replace(upstream, served=await _served(upstream.connection))
    listening, clock, started = bind(port), Clock(), datetime.now(UTC)
    header = TraceHeader(
        source="recorded",
        recorded_at=started.isoformat(timespec="seconds"),
        content=content,
        redacted=Redactor(rules).names if content else (),
        notes=NOTES if content else (*NOTES, NO_CONTENT),
    )
    path = _path(out, started)
    recording = _open(path, header, rules, upstream.connection.api_key)
    relay = Relay(upstream, clock, recording.keep, allowed)
    stop, view = Stop(), _View(show, relay, recording)
    with on_signals(stop):
        try:
            await relay.serve(listening)
            address = f"http://{HOST}:{listening.getsockname()[1]}"
            print(f"listening on {address}", flush=True)
            view.say(f"recording to {path}; base URL for OpenAI's clients {address}/v1, for Anthropic's {address}")
            while not await _stopped(stop, view.period_s):
                view.draw()
            view.say("stopping" + (f": {relay.open} open answers may end within {GRACE_S:g} s" if relay.open else ""))
        finally:
            await relay.close()
            totals = _end(recording)
    return Recorded(path, totals, relay.passed)


async def _served(connection: Connection) -> str | None:
    """The only model of an upstream, if it tells; BackendError where there is no upstream."""
    url = f"{connection.api_base}/models"
    try:
        async with plain_session(connection) as session, session.get(url) as reply:
            models = msgspec.json.decode(await reply.read(), type=_Models).data if reply.status == 200 else []
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # it answers, if not as OpenAI's API would
    except (aiohttp.ClientError, OSError) as error:
        failure = failures.from_exception(error, url)
        if failure is None:
            raise
        raise BackendError(f"--upstream: {failure.message}") from None
    return models[0].id if len(models) == 1 else None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model] = []


def bind(port: int) -> socket.socket:
    """A socket to listen on. It names TCP, or asyncio would leave Nagle's algorithm on, which holds tokens back."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise UsageError(f"{HOST}:{port}: cannot listen: {error.strerror or error}; choose another --port") from None
    return listening


def _path(out: Path | None, started: datetime) -> Path:
    """Where the trace goes; UsageError where something is already there."""
    path = out if out is not None else Path("traces") / f"{started:%Y%m%dT%H%M%SZ}.jsonl"
    if path.exists():
        raise UsageError(f"{path}: exists already, and a recording never overwrites; choose another --out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path.parent}: cannot be made: {error.strerror}; choose another --out") from None
    return path


def _open(path: Path, header: TraceHeader, rules: Sequence[Rule], key: str | None) -> RecordingApart:
    try:
        return RecordingApart(path, header, rules, [key] if key else [])
    except RecordingError as error:
        raise UsageError(f"{error}; choose another --out") from None


def _end(recording: RecordingApart) -> Totals:
    """Totals of the finished recording; a trace that could not be finished says so."""
    try:
        recording.close()
    except RecordingError as error:
        return replace(recording.totals, stopped=recording.totals.stopped or str(error))
    return recording.totals


async def _stopped(stop: Stop, within_s: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), within_s)
    except TimeoutError:
        return False
    return True


class _View:
    """A line that says how the recording goes: rewritten on a terminal, now and then elsewhere."""

    def __init__(self, out: TextIO | None, relay: Relay, recording: RecordingApart) -> None:
        self._out = out
        self._relay = relay
        self._recording = recording
        self._terminal = out is not None and out.isatty()
        self._drawn = ""

    @property
    def period_s(self) -> float:
        return FRAME_S if self._terminal else PLAIN_S

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        if self._out is not None:
            styled(self._out, f"\r\x1b[K{shown(line)}\n" if self._terminal else f"{shown(line)}\n")
            self._out.flush()

    def draw(self) -> None:
        line = _summary(self._relay, self._recording.totals)
        if self._out is None or line == self._drawn:
            return
        self._drawn = line
        if self._terminal:
            styled(self._out, f"\r\x1b[K{shown(line)[: shutil.get_terminal_size().columns - 1]}")
            self._out.flush()
        else:
            self.say(line)


def _summary(relay: Relay, totals: Totals) -> str:
    if totals.stopped is not None:
        return f"NOT RECORDING any more, still serving: {totals.stopped}"
    parts = [
        f"{counted(totals.turns, 'turn')} in {counted(totals.sessions, 'session')}, {relay.open} open",
        f"{totals.prompt_tokens:,} prompt and {totals.completion_tokens:,} completion tokens",
        *([f"{totals.failed} failed or cancelled"] if totals.failed else []),
        *([totals.model] if totals.model else []),
    ]
    return ", ".join(parts)
