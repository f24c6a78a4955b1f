"""Traces made for tests: each prompt is a list of names, a name is a message of a known length."""

from collections.abc import Sequence

from hypothesis import strategies

from swarm.trace.format import Parent, Trace, TraceCall, TraceHeader, TraceMessage, TraceReply, TraceTurn, kept

SECOND = 1_000_000_000
FIXED = 60
"""Tokens that each prompt has beside its messages: room for any template."""


def size(name: str) -> int:
    """Tokens of a message."""
    return 40 + sum(name.encode()) % 50


def message(name: str) -> TraceMessage:
    """Its role is in its name: `s`ystem, `a`ssistant, `t`ool, or else user."""
    role = {"s": "system", "a": "assistant", "t": "tool"}.get(name[0], "user")
    return TraceMessage(role=role, key=name, bytes=4 * size(name))


def session(
    name: str,
    prompts: Sequence[Sequence[str]],
    replies: Sequence[str] | None = None,
    *,
    start_s: float = 0.0,
    turn_s: float = 1.0,
    pause_s: float = 2.0,
    calls: Sequence[str] = (),
    parent: Parent | None = None,
) -> list[TraceTurn]:
    """Turns of `turn_s`, with `pause_s` in between; all but the last call the tools `calls`."""
    turns, before = [], ()
    for number, prompt in enumerate(prompts, 1):
        now = tuple(map(message, prompt))
        same = kept(before, now)
        begun = start_s + (number - 1) * (turn_s + pause_s)
        reply = replies[number - 1] if replies else f"written {name} {number}"
        called = calls if number < len(prompts) else ()
        turns.append(
            TraceTurn(
                session=name,
                number=number,
                parent=parent if number == 1 else None,
                t_ns=round(begun * SECOND),
                end_ns=round((begun + turn_s) * SECOND),
                kept=same,
                added=now[same:],
                reply=TraceReply(key=reply, calls=tuple(TraceCall(id=f"c{at}", name=c) for at, c in enumerate(called))),
                prompt_tokens=FIXED + sum(map(size, prompt)),
                completion_tokens=size(reply),
            )
        )
        before = now
    return turns


def trace(*sessions: list[TraceTurn]) -> Trace:
    turns = sorted((turn for each in sessions for turn in each), key=lambda turn: turn.end_ns)
    return Trace(TraceHeader(source="recorded"), tuple(turns))


_names = strategies.sampled_from([f"{role}{number}" for role in "suat" for number in range(3)])


@strategies.composite
def traces(draw: strategies.DrawFn) -> Trace:
    """A few sessions whose prompts grow, fork, shrink and share their beginnings; replies may come back in them."""
    sessions = []
    for number in range(draw(strategies.integers(1, 3))):
        prompts, replies = [], []
        prompt = [f"s{draw(strategies.integers(0, 1))}", *draw(strategies.lists(_names, min_size=1, max_size=2))]
        for turn in range(draw(strategies.integers(1, 4))):
            prompts.append(prompt)
            replies.append(f"a-{number}-{turn}")
            back = draw(strategies.booleans())
            keep = draw(strategies.integers(1, len(prompt)))
            prompt = [*prompt, replies[-1]] if back else prompt[:keep]
            prompt = prompt + draw(strategies.lists(_names, min_size=1, max_size=3))
        start = draw(strategies.integers(0, 9)) + number / 10
        sessions.append(session(f"session {number}", prompts, replies, start_s=start))
    return trace(*sessions)
