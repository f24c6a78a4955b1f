"""Who broke the prefix: for each prompt with less of a cache than possible, the first message that differs, and how.

A server's prefix cache has a prompt as far as it begins like an earlier one. Within a session each prompt should begin
with the whole one before it; where it does not, the client changed something, and all that comes after is prefilled
again. Where the prompt did begin so and the server had less of it all the same, its cache had given it up.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, islice, pairwise
from statistics import median
from typing import Any, Literal

from swarm.trace.format import TraceMessage, TraceTools
from swarm.trace.structure import SYSTEM_ROLES, Prompt, after_reply

Kind = Literal["system", "tools", "tool_order", "result", "reply", "message", "compaction", "sessions", "evicted"]
WORDS: dict[Kind, str] = {
    "system": "system message changed",
    "tools": "tools changed",
    "tool_order": "order of the tools changed",
    "result": "tool result rewritten",
    "reply": "reply came back otherwise than it was written",
    "message": "earlier message changed or dropped",
    "compaction": "compaction",
    "sessions": "system prompts of two sessions are nearly the same",
    "evicted": "no longer in the server's cache",
}
BY_DESIGN: frozenset[Kind] = frozenset({"compaction"})
"""Kinds that an agent cannot do without."""
_LEAST_LOST = 32
"""Tokens: two blocks, as prompts that differ may share the beginning of a message, and caches keep whole blocks."""
_LEAST_SHARE_LOST = 0.02
_SHRUNK = 0.7
"""Tokens after the first difference per token that was there before, below which half the messages or fewer are a
history that was replaced."""
_LEAST_ALIKE_BYTES = 1000
_ALIKE = 0.02
"""Difference in length, as a share, of system messages that are taken for versions of one."""
_MOST_SHOWN = 60
_MOST_POINTS, _LEAST_POINTS = 60, 8
"""Turns whose times to the first token tell what a token of prefill costs."""


@dataclass(frozen=True, slots=True)
class Break:
    """A prompt of which the cache had less than possible."""

    session: str
    turn: int
    kind: Kind
    message: int | None
    """The first that differs, from 1; None: none does, or tools do, which come before all messages."""
    role: str | None
    change: str
    """How it differs, in words."""
    lost_tokens: int
    lost_s: float | None
    """Their prefill at the pace that the trace's times to the first token tell; None: they do not."""


def breaks(
    sessions: Mapping[str, Sequence[Prompt]], sizes: Mapping[str, float], possible: Mapping[tuple[str, int], float]
) -> list[Break]:
    """All of a trace, those that cost most first.

    `sizes`: tokens of each link's message. `possible`: session and turn -> tokens that a cache which forgets nothing
    would have had, in whole blocks.
    """
    pace = seconds_per_token(prompt for prompts in sessions.values() for prompt in prompts)
    found = []
    for prompts in sessions.values():
        for before, now in pairwise(prompt for prompt in prompts if prompt.turn.error is None):
            found += _changed(before, now, sizes)
    found += _between_sessions(sessions, sizes)
    found += _evicted(sessions, possible)
    costed = [_costed(each, pace) for each in found]
    return sorted(costed, key=lambda each: -each.lost_tokens)


def by_kind(found: Iterable[Break]) -> dict[str, dict[str, Any]]:
    """Turns, tokens and seconds of each kind, the costliest first; and its costliest break."""
    kinds: dict[str, list[Break]] = {}
    for each in found:
        kinds.setdefault(each.kind, []).append(each)
    told: dict[str, dict[str, Any]] = {
        kind: {
            "turns": len(those),
            "lost_tokens": sum(each.lost_tokens for each in those),
            "lost_s": None if those[0].lost_s is None else sum(each.lost_s or 0 for each in those),
            "session": those[0].session,
            "turn": those[0].turn,
            "message": those[0].message,
            "role": those[0].role,
            "change": those[0].change,
        }
        for kind, those in kinds.items()
    }
    return dict(sorted(told.items(), key=lambda item: -item[1]["lost_tokens"]))


