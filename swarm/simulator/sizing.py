"""The memory that a profile's model takes, how many agents share its KV cache, how fast each of them is."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swarm.simulator.engine.cost import CostModel, bounded_attention, prefill_attention
from swarm.simulator.profiles import accuracy, data_files, profiles
from swarm.simulator.profiles.profiles import Profile

LEVELS = (1, 4, 8, 16)
CONTEXTS = (8_000, 32_000, 128_000)
_PARTS = ("weights_bytes", "kv_bytes", "state_bytes", "rest_bytes")
CHECKED_CONTEXT = 1000
"""Tokens; the context of the predictions that are checked against published single-stream speeds."""


@dataclass(frozen=True)
class Level:
    """Requests at once, all with the same context. Speeds are None where their contexts do not fit the KV cache."""

    concurrency: int
    decode_tokens_per_s: float | None
    """Each request's."""
    total_tokens_per_s: float | None
    ttft_s: float | None
    """From a request's arrival to its first token, nothing of its prompt cached, while the others decode."""
    decode_error: float
    """How far off the rates may be, as a share, and so `ttft_error` (`swarm.simulator.profiles.accuracy`)."""
    ttft_error: float


@dataclass(frozen=True)
class Sizing:
    """A profile at a context length. Bytes are those of all its GPUs together; `agents` is how many whole contexts fit
    the KV cache at once, nothing shared; `prefill_tokens_per_s` is that of one prompt in an idle engine.
    """

    context: int
    memory_bytes: int
    weights_bytes: int
    kv_bytes: int
    state_bytes: int
    agents: int
    prefill_tokens_per_s: float
    levels: tuple[Level, ...]

    @property
    def rest_bytes(self) -> int:
        return self.memory_bytes - self.weights_bytes - self.kv_bytes - self.state_bytes


