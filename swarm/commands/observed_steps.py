"""Steps of an engine as a client sees them: stretches in which the same requests decode, and prefills that are alone.

Between two moments at which a request is sent, gets its first token or ends, the same requests decode together: the
mean gap there is the time of a step with that many requests and that much context. A request that is alone from its
send to its first token shows the time of its prefill.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from swarm.client.base import Observation
from swarm.recording.records import Attempt
from swarm.simulator.engine.cost import CostModel
from swarm.simulator.profiles.profiles import Profile

LEAST_GAPS = 8
"""Gaps of a stretch: shorter ones say more of the network than of the engine."""


@dataclass(frozen=True)
class Stretch:
    """A time in which the same requests decoded, and nothing else: the mean time of a step."""

    level: int
    decodes: int
    context: int
    """Tokens of all of them, in the middle of the stretch."""
    seconds: float


@dataclass(frozen=True)
class Prefill:
    """The wait for the first token of a request that was alone."""

    level: int
    cached: int
    cold: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Stream:
    """An attempt: nanoseconds, and the tokens that had come with each stamp."""

    send: int
    end: int
    stamps: list[int]
    tokens: list[int]
    prompt: int | None
    cached: int | None


def of_attempt(attempt: Attempt) -> Stream | None:
    """None where it was not recorded what came when."""
    if attempt.chunks is None:
        return None
    stamps, tokens, at, count = [], [], attempt.t_ns, 0
    for gap, brought in zip(attempt.chunks, attempt.chunk_tokens or (), strict=False):
        at, count = at + gap, count + brought
        stamps.append(at)
        tokens.append(count)
    return Stream(attempt.t_ns, attempt.end_ns, stamps, tokens, attempt.prompt_tokens, attempt.cached_tokens)


def _constant(streams: Sequence[Stream]) -> Iterator[tuple[int, int, int, list[Stream]]]:
    """Times between which nobody joins or leaves: begin, end, requests before their first token, requests after it."""
    changes: list[tuple[int, int, Stream]] = []
    for stream in streams:
        first = stream.stamps[0] if stream.stamps else stream.end
        changes += [(stream.send, 0, stream), (first, 1, stream), (stream.end, 2, stream)]
    changes.sort(key=lambda change: change[:2])
    waiting, decoding, before = 0, dict[Stream, None](), 0
    for time, kind, stream in changes:
        if time > before:
            yield before, time, waiting, list(decoding)
        if kind == 0:
            waiting += 1
        elif kind == 1:
            waiting -= 1
            decoding[stream] = None
        else:
            decoding.pop(stream)
        before = time


def _stretch(level: int, began: int, ended: int, decoding: list[Stream]) -> Iterator[Stretch]:
    """The mean step of a constant time, seen by one of the requests: they all get their tokens together."""
    if any(stream.prompt is None for stream in decoding):
        return
    one = decoding[0]
    inside = [at for at, stamp in enumerate(one.stamps) if began < stamp < ended]
    if len(inside) <= LEAST_GAPS:
        return
    first, last = inside[0], inside[-1]
    steps = one.tokens[last] - one.tokens[first]
    middle = (one.stamps[first] + one.stamps[last]) // 2
    context = sum((stream.prompt or 0) + _tokens_at(stream, middle) for stream in decoding)
    if steps > 0:
        yield Stretch(level, len(decoding), context, (one.stamps[last] - one.stamps[first]) / steps / 1e9)


def _tokens_at(stream: Stream, time: int) -> int:
    at = bisect_right(stream.stamps, time)
    return stream.tokens[at - 1] if at else 0


def _alone(level: int, streams: Sequence[Stream]) -> Iterator[Prefill]:
    busy_until = 0
    ordered = sorted(streams, key=lambda stream: stream.send)
    for stream, after in zip(ordered, [*ordered[1:], None], strict=True):
        alone = stream.send >= busy_until and stream.stamps and (after is None or after.send >= stream.stamps[0])
        busy_until = max(busy_until, stream.end)
        if alone and stream.prompt is not None and stream.cached is not None:
            seconds = (stream.stamps[0] - stream.send) / 1e9
            yield Prefill(level, stream.cached, stream.prompt - stream.cached, seconds)


def of_observation(seen: Observation) -> Stream | None:
    """None where the server did not say per chunk how many tokens it brought, or the request failed."""
    if seen.failure or seen.send_ns is None or seen.end_ns is None or len(seen.tokens) != len(seen.stamps):
        return None
    return Stream(
        seen.send_ns, seen.end_ns, list(seen.stamps), list(seen.tokens), seen.prompt_tokens, seen.cached_tokens
    )


def observed(level: int, streams: Sequence[Stream]) -> tuple[list[Stretch], list[Prefill]]:
    """All that streams of one time line show of single steps; `level`: how many were meant to be there at once."""
    stretches: list[Stretch] = []
    for began, ended, waiting, decoding in _constant(streams):
        if not waiting and decoding:
            stretches += _stretch(level, began, ended, decoding)
    return stretches, list(_alone(level, streams))


def step(cost: CostModel, stretch: Stretch) -> float:
    """Seconds of a step of a stretch, by the model."""
    return cost.terms(stretch.decodes, stretch.context).total


def ttft(cost: CostModel, profile: Profile, prefill: Prefill) -> float:
    """Seconds of a prefill that is alone, by the model: the time before the queue, and a step for each chunk."""
    prompt = prefill.cached + prefill.cold
    return profile.api_seconds(prompt) + cost.prefill_alone(prefill.cached, prompt, profile.chunk_tokens)