def seconds_per_token(prompts: Iterable[Prompt]) -> float | None:
    """Prefill of a token that was not cached: the slope of times to the first token (Theil and Sen's, a median that a
    few slow requests do not move); None: too few tell both, or longer prompts were not slower."""
    points = [
        ((turn.prompt_tokens or 0) - (turn.cached_tokens or 0), (turn.first_token_ns - turn.t_ns) / 1e9)
        for prompt in prompts
        if (turn := prompt.turn).first_token_ns is not None and turn.t_ns is not None and turn.prompt_tokens
    ]
    step = max(1, len(points) // _MOST_POINTS)
    chosen = list(islice(points, 0, None, step))
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(chosen, 2) if a[0] != b[0]]
    if len(chosen) < _LEAST_POINTS or not slopes:
        return None
    slope = median(slopes)
    return slope if slope > 0 else None


def _costed(each: Break, pace: float | None) -> Break:
    seconds = None if pace is None else each.lost_tokens * pace
    return Break(each.session, each.turn, each.kind, each.message, each.role, each.change, each.lost_tokens, seconds)


def _changed(before: Prompt, now: Prompt, sizes: Mapping[str, float]) -> list[Break]:
    """The break that the client made between two prompts of a session, if it made one."""
    at = next((at for at, (old, new) in enumerate(zip(before.chain, now.chain, strict=False)) if old != new), None)
    if at is None:
        at = min(len(before.chain), len(now.chain))
    gone = sum(sizes.get(link, 0) for link in before.chain[at:])
    kept = sum(sizes.get(link, 0) for link in before.chain[:at])
    reply = after_reply(before)
    if at == len(before.chain) and reply and at < len(now.chain) and now.chain[at] != reply:
        gone = before.turn.completion_tokens or 0
        if now.messages[at].role != "assistant":
            return []
        kind: Kind = "reply"
        change = _difference(before.turn.reply.bytes if before.turn.reply else None, now.messages[at].bytes)
    else:
        kind, change = _kind(before, now, at, kept, gone)
    lost = round(min(gone, max(0, _tokens(now, sizes) - kept)))
    if lost < _LEAST_LOST:
        return []
    tools = kind in ("tools", "tool_order") or now.turn.blocks is not None
    place = None if tools else at + 1
    role = now.messages[at].role if place and at < len(now.messages) else None
    return [Break(now.turn.session, now.turn.number, kind, place, role, change, lost, None)]


def _tokens(prompt: Prompt, sizes: Mapping[str, float]) -> float:
    told = prompt.turn.prompt_tokens
    return told if told is not None else sum(sizes.get(link, 0) for link in prompt.chain)


def _kind(before: Prompt, now: Prompt, at: int, kept: float, gone: float) -> tuple[Kind, str]:
    """The change at message `at`, and its kind; `kept` and `gone`: tokens of the prompt before up to it, and after."""
    old_tools, new_tools = before.tools, now.tools
    if old_tools and new_tools and old_tools.key != new_tools.key:
        return _tools(old_tools, new_tools)
    said = now.turn.prompt_tokens
    fewer = 2 * (len(now.chain) - at) <= len(before.chain) - at
    if said is not None and fewer and said - kept < _SHRUNK * gone:
        return "compaction", f"the history was replaced: {round(kept + gone):,} tokens became {said:,}"
    if now.turn.blocks is not None or at >= len(before.messages) or at >= len(now.messages):
        return "message", "the prompt begins like the one before only in part"
    old, new = before.messages[at], now.messages[at]
    change = _words(old, new)
    if old.role in SYSTEM_ROLES:
        return "system", change
    if old.role == new.role == "tool":
        return "result", change
    if any(message.key == new.key for message in before.messages[at + 1 :]):
        return "message", "dropped"
    return "message", change


def _tools(old: TraceTools, new: TraceTools) -> tuple[Kind, str]:
    if old.content and new.content:
        names = [[_name(tool) for tool in tools] for tools in (old.content, new.content)]
        if sorted(names[0]) == sorted(names[1]) and names[0] != names[1]:
            moved = next(two for one, two in zip(*names, strict=True) if one != two)
            return "tool_order", f"{moved} is at another place"
        added = sorted(set(names[1]) - set(names[0]))
        gone = sorted(set(names[0]) - set(names[1]))
        if added or gone:
            return "tools", "; ".join(
                f"{what} {', '.join(those[:5])}" for what, those in (("new:", added), ("gone:", gone)) if those
            )
    elif (old.count, old.bytes) == (new.count, new.bytes):
        return "tool_order", f"the same {old.count} tools by number and length"
    return "tools", f"{old.count} tools before, {new.count} now; {_difference(old.bytes, new.bytes)}"