def size(profile: Profile, context: int, levels: Sequence[int] = LEVELS) -> Sizing:
    """ValueError for a context below one token, or longer than a request of this profile can have."""
    if not 0 < context <= profile.max_context:
        raise ValueError(f"a context is 1 to {profile.max_context} tokens with {profile.name}, not {context}")
    fit = min(profile.max_num_seqs, profile.kv_blocks // profile.blocks_of(context))
    alone = CostModel(profile).prefill_alone(0, context, profile.max_num_batched_tokens)
    return Sizing(
        context=context,
        memory_bytes=round(profile.tp * profile.memory_gib * 2**30),
        weights_bytes=profile.weights_bytes,
        kv_bytes=profile.kv_tokens * profile.kv_bytes_per_token,
        state_bytes=profile.state_bytes * profile.max_num_seqs,
        agents=fit,
        prefill_tokens_per_s=context / alone,
        levels=tuple(_level(profile, count, context, fits=count <= fit) for count in levels),
    )


def _level(profile: Profile, count: int, context: int, fits: bool) -> Level:
    error = accuracy.expected(profile, count, context)
    if not fits:
        return Level(count, None, None, None, error.decode, error.ttft)
    rate, ttft = decode_rate(profile, count, context), time_to_first_token(profile, count, context)
    return Level(count, rate, count * rate, ttft, error.decode, error.ttft)


def decode_rate(profile: Profile, requests: int, context: int) -> float:
    """Tokens per second of each of `requests` that decode together at `context` tokens."""
    return 1 / CostModel(profile).terms(requests, requests * context).total


def time_to_first_token(profile: Profile, requests: int, prompt: int) -> float:
    """Seconds of a prompt of which nothing is cached, beside `requests` - 1 others that decode at as long contexts."""
    cost, others, seconds, at = CostModel(profile), requests - 1, profile.api_overhead_s, 0
    budget = max(1, profile.max_num_batched_tokens - others)
    while at < prompt:
        tokens = min(budget, prompt - at)
        sampled = others + (at + tokens == prompt)
        bounded = bounded_attention(at, tokens, profile.window)
        pairs = prefill_attention(at, tokens)
        seconds += cost.terms(others, others * prompt, tokens, pairs, sampled, bounded_pairs=bounded).total
        at += tokens
    return seconds


def describe(profile: Profile, contexts: Sequence[int], levels: Sequence[int] = LEVELS) -> str:
    """The sizing for people, and what is published about it. ValueError where no context is one that fits."""
    found = sizings(profile, contexts, levels)
    memory = [
        ("weights", found[0].weights_bytes, ""),
        ("KV cache", found[0].kv_bytes, _kept(profile)),
        *([("states", found[0].state_bytes, f"{profile.max_num_seqs} requests")] if found[0].state_bytes else []),
        ("rest", found[0].rest_bytes, "activations, CUDA graphs, what the engine leaves free"),
    ]
    lines = [
        f"{profile.name}: {profile.model} on {profile.tp} x {profile.gpu} ({profile.architecture})",
        f"provenance: {profile.provenance}{f' ({profile.note})' if profile.note else ''}",
        f"memory: {_gib(found[0].memory_bytes)}",
        *(f"  {name:9} {_gib(used):>10}  {what}".rstrip() for name, used, what in memory),
    ]
    for one in found:
        lines += _at_context(one)
    long = [f"{context:,}" for context in contexts if context > profile.max_context]
    if long:
        lines.append(f"contexts of {', '.join(long)} tokens: a request has at most {profile.max_context:,} here")
    advice = _advice(profile, found)
    lines.append(f"error: four of five predictions should be within it{f'; {advice}' if advice else ''}")
    return "\n".join([*lines, *_published(profile)])


def sizings(profile: Profile, contexts: Sequence[int], levels: Sequence[int] = LEVELS) -> list[Sizing]:
    """One for each context that a request of the profile can have. ValueError where there is none."""
    possible = [context for context in contexts if context <= profile.max_context]
    return [size(profile, context, levels) for context in possible or contexts]


def as_json(profile: Profile, contexts: Sequence[int], levels: Sequence[int] = LEVELS) -> dict[str, Any]:
    """The same for programs: what does not fit is null. ValueError as `describe`."""
    found = sizings(profile, contexts, levels)
    return {
        "profile": profile.name,
        "model": profile.model,
        "gpu": profile.gpu,
        "tp": profile.tp,
        "quant": profile.quant,
        "architecture": profile.architecture,
        "provenance": profile.provenance,
        "note": profile.note,
        "max_context": profile.max_context,
        "kv_tokens": profile.kv_tokens,
        "kv_bytes_per_token": profile.kv_bytes_per_token,
        "memory": {name: getattr(found[0], name) for name in ("memory_bytes", *_PARTS)},
        "contexts": [
            {
                "context": one.context,
                "agents": one.agents,
                "prefill_tokens_per_s": one.prefill_tokens_per_s,
                "levels": [asdict(level) for level in one.levels],
            }
            for one in found
        ],
    }


def _advice(profile: Profile, found: Sequence[Sizing]) -> str | None:
    """Advice where a kind of machine or load has too few published points."""
    asked = (accuracy.expected(profile, level.concurrency, one.context) for one in found for level in one.levels)
    return next((one.advice for one in asked if one.advice), None)


def _kept(profile: Profile) -> str:
    text = f"{profile.kv_tokens:,} tokens of {profile.kv_bytes_per_token / 1024:.4g} KiB"
    if profile.window_kv_bytes_per_token:
        share = profile.window_kv_bytes_per_token / 1024
        text += f", {share:.4g} of them for the last {profile.window:,} tokens of a request only"
    return text


def _at_context(found: Sizing) -> Iterator[str]:
    yield f"contexts of {found.context:,} tokens: {found.agents} fit at once, if they share nothing"
    yield f"  prefill: {found.prefill_tokens_per_s:,.0f} tok/s{_error(found.levels[0].ttft_error)}"
    yield "  agents at once  tok/s per agent  tok/s total   error  TTFT, nothing cached   error"
    for level in found.levels:
        if level.decode_tokens_per_s is None or level.total_tokens_per_s is None or level.ttft_s is None:
            yield f"  {level.concurrency:14}       do not fit"
            continue
        yield (
            f"  {level.concurrency:14}  {level.decode_tokens_per_s:15.1f}  {level.total_tokens_per_s:11.1f}  "
            f"{_error(level.decode_error)}  {level.ttft_s:18.2f} s  {_error(level.ttft_error)}"
        )


def table() -> str:
    """All profiles that come with the package, a line each."""
    loaded = [profiles.load(name) for name in profiles.names()]
    width = max(len(profile.name) for profile in loaded)
    head = f"{'profile':{width}}  {'weights':>9}  {'KV tokens':>9}  {'tok/s alone':>11}  provenance"
    rows = (
        f"{p.name:{width}}  {_gib(p.weights_bytes):>9}  {p.kv_tokens:9,}  {decode_rate(p, 1, CHECKED_CONTEXT):11.0f}  "
        f"{p.provenance}"
        for p in loaded
    )
    return "\n".join([head, *rows])


def _published(profile: Profile) -> Iterator[str]:
    for one in data_files.models()["published"]:
        if one["profile"] == profile.name:
            predicted = decode_rate(profile, 1, CHECKED_CONTEXT)
            off = predicted / one["tok_s"] - 1
            yield (
                f"published, one request: {one['tok_s']:g} tok/s ({one['engine']}; {one['source']}); "
                f"predicted {predicted:.1f} ({off:+.0%})"
            )
            if "reason" in one:
                yield f"  why: {one['reason']}"


def _error(share: float) -> str:
    return f"±{share:.0%}".rjust(6)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
