"""What must be found, by the definitions of docs/metrics.md, worked out from what the server did as simply as can be.

Nothing in here is swarm's.
"""

import math
from dataclasses import dataclass, field

from truth.generate import (
    IDLE_MS,
    MOST_TOKENS,
    MS,
    TIMEOUT_MS,
    Counts,
    Done,
    Finish,
    Noise,
    Piece,
    Refusal,
    Reply,
    Trouble,
)

FINISHES = {
    **dict.fromkeys(("stop", "eos", "end_turn"), "stop"),
    **dict.fromkeys(("length", "max_tokens"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use"), "tool_calls"),
    **{name: name for name in ("function_call", "content_filter")},
}
"""The normal ends, by OpenAI's words for them."""
CHUNKS = ("no choices", "no delta", "empty", "role")
"""What means nothing, and is a chunk."""
LINGER_MS = 500
"""How long the end of a body may follow the end of its reply."""


@dataclass
class Found:
    """One attempt; times in nanoseconds after its send."""

    outcome: str = "complete"
    """Or the kind of its error."""
    end: int = 0
    over: int = 0
    """When whoever asked can go on."""
    known: int = 0
    """When it was known that this is the end."""
    stamps: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Counted by the server up to each stamp; [] where it did not say for each."""
    prompt: int | None = None
    cached: int | None = None
    completion: int | None = None
    finish: str | None = None
    content: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    retry_after: float | None = None
    began: bool = True
    """Something of its reply had come."""

    @property
    def for_tools(self) -> bool:
        """It came whole, and its end says that there are calls in it."""
        return self.outcome == "complete" and self.finish in ("tool_calls", "function_call")

    @property
    def lost_calls(self) -> bool:
        return self.for_tools and not self.calls

    @property
    def coalesced(self) -> int:
        return len(self.stamps) - len(set(self.stamps))


def found(
    reply: Reply | Refusal,
    idle_ms: int = IDLE_MS,
    timeout_ms: int = TIMEOUT_MS,
    until: float = math.inf,
    most: int = MOST_TOKENS,
) -> Found:
    """`until`: we cut it off then (nanoseconds after the send). `most`: the longest reply that was asked for."""
    this = _whole(reply, idle_ms, timeout_ms, until)
    letters = len(this.content + this.reasoning + "".join(arguments for _, _, arguments in this.calls))
    if (this.completion or 0) > max(2 * most, letters) or (this.completion == 0 and this.stamps):
        this.completion = None  # that cannot be
    if this.completion is None:
        this.tokens = []
    if max(this.end, this.known) >= until:
        this.outcome, this.end, this.over = "aborted", int(until), int(until)
    return this


def _whole(reply: Reply | Refusal, idle_ms: int, timeout_ms: int, until: float) -> Found:
    if isinstance(reply, Refusal):
        return _refused(reply)
    this, counted, grown, parts = Found(), 0, 0, _Parts()
    for said in reply.said:
        if this.stamps and said.at - grown >= idle_ms:
            return _put_together(this, parts, "timeout", grown + idle_ms, reply)
        if said.at * MS >= until:
            return _put_together(this, parts, "aborted", said.at, reply)
        match said:
            case Piece():
                this.stamps.append(said.at * MS)
                counted, grown = counted + said.tokens, said.at
                parts.add(said)
                if reply.usage == "always":
                    this.tokens.append(counted)
            case Finish():
                this.finish, grown = FINISHES.get(said.reason, said.reason), said.at
                if said.reason not in FINISHES:
                    this.outcome = "in_band"
            case Trouble(kind="error"):
                return _put_together(this, parts, "in_band", said.at, reply)
            case Trouble(kind="broken"):
                return _put_together(this, parts, "malformed", said.at, reply)
        before = this.completion
        _count(this, reply, said, counted)
        if this.completion not in (before, None):  # a count that cannot be brings nothing
            grown = said.at
        if isinstance(said, Done) and said.form != "whole" and this.stamps and reply.end.at - grown >= idle_ms:
            break  # it is only known from the end of the body
        if isinstance(said, Done):
            return _done(this, parts, said, reply)
    if reply.end.kind == "never":
        end = grown + idle_ms if this.stamps else timeout_ms
        return _put_together(this, parts, "timeout", end, reply)
    if this.stamps and reply.end.at - grown >= idle_ms:
        return _put_together(this, parts, "timeout", grown + idle_ms, reply)
    return _put_together(this, parts, "reset" if reply.end.kind == "reset" else "cut", reply.end.at, reply)


def _done(this: Found, parts: "_Parts", done: Done, reply: Reply) -> Found:
    outcome = "complete" if this.finish else "cut"
    if outcome == "complete" and not this.stamps and (this.completion == 0 or not this.for_tools):
        outcome = "empty"
    _put_together(this, parts, outcome, done.at, reply)
    ends = done.at + LINGER_MS if reply.end.kind == "never" else min(reply.end.at, done.at + LINGER_MS)
    if done.form != "whole":  # it may go on, until the body ends
        ends = reply.end.at
        this.known = ends * MS
    if this.outcome == "complete" or done.form != "whole":
        this.over = ends * MS
    return this


def _count(this: Found, reply: Reply, said: object, counted: int) -> None:
    """Takes the usage of a chunk that carries it."""
    at_end, last = isinstance(said, Counts), isinstance(said, Counts | Finish)
    if reply.usage == "always":
        carries = last or isinstance(said, Piece) or (isinstance(said, Noise) and said.kind in CHUNKS)
    else:
        carries = {"none": False, "end": at_end, "finish": isinstance(said, Finish)}[reply.usage]
    if carries:
        this.prompt = reply.prompt or None
        this.cached = reply.cached if (reply.cached or 0) <= reply.prompt else None
        this.completion = counted + reply.unseen * last
        if last and reply.absurd is not None:
            this.completion = None


@dataclass
class _Parts:
    """The text of a reply, as it grows."""

    content: str = ""
    reasoning: str = ""
    calls: dict[int, str] = field(default_factory=dict)

    def add(self, piece: Piece) -> None:
        if piece.kind == "content":
            self.content += piece.text
        elif piece.kind == "call":
            self.calls[piece.call] = self.calls.get(piece.call, "") + piece.text
        else:
            self.reasoning += piece.text


def _text(text: str) -> str:
    """Two halves of a character are one, and a half is none."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _put_together(this: Found, parts: _Parts, outcome: str, end_ms: int, reply: Reply) -> Found:
    this.content, this.reasoning = _text(parts.content), _text(parts.reasoning)
    this.calls = [(f"call-{call}", reply.names[call], _text(text)) for call, text in sorted(parts.calls.items())]
    if this.outcome == "complete" or outcome == "aborted":  # the first failure stands
        this.outcome = outcome
    this.end = this.over = end_ms * MS
    return this


def _refused(refusal: Refusal) -> Found:
    kinds = {401: "unauthorized", 403: "unauthorized", 404: "not_found", 429: "rate_limited", 307: "not_found"}
    outcome = kinds.get(refusal.status, "server_error")
    if refusal.status in (400, 413, 422) and "context" in str(refusal.body):
        outcome = "context_overflow"
    if refusal.status == 200:
        outcome = "in_band" if "error" in str(refusal.body) else "malformed"
    found = Found(outcome, refusal.at * MS, refusal.at * MS)
    after = dict(refusal.headers).get("Retry-After")
    found.retry_after = float(after) if after and refusal.status in (429, 500, 503) else None
    return found