def _name(tool: dict[str, Any]) -> str:
    function = tool.get("function")
    return str((function if isinstance(function, dict) else tool).get("name"))


def _words(old: TraceMessage, new: TraceMessage) -> str:
    """With contents the first line that differs, else the lengths."""
    texts = [message.content.get("content") if message.content else None for message in (old, new)]
    one, other = (text.splitlines() if isinstance(text, str) else [] for text in texts)
    for number, (before, now) in enumerate(zip(one, other, strict=False), 1):
        if before != now:
            return f"line {number}: {_shown(before, now)} became {_shown(now, before)}"
    return _difference(old.bytes, new.bytes)


def _shown(line: str, other: str) -> str:
    """The part of a line around where it differs from another."""
    same = next((at for at, (a, b) in enumerate(zip(line, other, strict=False)) if a != b), min(len(line), len(other)))
    start = max(0, same - _MOST_SHOWN // 3)
    cut = line[start : start + _MOST_SHOWN]
    return f"{'...' if start else ''}{cut!r}{'...' if start + _MOST_SHOWN < len(line) else ''}"


def _difference(old: int | None, new: int | None) -> str:
    if old is None or new is None:
        return "its text differs"
    if old == new:
        return f"as long as before ({new:,} bytes): a time, a count or a checksum in it, perhaps"
    return f"{old:,} bytes became {new:,}"


def _between_sessions(sessions: Mapping[str, Sequence[Prompt]], sizes: Mapping[str, float]) -> list[Break]:
    """First prompts that share nothing with an earlier session's, though their system messages are nearly the same."""
    found: list[Break] = []
    earlier: list[tuple[TraceMessage, str]] = []
    first = sorted((prompts[0] for prompts in sessions.values() if prompts), key=lambda prompt: prompt.turn.t_ns or 0)
    for prompt in first:
        if not prompt.messages or prompt.messages[0].role not in SYSTEM_ROLES:
            continue
        system, link = prompt.messages[0], prompt.chain[0]
        known = {other for _, other in earlier}
        alike = next((old for old, _ in reversed(earlier) if _alike(old, system)), None)
        lost = round(sizes.get(link, 0))
        if link not in known and alike and lost >= _LEAST_LOST:
            found.append(Break(prompt.turn.session, 1, "sessions", 1, system.role, _words(alike, system), lost, None))
        if link not in known:
            earlier.append((system, link))
    return found


def _alike(old: TraceMessage, new: TraceMessage) -> bool:
    sizes = old.bytes or 0, new.bytes or 0
    return min(sizes) >= _LEAST_ALIKE_BYTES and abs(sizes[0] - sizes[1]) <= _ALIKE * max(sizes) and old.key != new.key


def _evicted(sessions: Mapping[str, Sequence[Prompt]], possible: Mapping[tuple[str, int], float]) -> list[Break]:
    """Prompts of which the server had less than an earlier prompt of their session had left there."""
    others = sorted(
        (prompt.turn.t_ns or 0, (prompt.turn.prompt_tokens or 0) - (prompt.turn.cached_tokens or 0), name)
        for name, prompts in sessions.items()
        for prompt in prompts
    )
    times = [time for time, _, _ in others]
    sums = [0, *accumulate(tokens for _, tokens, _ in others)]
    found = []
    for name, prompts in sessions.items():
        for before, now in pairwise(prompts):
            turn = now.turn
            if turn.cached_tokens is None or turn.prompt_tokens is None or turn.error is not None:
                continue
            lost = round(possible.get((name, turn.number), 0) - turn.cached_tokens)
            if lost < max(_LEAST_LOST, _LEAST_SHARE_LOST * turn.prompt_tokens):
                continue
            began, sent = before.turn.end_ns or before.turn.t_ns or 0, turn.t_ns or 0
            meanwhile = sums[bisect_left(times, sent)] - sums[min(bisect_right(times, began), bisect_left(times, sent))]
            idle = f"after {max(0, sent - began) / 1e9:,.0f} s" if turn.t_ns is not None else "later"
            who = (
                f"in which others sent {meanwhile:,} new tokens" if meanwhile else "in which nobody else sent anything"
            )
            found.append(Break(name, turn.number, "evicted", None, None, f"{idle}, {who}", lost, None))
    return found
