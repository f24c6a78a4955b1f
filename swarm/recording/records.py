"""The events of a run, one frozen record each: the lines of `events.jsonl`, and all that analysis ever sees.

Times are nanoseconds since the start of the run (`t_ns` is when the thing began, `end_ns` when it ended); durations are
nanoseconds too. `id` is unique over shards ("<shard>.<number>", of their coordinator "c.<number>"); `parent` is the id
of the enclosing thing: tool and attempt -> turn -> job -> stage, content -> attempt.
"""

from typing import Annotated, Any, Literal

import msgspec

VERSION = 1

ErrorKind = Literal[
    "timeout",
    "refused",
    "reset",
    "cut",
    "malformed",
    "rate_limited",
    "server_error",
    "context_overflow",
    "unauthorized",
    "not_found",
    "in_band",
    "empty",
]
CallMistake = Literal["unknown", "malformed"]
"""Mistakes in a tool call that a model wrote: no such tool, or arguments that do not fit its schema."""

TOOL_ENDS: frozenset[str] = frozenset({"tool_calls", "function_call"})
"""The finish reasons of a reply that ended for tool calls."""

JobOutcome = Literal["answered", "turn_limit", "context_limit", "error", "censored"]
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Values of `StageEnd.interrupted` where somebody wanted the run to end."""
FINISHED: frozenset[str] = frozenset({"answered", "turn_limit", "context_limit"})

LARGEST = 1e18
Int = Annotated[int, msgspec.Meta(ge=-int(LARGEST), le=int(LARGEST))]
Real = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Level = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Trial = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
"""Bounds of the numbers on a line, checked when it is read: one beyond (30 years, in nanoseconds) is damage."""


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Fields of all records: whose it is and when it began. `agents` is the stage's level, `agent` one agent of it."""

    v: Int = VERSION
    id: str
    parent: str | None = None
    run: str
    shard: Int = 0
    target: str
    agents: Level
    trial: Trial
    agent: Int | None = None
    t_ns: Int

    @property
    def owner(self) -> int | None:
        """The agent that it counts for. A sub-agent's own number is its agent's plus a multiple of `agents`."""
        return None if self.agent is None else self.agent % self.agents


class Entered(msgspec.Struct, frozen=True, kw_only=True):
    """Prefill of the contexts with which agents entered in the middle of their sessions, before a stage began.

    It is no part of the stage: neither its times nor its tokens are in any other record.
    """

    agents: Int
    """Agents that entered so."""
    prompt_tokens: Int
    took_ns: Int
    failed: Int = 0
    """Agents whose context was not prefilled: their first turn in the warm-up does it."""
    message: str | None = None
    """The error of the first of those."""


class Stage(Record, frozen=True, kw_only=True, tag="stage"):
    """A stage begins. What ENDS in `[window_start_ns, window_end_ns)`, the planned window, counts."""

    window_start_ns: Int
    window_end_ns: Int
    salt: str
    seed: int
    done_ns: Int = 0
    """In a resumed soak: nanoseconds that were measured before this stage's window."""
    entered: Entered | None = None
    """None: agents begin with their first prompts."""
    planned_alive: Real | None = None
    """Agents at work on average over the window, where a pattern lets some rest; None: all of them, always."""


class WindowEnd(Record, frozen=True, kw_only=True, tag="window_end"):
    """The window of a stage that was to run until enough had happened has ended at `t_ns`."""

    metric: str | None = None
    """The number that was to be known; None: none was asked for."""
    asked: Real | None = None
    """Half-width of its 95% interval, as a share of the number."""
    reached: Real | None = None
    """The same as it was when the window ended; None: too little was seen to tell."""
    turns_asked: Int | None = None
    """Turns that were to be done in the window, by all agents together; None: not asked for."""
    turns: Int | None = None
    """Those that were done by then."""
    jobs_asked: Int | None = None
    jobs: Int | None = None
    """The same for finished jobs."""


