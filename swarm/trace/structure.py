"""Implied structure of a trace: prompts that begin alike, sessions that belong together, the time between turns.

The beginning of a prompt is a chain: its tools, then message by message, or its blocks. Equal links of two chains mean
that all tokens up to there are the same, as far as the trace can tell.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from swarm.scenario.units import BYTES_PER_TOKEN
from swarm.trace.format import Trace, TraceMessage, TraceTools, TraceTurn, prompts

SYSTEM_ROLES = frozenset({"system", "developer"})


@dataclass(frozen=True, slots=True)
class Pause:
    """From a turn's end to the send of the session's next: carrying out calls, or a person's thinking."""

    kind: Literal["tool", "think"]
    ns: int | None
    """None: the trace does not say."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A turn with all that its prompt holds."""

    turn: TraceTurn
    messages: tuple[TraceMessage, ...]
    tools: TraceTools | None
    chain: tuple[str, ...]
    """A link for each message, or each block."""


def whole_prompts(turns: Iterable[TraceTurn]) -> Iterator[Prompt]:
    """The turns of one session with their whole prompts."""
    turns = list(turns)
    tools: TraceTools | None = None
    chain: tuple[str, ...] = ()
    for turn, messages in zip(turns, prompts(turns), strict=True):
        changed = turn.tools is not None and (tools is None or turn.tools.key != tools.key)
        tools = turn.tools or tools
        if turn.blocks is not None:
            chain = tuple(f"block {block}" for block in turn.blocks)
        else:
            known = chain[: 0 if changed else turn.kept]
            chain = known + tuple(_links(known[-1] if known else _first(tools), messages[len(known) :]))
        yield Prompt(turn, messages, tools, chain)


def after_reply(prompt: Prompt) -> str | None:
    """The link of the reply, should it stand unchanged in the next prompt; None: the trace does not tell it."""
    if prompt.turn.reply is None or prompt.turn.blocks is not None:
        return None
    return _link(prompt.chain[-1] if prompt.chain else _first(prompt.tools), prompt.turn.reply.key)


def new_lengths(prompt: Prompt, known: Mapping[str, float], overhead: float = 0) -> dict[int, float]:
    """Tokens of the messages, by their places, whose links are not in `known`, which holds those of the others.

    As the trace tells them; what is left of the prompt's own number, less `overhead`, belongs to the others by their
    bytes, or to the last one. Tool schemas are part of the first message.
    """
    told: dict[int, float] = {}
    shares: dict[int, int] = {}
    for at, (link, message) in enumerate(zip(prompt.chain, prompt.messages, strict=True)):
        if link in known:
            continue
        if message.tokens is None:
            shares[at] = max(1, message.bytes or 0)
        else:
            told[at] = message.tokens
    if 0 in shares and prompt.tools:
        shares[0] += prompt.tools.bytes or 0
    if prompt.turn.prompt_tokens is None:
        return told | {at: share / BYTES_PER_TOKEN for at, share in shares.items()}
    if told and not shares:
        shares[max(told)] = 1
    left = prompt.turn.prompt_tokens - overhead - sum(known.get(link, 0) for link in prompt.chain)
    left -= sum(tokens for at, tokens in told.items() if at not in shares)
    return told | {at: max(0.0, left) * share / sum(shares.values()) for at, share in shares.items()}


def _first(tools: TraceTools | None) -> str:
    return tools.key if tools else ""


def _links(before: str, messages: Iterable[TraceMessage]) -> Iterator[str]:
    for message in messages:
        before = _link(before, message.key)
        yield before


def _link(before: str, key: str) -> str:
    return hashlib.blake2b(f"{before} {key}".encode(), digest_size=12).hexdigest()


def first_attempts(turns: Iterable[TraceTurn]) -> dict[int, TraceTurn]:
    """For each turn of a session that did not fail, by its number: the first attempt at it, which may have failed."""
    firsts: dict[int, TraceTurn] = {}
    failed: TraceTurn | None = None
    for turn in turns:
        if turn.error is None:
            firsts[turn.number] = failed or turn
            failed = None
        else:
            failed = failed or turn
    return firsts


def pause(turn: TraceTurn, following: TraceTurn) -> Pause:
    """Where the end of a turn is not known, its reply is part of the pause."""
    if turn.blocks is not None:  # no messages: only why the reply ended tells
        calls = answers = turn.finish_reason == "tool_calls"
    else:
        answers = any(message.role in ("tool", "function") for message in following.added)
        calls = turn.reply is not None and bool(turn.reply.calls)
    began = turn.t_ns if turn.end_ns is None else turn.end_ns
    took = None if began is None or following.t_ns is None else max(0, following.t_ns - began)
    return Pause("tool" if calls and answers else "think", took)


def families(sessions: Mapping[str, list[TraceTurn]]) -> dict[str, str]:
    """Session -> the session that began it all: its own name, or for a sub-agent that of its oldest ancestor."""
    roots: dict[str, str] = {}
    for name, turns in sessions.items():  # a parent's first line is before its child's
        parent = turns[0].parent
        roots[name] = roots.get(parent.session, name) if parent else name
    return roots


def shared_links(trace: Trace) -> frozenset[str]:
    """Links that prompts of two families have, and those of leading system messages: what agents share."""
    sessions = trace.sessions()
    roots = families(sessions)
    owner: dict[str, str] = {}
    shared: set[str] = set()
    for name, turns in sessions.items():
        for prompt in whole_prompts(turns):
            for link in prompt.chain:
                if owner.setdefault(link, roots[name]) != roots[name]:
                    shared.add(link)
            for link, message in zip(prompt.chain, prompt.messages, strict=False):
                if message.role not in SYSTEM_ROLES:
                    break
                shared.add(link)
    return frozenset(shared)
