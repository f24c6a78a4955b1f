"""What must be found, by the definitions of docs/metrics.md, worked out from what the server did as simply as can be.

Nothing in here is swarm's.
"""

import math
from dataclasses import dataclass, field

from truth.generate import IDLE_MS, MS, TIMEOUT_MS, Counts, Done, Finish, Noise, Piece, Refusal, Reply, Trouble

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

    @property
    def coalesced(self) -> int:
        return len(self.stamps) - len(set(self.stamps))


def found(
    reply: Reply | Refusal, idle_ms: int = IDLE_MS, timeout_ms: int = TIMEOUT_MS, until: float = math.inf
) -> Found:
    """`until`: we cut it off then (nanoseconds after the send)."""
    this = _whole(reply, idle_ms, timeout_ms, until)
    if this.end >= until:
        this.outcome, this.end, this.over = "aborted", int(until), int(until)
    return this


def _whole(reply: Reply | Refusal, idle_ms: int, timeout_ms: int, until: float) -> Found:
    if isinstance(reply, Refusal):
        return _refused(reply)
    this, counted, heard = Found(), 0, reply.head_at
    calls: dict[int, list[str]] = {}
    done: Done | None = None
    for said in reply.said:
        if this.stamps and said.at - heard >= idle_ms:
            return _put_together(this, calls, "timeout", heard + idle_ms)
        heard = said.at
        if said.at * MS >= until:
            return _put_together(this, calls, "aborted", said.at, reply)
        match said:
            case Piece():
                this.stamps.append(said.at * MS)
                counted += said.tokens
                if said.kind == "content":
                    this.content += said.text
                elif said.kind == "call":
                    calls.setdefault(said.call, []).append(said.text)
                else:
                    this.reasoning += said.text
                if reply.usage == "always":
                    this.tokens.append(counted)
            case Finish():
                this.finish = said.reason
            case Trouble(kind="error"):
                return _put_together(this, calls, "in_band", said.at, reply)
            case Trouble(kind="broken"):
                return _put_together(this, calls, "malformed", said.at, reply)
            case Done():
                done = said
        _count(this, reply, said, counted)
        if done:
            break
    if not done and reply.end.kind == "never":
        if this.stamps:
            return _put_together(this, calls, "timeout", heard + idle_ms, reply)
        return _put_together(this, calls, "timeout", timeout_ms, reply)
    if not done and this.stamps and reply.end.at - heard >= idle_ms:
        return _put_together(this, calls, "timeout", heard + idle_ms, reply)
    if not done:
        return _put_together(this, calls, "reset" if reply.end.kind == "reset" else "cut", reply.end.at, reply)
    _put_together(this, calls, "complete" if this.finish else "cut", heard, reply)
    body_ends = heard + LINGER_MS if reply.end.kind == "never" else min(reply.end.at, heard + LINGER_MS)
    if done.form != "whole":  # it may go on, until the body ends
        body_ends = reply.end.at
    this.over = body_ends * MS if this.finish or done.form != "whole" else this.end
    return this


def _count(this: Found, reply: Reply, said: object, counted: int) -> None:
    """Takes the usage of a chunk that carries it."""
    at_end = isinstance(said, Counts)
    if reply.usage == "always":
        carries = (
            at_end
            or isinstance(said, Piece | Finish)
            or (isinstance(said, Noise) and said.kind not in ("comment", "blank", "retry"))
        )
    else:
        carries = {"none": False, "end": at_end, "finish": isinstance(said, Finish)}[reply.usage]
    if carries:
        this.prompt, this.cached = reply.prompt, reply.cached
        this.completion = counted + (reply.unseen if isinstance(said, Counts | Finish) else 0)


def _put_together(
    this: Found, calls: dict[int, list[str]], outcome: str, end_ms: int, reply: Reply | None = None
) -> Found:
    names = reply.names if reply else ("list_files", "read_file")
    this.calls = [(f"call-{call}", names[call], "".join(texts)) for call, texts in sorted(calls.items())]
    this.outcome, this.end, this.over = outcome, end_ms * MS, end_ms * MS
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
