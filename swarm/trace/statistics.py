"""Numbers of a trace: lengths, growth, pauses, and how much of its prompts a prefix cache could have had.

The best hit rate is that of a cache that forgets nothing. Prompts are taken in the order of their sends; one hits as
far as its beginning is that of an earlier prompt, or of an earlier prompt and its reply, which a server has computed
too. The last token of a prompt never counts as a hit: a server computes it to have something to go on from.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean, quantiles
from typing import Any

from swarm.trace import prefix
from swarm.trace.format import Trace, TraceTurn
from swarm.trace.structure import Pause, Prompt, after_reply, first_attempts, new_lengths, pause, whole_prompts

MOST_BREAKS = 1000
"""Breaks of prefixes that are told one by one, those that cost most."""
BLOCK_TOKENS = 16
"""Block size of a server's KV cache, in tokens, by vLLM's default; only whole blocks are kept."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Tokens of a prompt, and how many of its first ones an unbounded cache would have."""

    session: str
    turn: int
    prompt: float
    by_message: float
    by_block: float
    prompts_only: float
    """The same by blocks where replies do not come back as they were written, as in a replay."""
    recorded: int | None


def describe(trace: Trace) -> dict[str, Any]:
    """All of it, as JSON. Times are seconds; None: the trace does not say."""
    sessions = {name: list(whole_prompts(turns)) for name, turns in trace.sessions().items()}
    prompts = [prompt for each in sessions.values() for prompt in each]
    sizes = _sizes(sessions.values())
    hits = _hits(prompts, sizes, trace.header.block_tokens)
    pauses = [each for turns in trace.sessions().values() for each in _pauses(turns)]
    known = {kind: [each.ns / 1e9 for each in pauses if each.kind == kind and each.ns is not None] for kind in _KINDS}
    calls = Counter(call.name for turn in trace.turns if turn.reply for call in turn.reply.calls)
    replies = [turn.completion_tokens for turn in trace.turns if turn.completion_tokens is not None]
    times = [time for turn in trace.turns for time in (turn.t_ns, turn.end_ns) if time is not None]
    return {
        "source": trace.header.source,
        "recorded_at": trace.header.recorded_at,
        "content": trace.header.content,
        "redacted": list(trace.header.redacted),
        "notes": list(trace.header.notes),
        "sessions": len(sessions),
        "sub_agents": sum(each[0].turn.parent is not None and not each[0].turn.side for each in sessions.values()),
        "side_calls": sum(each[0].turn.side for each in sessions.values()),
        "turns": len(trace.turns),
        "failed_turns": sum(turn.error is not None for turn in trace.turns),
        "failures": dict(Counter(_failure(turn) for turn in trace.turns if turn.error is not None).most_common()),
        "not_streamed": sum(turn.streamed is False for turn in trace.turns),
        "span_s": (max(times) - min(times)) / 1e9 if times else None,
        "turns_per_session": _spread([len(each) for each in sessions.values()]),
        "prompt_tokens": _spread([round(hit.prompt) for hit in hits]),
        "estimated": any(prompt.turn.prompt_tokens is None and prompt.turn.error is None for prompt in prompts),
        "reply_tokens": _spread(replies),
        "new_tokens": _spread([round(hit.prompt - hit.by_message) for hit in hits]),
        "tool_s": _spread(known["tool"]),
        "think_s": _spread(known["think"]),
        "calls": dict(calls.most_common()),
        "cache": _rates(hits),
        "by_turn": _by_turn(hits),
        "prefix": _breaks(sessions, sizes, hits),
    }


_KINDS = ("tool", "think")


def _breaks(sessions: Mapping[str, Sequence[Prompt]], sizes: dict[str, float], hits: Sequence[Hit]) -> dict[str, Any]:
    """Where prefixes broke: all of it by kind, the breaks themselves, and what of their tokens need not have been."""
    possible = {(hit.session, hit.turn): hit.by_block for hit in hits}
    found = prefix.breaks(sessions, sizes, possible)
    total = sum(hit.prompt for hit in hits)
    avoidable = sum(each.lost_tokens for each in found if each.kind not in prefix.BY_DESIGN)
    return {
        "lost_tokens": sum(each.lost_tokens for each in found),
        "avoidable_tokens": avoidable,
        "avoidable_share": avoidable / total if total else None,
        "by_kind": prefix.by_kind(found),
        "breaks": [asdict(each) for each in found[:MOST_BREAKS]],
    }


