"""The memory that a profile's model takes, how many agents share its KV cache, how fast each of them is."""

from collections.abc import Iterator
from dataclasses import dataclass

from swarm.simulator.engine.cost import CostModel
from swarm.simulator.profiles import data_files, profiles
from swarm.simulator.profiles.profiles import Profile

LEVELS = (1, 4, 8, 16)
CHECKED_CONTEXT = 1000
"""Tokens; of the predictions that published single-stream speeds are held against."""


@dataclass(frozen=True)
class Sizing:
    """Sizes of a profile at a context length. Bytes are of all its GPUs together; `agents` is how many contexts fit the
    KV cache at once, nothing shared; `tokens_per_s` is each request's decode rate, None where the contexts do not fit.
    """

    memory_bytes: int
    weights_bytes: int
    kv_bytes: int
    state_bytes: int
    agents: int
    tokens_per_s: dict[int, float | None]


def size(profile: Profile, context: int) -> Sizing:
    """ValueError for a context below one token, or longer than a request of this profile can have."""
    if not 0 < context <= profile.max_context:
        raise ValueError(f"a context is 1 to {profile.max_context} tokens with {profile.name}, not {context}")
    fit = min(profile.max_num_seqs, profile.kv_blocks // profile.blocks_of(context))
    return Sizing(
        memory_bytes=round(profile.tp * profile.memory_gib * 2**30),
        weights_bytes=profile.weights_bytes,
        kv_bytes=profile.kv_tokens * profile.kv_bytes_per_token,
        state_bytes=profile.state_bytes * profile.max_num_seqs,
        agents=fit,
        tokens_per_s={level: decode_rate(profile, level, context) if level <= fit else None for level in LEVELS},
    )


def decode_rate(profile: Profile, requests: int, context: int) -> float:
    """Tokens per second of each of `requests` that decode together at `context` tokens."""
    return 1 / CostModel(profile).terms(requests, requests * context).total


def describe(profile: Profile, context: int) -> str:
    """The sizing for people, and what is published of it. ValueError as `size`."""
    found = size(profile, context)
    rest = found.memory_bytes - found.weights_bytes - found.kv_bytes - found.state_bytes
    memory = [
        ("weights", found.weights_bytes, ""),
        ("KV cache", found.kv_bytes, f"{profile.kv_tokens:,} tokens of {profile.kv_bytes_per_token / 1024:g} KiB"),
        *([("states", found.state_bytes, f"{profile.max_num_seqs} requests")] if found.state_bytes else []),
        ("rest", rest, "activations, CUDA graphs, what the engine leaves free"),
    ]
    lines = [
        f"{profile.name}: {profile.model} on {profile.tp} x {profile.gpu} ({profile.architecture})",
        f"provenance: {profile.provenance}{f' ({profile.note})' if profile.note else ''}",
        f"memory: {_gib(found.memory_bytes)}",
        *(f"  {name:9} {_gib(used):>10}  {what}".rstrip() for name, used, what in memory),
        f"contexts of {context:,} tokens: {found.agents} fit at once, if they share nothing",
        "decode, each request:",
        *(f"  {n:3} at once  {_rate(rate)}" for n, rate in found.tokens_per_s.items()),
    ]
    return "\n".join([*lines, *_published(profile)])


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


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"


def _rate(rate: float | None) -> str:
    return "do not fit" if rate is None else f"{rate:6.1f} tok/s"
