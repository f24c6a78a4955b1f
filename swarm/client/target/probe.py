"""Finds out which server a target is, and which requests it supports, by asking it before any load.

A handful of requests of a few tokens. A server may be a full vLLM or promise much less (llama.cpp, Ollama, a proxy):
what it cannot do is left out of later requests, and said in `Probe.notes`; only what rules a run out is an error.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import aiohttp
import msgspec

from swarm.client import failures
from swarm.client.base import Capabilities, ChatRequest, Connection, Observation
from swarm.client.dialects import SERVERS
from swarm.client.direct import DirectClient
from swarm.client.target.metrics import MetricsReader, metrics_url
from swarm.client.wire import plain_session
from swarm.clock import Clock
from swarm.errors import BackendError
from swarm.text import listed

TIMEOUT_S = 120.0
"""For one small request; a server that has just started may have to load its model first."""

PINNED_TOKENS = 24
"""Asked for where the obvious answer has one: a server that gives all of them keeps to lengths."""

_MAX_DOCUMENT_BYTES = 4 << 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Probe:
    """Known facts of a target; None: it does not say."""

    model: str
    models: tuple[str, ...]
    """The names it serves."""
    max_model_len: int | None
    version: str | None
    honours: Capabilities
    forced_tool_calls: bool
    """Whether `tool_choice: "required"` made it call a tool."""
    cached_tokens: bool
    """Whether it tells how much of a prompt its prefix cache had."""
    metrics: bool
    """Whether it serves a `/metrics` that says how much it has to do: vLLM's, SGLang's or llama.cpp's."""
    notes: tuple[str, ...]
    """Options that it cannot pin and facts that it does not tell, and how to get them: a sentence each."""


async def probe(connection: Connection) -> Probe:
    """Asks a target what it is. Raises BackendError when it cannot be reached, refuses, or serves another model."""
    connection = replace(connection, timeout_s=min(connection.timeout_s, TIMEOUT_S))
    async with plain_session(connection) as session:
        listed = await list_models(session, connection)
        names = tuple(str(entry["id"]) for entry in listed)
        model = served_model(connection, names)
        length = await _context_length(session, connection, model, listed)
        version = await _version(session, connection)
    async with MetricsReader(connection) as reader:
        sample = await reader.read()
    asked = await _Asked.of(replace(connection, model=model))
    return Probe(
        model=model,
        models=names,
        max_model_len=length,
        version=version,
        honours=asked.honours,
        forced_tool_calls=asked.forced_tool_calls,
        cached_tokens=asked.cached_tokens,
        metrics=sample is not None,
        notes=tuple(_notes(connection, asked, sample, length)),
    )


async def list_models(session: aiohttp.ClientSession, connection: Connection) -> list[dict[str, Any]]:
    """The entries of `/models`; none where the server has no such page but the model is named."""
    url = connection.api_base.rstrip("/") + "/models"
    try:
        async with session.get(url) as response:
            status, headers, body = response.status, response.headers, await _body(response)
    except (aiohttp.ClientError, OSError) as error:
        failure = failures.from_exception(error, connection.api_base)
        raise BackendError(failure.message if failure else f"{connection.api_base}: {error}") from error
    if status == 404 and connection.model is not None:
        return []
    if status != 200:
        raise BackendError(failures.from_status(status, headers, body, url).message)
    document = _json(body)
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise BackendError(f"{url} is no list of models, so this is no OpenAI-compatible server: check api_base")
    return [entry for entry in entries if isinstance(entry, dict) and "id" in entry]


def served_model(connection: Connection, names: tuple[str, ...]) -> str:
    """The model's name. Ollama lists names with a tag that may be left out, a LiteLLM proxy may list a wildcard."""
    wanted, where = connection.model, connection.api_base
    if wanted is None:
        if len(names) == 1:
            return names[0]
        raise BackendError(
            f"{where}: serves {listed(names)}; choose one (--model NAME, or `model:` in a scenario)"
            if names
            else f"{where}: names no model; say which (--model NAME, or `model:` in a scenario)"
        )
    wild = any(name.endswith("*") and wanted.startswith(name[:-1]) for name in names)
    if names and wanted not in names and f"{wanted}:latest" not in names and not wild:
        raise BackendError(f"{where} does not serve the model {wanted!r}; it serves: {listed(names)}")
    return wanted


async def _context_length(
    session: aiohttp.ClientSession, connection: Connection, model: str, listed: list[dict[str, Any]]
) -> int | None:
    """Tokens of prompt and reply together."""
    if (found := _listed_length(model, listed)) is not None:
        return found
    return await _told(session, connection, (server.context_page for server in SERVERS), int)


def _listed_length(model: str, listed: list[dict[str, Any]]) -> int | None:
    """A model's own; else that of its `parent`: vLLM gives it to no LoRA, which shares its base model's."""
    name: object = model
    for _ in listed:  # no chain of parents is longer
        entry = next((entry for key in ("id", "root") for entry in listed if name and entry.get(key) == name), {})
        if isinstance(length := entry.get("max_model_len"), int):
            return length
        name = entry.get("parent")
    return None


async def _version(session: aiohttp.ClientSession, connection: Connection) -> str | None:
    return await _told(session, connection, (server.version_page for server in SERVERS), str)


async def _told(
    session: aiohttp.ClientSession, connection: Connection, pages: Iterable[tuple[str, ...]], kind: type[T]
) -> T | None:
    """The first value of a kind that one of the pages tells."""
    for path, *keys in filter(None, pages):
        found: Any = await _page(session, connection, path)
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, kind):
            return found
    return None


