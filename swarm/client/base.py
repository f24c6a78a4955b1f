"""The client seam: a request goes in, an observation is filled in as bytes arrive, and nothing is raised.

Routes (`direct`, `litellm`, the simulator in virtual time) implement `Client`; nobody above the seam knows which one is
there. All times are on the run's `swarm.clock.Clock`.
"""

from array import array
from dataclasses import dataclass, field
from typing import Any, Protocol

from swarm.recording.records import ErrorKind


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat completion, always streamed. Messages and tools are in OpenAI's form."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    max_tokens: int
    pinned: bool
    """Ask for exactly `max_tokens` (min_tokens = max_tokens, ignore_eos), where the target honours it."""
    temperature: float = 0.7
    seed: int | None = None
    tool_choice: str | dict[str, Any] | None = None
    extra_body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call as the model wrote it; `arguments` is its JSON text, unchecked."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Failure:
    kind: ErrorKind
    message: str
    status: int | None = None
    retry_after_s: float | None = None


@dataclass(slots=True)
class Observation:
    """What one attempt has shown so far: filled in by the client, read by the agent and, live, by the view.

    `stamps[i]` is when the i-th token-bearing chunk arrived; `tokens[i]` is the completion tokens counted by the server
    up to and including it (empty when it does not say per chunk).
    """

    send_ns: int | None = None
    stamps: "array[int]" = field(default_factory=lambda: array("q"))
    tokens: "array[int]" = field(default_factory=lambda: array("q"))
    end_ns: int | None = None
    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    failure: Failure | None = None
    max_lag_ns: int | None = None
    coalesced: int = 0


class Client(Protocol):
    """A connection to one target. One per target and stage; made by the composition root, closed by it."""

    async def complete(self, request: ChatRequest, seen: Observation) -> None:
        """Streams one completion into `seen`.

        Returns when the stream is complete or has failed (`seen.failure`); raises nothing for what a server or a
        network does. Cancelling it closes the connection, so that the server stops; `seen` keeps what it has.
        """

    def meter(self) -> "Meter":
        """What the client has seen of itself since the last call."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Meter:
    """The client's view of itself between two calls of `Client.meter`. Lags are nanoseconds from stamp to parse."""

    lags_ns: "array[int]"
    chunks: int
    coalesced: int
    stamp_source: str