def _pauses(turns: Sequence[TraceTurn]) -> Iterator[Pause]:
    """Between the turns of a session that did not fail; failed attempts and back-off are left out."""
    firsts = first_attempts(turns)
    for one, other in pairwise(turn for turn in turns if turn.error is None):
        yield pause(one, firsts[other.number])


def _failure(turn: TraceTurn) -> str:
    """Its kind, in words, with the HTTP status where it has one that says more."""
    status = f" (HTTP {turn.status})" if turn.status not in (None, 200) else ""
    return f"{(turn.error or '').replace('_', ' ')}{status}"


def _sizes(sessions: Iterable[Sequence[Prompt]]) -> dict[str, float]:
    """Tokens of each link's own message."""
    sizes: dict[str, float] = {}
    for prompts in sessions:
        for prompt in prompts:
            if prompt.turn.blocks is None:
                sizes |= {prompt.chain[at]: tokens for at, tokens in new_lengths(prompt, sizes).items()}
            link, written = after_reply(prompt), prompt.turn.completion_tokens
            if link and written is not None:
                sizes.setdefault(link, written)
    return sizes


def _hits(prompts: Iterable[Prompt], sizes: dict[str, float], block_tokens: int | None) -> list[Hit]:
    seen: set[str] = set()
    sent: set[str] = set()
    """Without replies."""
    hits = []
    for prompt in sorted(prompts, key=lambda prompt: prompt.turn.t_ns or 0):
        lengths = [sizes.get(link, block_tokens or 0) for link in prompt.chain]
        tokens = prompt.turn.prompt_tokens if prompt.turn.prompt_tokens is not None else sum(lengths)
        whole, alone = (min(_known(prompt.chain, lengths, those), max(0, tokens - 1)) for those in (seen, sent))
        hits.append(
            Hit(
                session=prompt.turn.session,
                turn=prompt.turn.number,
                prompt=tokens,
                by_message=whole,
                by_block=_whole_blocks(whole),
                prompts_only=_whole_blocks(alone),
                recorded=prompt.turn.cached_tokens,
            )
        )
        sent.update(prompt.chain)
        seen.update(prompt.chain)
        if (link := after_reply(prompt)) and prompt.turn.error is None:
            seen.add(link)
    return hits


def _known(chain: Sequence[str], lengths: Sequence[float], links: set[str]) -> float:
    first_new = next((at for at, link in enumerate(chain) if link not in links), len(chain))
    return sum(lengths[:first_new])


def _whole_blocks(tokens: float) -> float:
    return round(tokens) // BLOCK_TOKENS * BLOCK_TOKENS


def _rates(hits: Sequence[Hit]) -> dict[str, float | None]:
    """Shares of all prompt tokens; the recorded one of those prompts of which the server told it."""
    total = sum(hit.prompt for hit in hits)
    told = [hit for hit in hits if hit.recorded is not None]
    told_total = sum(hit.prompt for hit in told)
    return {
        "best_by_message": sum(hit.by_message for hit in hits) / total if total else None,
        "best_by_block": sum(hit.by_block for hit in hits) / total if total else None,
        "best_of_a_replay": sum(hit.prompts_only for hit in hits) / total if total else None,
        "recorded": sum(hit.recorded or 0 for hit in told) / told_total if told_total else None,
    }


def _by_turn(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """For each number of a turn: how many sessions came so far, how long prompts were, and what was cached of them."""
    turns: dict[int, list[Hit]] = {}
    for hit in hits:
        turns.setdefault(hit.turn, []).append(hit)
    return [
        {"turn": turn, "prompt_tokens": _spread([round(hit.prompt) for hit in of], curve=False), "cache": _rates(of)}
        for turn, of in sorted(turns.items())
    ]


def _spread(values: Sequence[float], curve: bool = True) -> dict[str, Any] | None:
    """None of none. `curve`: the values at 0, 2, 4 ... 100%, for a picture."""
    if not values:
        return None
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    told = {
        "count": len(values),
        "total": sum(values),
        "mean": fmean(values),
        "min": min(values),
        "p10": cuts[9],
        "p50": cuts[49],
        "p90": cuts[89],
        "p99": cuts[98],
        "max": max(values),
    }
    return told | ({"curve": [min(values), *cuts[1::2], max(values)]} if curve else {})