async def _page(session: aiohttp.ClientSession, connection: Connection, path: str) -> dict[str, Any]:
    """A JSON object beside the API; empty when there is none."""
    try:
        async with session.get(connection.api_base.rstrip("/").removesuffix("/v1") + path) as response:
            document = _json(await _body(response)) if response.status == 200 else None
    except (aiohttp.ClientError, OSError):
        return {}
    return document if isinstance(document, dict) else {}


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    while len(body) < _MAX_DOCUMENT_BYTES and (data := await response.content.readany()):
        body += data
    return body


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except failures.JSON_ERRORS:
        return None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Findings of a few completions."""

    honours: Capabilities
    forced_tool_calls: bool
    cached_tokens: bool

    @staticmethod
    async def of(connection: Connection) -> "_Asked":
        accepted, plain = await _accepted(connection)
        pinned = (
            plain.completion_tokens == PINNED_TOKENS
            if plain.completion_tokens is not None
            else (plain.finish_reason == "length")
        )
        honours = replace(
            accepted,
            usage=accepted.usage and plain.completion_tokens is not None,
            continuous_usage=accepted.continuous_usage and len(plain.tokens) > 0,
            pinned_length=accepted.pinned_length and pinned,
        )
        honours, forced = await _tools(replace(connection, honours=honours))
        again = await _ask(replace(connection, honours=honours), _request(2))
        if again.failure is not None:
            raise BackendError(f"a small chat completion failed: {again.failure.message}")
        return _Asked(honours, forced, plain.cached_tokens is not None or again.cached_tokens is not None)


async def _accepted(connection: Connection) -> tuple[Capabilities, Observation]:
    """The most of what may be asked for that the server does not refuse, and its answer."""
    for left_out in (
        (),
        ("continuous_usage",),
        ("pinned_length",),
        ("continuous_usage", "pinned_length"),
        ("continuous_usage", "pinned_length", "usage"),
    ):
        honours = Capabilities(**{field.name: field.name not in left_out for field in fields(Capabilities)})
        seen = await _ask(replace(connection, honours=honours), _request(PINNED_TOKENS))
        if seen.failure is None:
            return honours, seen
        if seen.failure.status not in (400, 422):
            break
    assert seen.failure is not None
    raise BackendError(f"a small chat completion failed: {seen.failure.message}")


async def _tools(connection: Connection) -> tuple[Capabilities, bool]:
    """Whether schemas are taken at all, whether the model may call them, and whether it can be made to."""
    honours = connection.honours
    forced = await _ask(connection, _request(64, tool_choice="required"))
    if forced.failure is None and forced.tool_calls:
        return honours, True
    for choice in (True, False):
        tried = replace(honours, tool_choice=choice)
        seen = await _ask(replace(connection, honours=tried), _request(2, tool_choice="auto"))
        if seen.failure is None:
            return tried, False
    return replace(honours, tools=False, tool_choice=False), False


async def _ask(connection: Connection, request: ChatRequest) -> Observation:
    client, seen = DirectClient(connection, Clock()), Observation()
    try:
        await client.complete(request, seen)
    finally:
        await client.close()
    return seen


def _request(tokens: int, tool_choice: str | None = None) -> ChatRequest:
    """The same opening each time, longer than a block of the prefix cache, so that the last finds it cached."""
    opening = "You answer with one short word and nothing else. " * 12
    return ChatRequest(
        messages=[{"role": "system", "content": opening}, {"role": "user", "content": "Say yes."}],
        tools=[_TOOL] if tool_choice else [],
        max_tokens=tokens,
        pinned=tool_choice is None,
        temperature=0.0,
        tool_choice=tool_choice,
    )


_TOOL = {
    "type": "function",
    "function": {
        "name": "answer",
        "description": "Gives the answer.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string", "enum": ["yes", "no"]}},
            "required": ["word"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def _notes(connection: Connection, asked: _Asked, sample: dict[str, float] | None, length: int | None) -> list[str]:
    honours = asked.honours
    notes = []
    if not honours.usage:
        notes.append("it sends no token counts (usage), so token rates cannot be known and its stages are invalid")
    elif not honours.continuous_usage:
        notes.append("it counts tokens at a reply's end only, so those of replies cut off at a stage's end are unknown")
    if not honours.pinned_length:
        notes.append(
            "it does not keep to reply lengths (min_tokens, ignore_eos), so its replies are as long as the model likes"
        )
    if not honours.tools:
        notes.append("it takes no tool schemas, so prompts are shorter than those of real coding agents")
    elif not honours.tool_choice:
        notes.append(
            "the model may not call tools (vLLM: --enable-auto-tool-choice --tool-call-parser ...), so only scripted "
            "agents can run; the schemas still count in the prompts"
        )
    elif not asked.forced_tool_calls:
        notes.append('tool calls cannot be forced (tool_choice "required" has no effect)')
    if not asked.cached_tokens:
        notes.append(
            "it does not say how much of a prompt was cached (vLLM: --enable-prompt-tokens-details), so cold and warm "
            "prompts cannot be told apart by request"
        )
    if sample is None:
        notes.append(
            f"no metrics of vLLM at {metrics_url(connection)}, so token counts go unchecked, and queueing, preemption "
            "and KV cache stay unknown (metrics_url names another address; one at another origin than api_base gets "
            "metrics_headers and not the target's key)"
        )
    elif "generation_tokens" not in sample:
        notes.append(
            "its metrics say what it runs and queues, but count no tokens as vLLM's do, so token counts go unchecked, "
            "and queueing times and preemption stay unknown"
        )
    if length is None:
        notes.append("it does not tell its context length, so agents.context goes unchecked")
    return notes