class StageEnd(Record, frozen=True, kw_only=True, tag="stage_end"):
    """A stage is over (`t_ns`); `interrupted` names what ended it early, e.g. "SIGINT" or "budget: requests"."""

    interrupted: str | None = None
    counters: dict[str, Real] | None = None
    """Growth of the server's own counters from idle before to idle after, by swarm's name; None: it has none."""


class AgentEnd(Record, frozen=True, kw_only=True, tag="agent_end"):
    """An agent's life from `t_ns` to `end_ns`; `crash` is the reason it stopped before its stage, or None."""

    end_ns: Int
    crash: str | None = None


class Job(Record, frozen=True, kw_only=True, tag="job"):
    """One pass through a task, from the send of its first request; the four shares of time sum to `end_ns - t_ns`."""

    end_ns: Int
    task: str
    variant: str
    outcome: JobOutcome
    turns: Int
    serving_ns: Int
    tool_ns: Int
    think_ns: Int
    client_ns: Int
    answer_ns: Int | None = None
    """First token of the last reply, for TTFAT; None unless finished."""
    completion_tokens: Int = 0

    @property
    def template(self) -> str:
        return f"{self.task}/{self.variant}"


class Turn(Record, frozen=True, kw_only=True, tag="turn"):
    """One chat completion and its tool calls; `ok` is False when the completion failed for good, None when cut off."""

    end_ns: Int
    number: Int
    ok: bool | None
    context_tokens: Int | None = None


class Attempt(Record, frozen=True, kw_only=True, tag="attempt"):
    """One request to the server. `t_ns` is the send: its first byte handed to the socket."""

    number: Int = 1
    task: str
    variant: str
    intended_ns: Int
    end_ns: Int
    first_token_ns: Int | None = None
    last_token_ns: Int | None = None
    chunks: list[Int] | None = None
    """Gaps: the first from `t_ns` to the first token-bearing chunk, then from chunk to chunk. None: not recorded."""
    chunk_tokens: list[Int] | None = None
    """Completion tokens that each of `chunks` brought, as the server counted them; None: it did not say per chunk."""
    first_tokens: Int | None = None
    """Completion tokens that the server counted with the first of `chunks`: where there were several, some were there
    before it. None: it did not say per chunk."""
    prompt_tokens: Int | None = None
    cached_tokens: Int | None = None
    completion_tokens: Int | None = None
    """From the server's usage; of an aborted attempt, what its last per-chunk usage said. None: it said nothing."""
    doubts: dict[str, str] | None = None
    """Counts that cannot be, by their keys here, as the server sent them: they are taken as not told."""
    planned_tokens: Int | None = None
    """The reply length that the request pinned; None: not pinned."""
    finish_reason: str | None = None
    tool_calls: Int = 0
    """Those that name a tool."""
    error: ErrorKind | None = None
    message: str | None = None
    aborted: bool = False
    """Cut off by ourselves at the stage's end: not an error."""
    max_lag_ns: Int | None = None
    coalesced: Int = 0
    """Token-bearing chunks that shared their stamp with an earlier one."""


class Content(Record, frozen=True, kw_only=True, tag="content"):
    """The text that one attempt sent and received, if `record.content` is on. `parent`: the attempt. Keys are redacted.

    The request's messages, in OpenAI's form, are the first `kept` of its job's request before, and then `messages`.
    """

    kept: Int
    messages: list[dict[str, Any]]
    tools: str
    """A digest of the tool schemas that were sent."""
    schemas: list[dict[str, Any]] | None = None
    """The schemas themselves, the first time that the stage (in this shard) sends them."""
    content: str
    """Text of the reply, as far as it came; so are `reasoning` and `tool_calls`."""
    reasoning: str
    tool_calls: list[dict[str, str]]
    """As the model wrote them: `id`, `name`, `arguments` (JSON text, unchecked)."""


