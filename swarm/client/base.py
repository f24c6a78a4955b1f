"""The client seam: a request goes in, an observation is filled in as bytes arrive, and nothing is raised.

Routes (`direct`, `litellm`, the simulator in virtual time) implement `Client`; nobody above the seam knows which one is
there. All times are on the run's `swarm.clock.Clock`.
"""

from array import array
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from swarm.recording.records import ErrorKind

Route = Literal["litellm", "direct", "litellm-sdk", "litellm-proxy"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Request options that a target supports; others are left out of the request."""

    usage: bool = True
    """Token counts at the end of a stream (`stream_options.include_usage`)."""
    continuous_usage: bool = True
    """Token counts with every chunk (`stream_options.continuous_usage_stats`, vLLM's)."""
    pinned_length: bool = True
    """Replies of an exact length (`min_tokens` and `ignore_eos`, vLLM's)."""
    tools: bool = True
    """Tool schemas in the prompt."""
    tool_choice: bool = True
    """Letting the model call them ("auto", "required" or one by name), rather than "none" alone."""


@dataclass(frozen=True, slots=True)
class Connection:
    """All that a route needs to know about a target; picklable, and its repr shows no secret."""

    api_base: str
    """With the version, as OpenAI's clients take it: `http://127.0.0.1:8000/v1`."""
    model: str | None
    """None: the only one served; `probe` says which it is, and opening a client needs it."""
    api_key: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 600.0
    """From the call to the end of the stream."""
    idle_timeout_s: float = 60.0
    """The longest time without a chunk once the first token is there, and the longest a connection may take to open.
    The wait for the first token is what is being measured: only `timeout_s` bounds it."""
    max_reply_bytes: int = 64 << 20
    """A reply that is longer is cut there, and has failed."""
    provider: str = "hosted_vllm"
    """LiteLLM's name for the kind of server; the other routes do not look at it."""
    metrics_url: str | None = None
    """None: derived from `api_base`."""
    metrics_headers: dict[str, str] = field(default_factory=dict, repr=False)
    """For `metrics_url`; one at another origin than `api_base` gets these alone."""
    ca_file: str | None = None
    """Certificates to trust, PEM; None: the system's."""
    honours: Capabilities = Capabilities()


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
    """Progress of one attempt: filled in by the client, read by the agent and, live, by the view.

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
    doubts: dict[str, str] = field(default_factory=dict)
    """Counts that cannot be, and so are None, as the server sent them first, by their names here."""
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
        """Measurements of the client itself since the last call."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Meter:
    """The client's view of itself between two calls of `Client.meter`."""

    lags_ns: "array[int]"
    """Nanoseconds from kernel stamp to reading, a sample; empty where stamps are taken in user space: never old."""
    chunks: int
    coalesced: int
    stamp_source: str
    shared_ns: "array[int]" = field(default_factory=lambda: array("q"))
    """A sample of coalesced chunks: nanoseconds since the read before on their stream, so how long they may have been
    there unseen."""