class Tool(Record, frozen=True, kw_only=True, tag="tool"):
    """One tool call, from its start to its result; `work_ns` is what it took, waiting for a slot included."""

    end_ns: Int
    name: str
    ok: bool
    work_ns: Int
    planned_ns: Int | None = None
    error: str | None = None
    mistake: CallMistake | None = None
    """The mistake in the call itself; it was then answered with an error, and not carried out."""
    result_bytes: Int = 0
    sub_agents: Int = 0
    """How many it waited for: its time is then theirs, which is told by their own turns."""
    waited_ns: int = 0
    """For a slot in which to run: as many test runs as there are cores go on at a time."""

    @property
    def overran(self) -> bool:
        return self.planned_ns is not None and self.work_ns > self.planned_ns

    @property
    def overrun_ns(self) -> int:
        """By how much this machine made the agent wait too long: beyond the planned time, or for a slot where none is
        planned."""
        return self.waited_ns if self.planned_ns is None else max(0, self.work_ns - self.planned_ns)


class ClientSample(Record, frozen=True, kw_only=True, tag="client"):
    """The load generator watching itself, over `t_ns .. end_ns` (about a second)."""

    end_ns: Int
    cpu_ns: Int
    """CPU time of this process."""
    busy_share: Real | None
    """Share of the machine's CPUs that ran anything, 0..1; None where the system does not tell."""
    cores: Int | None = None
    """The machine's CPUs."""
    companions_ns: Int | None = None
    """CPU time of swarm's other processes here: its tools as they end, simulated servers, and who leads the shards.
    Each is in the samples of one shard alone. None where the system does not tell."""
    lag_ns: list[Int]
    """Sorted sample of this second's lags: stamp to reading of received bytes, and the event loop's own lateness."""
    chunks: Int
    coalesced: Int
    stamp_source: Literal["kernel", "user"]
    rss_bytes: Int | None = None
    """Resident memory of this process; None where the system does not tell, as of `open_files`."""
    open_files: Int | None = None
    frozen: list[tuple[Int, Int, Int]] = []
    """Times in which this process stood still: from, until, and how long the machine was suspended meanwhile, which the
    run's time line leaves out."""
    shared_ns: list[Int] = []
    """Sorted sample over the coalesced chunks: how much earlier than its stamp each may have come, at most."""


class Shard(Record, frozen=True, kw_only=True, tag="shard"):
    """One of several processes that share the agents of a stage has joined it: `shard` is its number, from 0."""

    name: str
    """Where it runs, for people: a machine's name and a process's number."""
    host: str | None = None
    """Its machine's name."""
    numbers: list[Int]
    """Its agents."""
    offset_ns: Int = 0
    """Its machine's monotonic clock less that of the coordinator's; its times on the run's line are corrected by it."""
    round_trip_ns: Int = 0
    """Round trip of the exchange that measured the offset, which is right to half of it; 0: both read one clock."""


class ShardLost(Record, frozen=True, kw_only=True, tag="shard_lost"):
    """A shard ended before its stage, at `t_ns` or a little earlier: what it had not handed over is missing."""

    name: str
    numbers: list[Int]
    """Its agents, which went with it."""
    reason: str


AnyRecord = (
    Stage | WindowEnd | StageEnd | AgentEnd | Job | Turn | Attempt | Content | Tool | ClientSample | Shard | ShardLost
)


class ServerSample(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a target's own metrics: a line of `server.jsonl`, beside the records because it is nobody's event."""

    v: Int = VERSION
    t_ns: Int
    target: str
    agents: Level
    trial: Trial
    border: Literal["before", "after"] | None = None
    """Taken when the server was idle before or after the stage; None: once a second while it ran."""
    metrics: dict[str, Real | None]
    """By swarm's names, e.g. `running` and `waiting` requests. Counters as they stand, not their growth."""


Published = Record | ServerSample
