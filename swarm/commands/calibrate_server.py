"""`swarm calibrate URL`: a profile of a running server, from what `measure_server` asks of it.

Every constant that the answers depend on is fitted, drawn to the one of the profile that it starts from: one that the
answers do not tell stays there, and is named. It needs nothing beyond swarm itself.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from swarm.client.base import Connection
from swarm.client.direct import DirectClient
from swarm.client.target.metrics import MetricsReader
from swarm.client.target.probe import probe
from swarm.clock import Clock
from swarm.commands.measure_server import Answers, Questions
from swarm.commands.observed_steps import step, ttft
from swarm.errors import BackendError, UsageError
from swarm.simulator.engine.cost import CostModel
from swarm.simulator.profiles import profiles
from swarm.simulator.profiles.profiles import MOST_FLOPS, Profile
from swarm.simulator.profiles.ridge import Solution, solve
from swarm.text import counted

NOISE = {"decode": 0.01, "prefill": 0.03}
"""Noise of the logarithm of a step or a wait."""
ENOUGH = 6
"""Answers of one kind, of which more do not count more."""
TOLD = 0.5
"""A constant whose spread the answers leave above this share is not told by them."""
LEAST_ERROR = {"decode": 0.05, "ttft": 0.10}
"""The least that a calibrated profile may be off, at loads that it did not see."""
SPREADS = {
    "layer_overhead_us": 0.7,
    "eta_weights": 0.4,
    "eta_lm_head_batched": 0.3,
    "eta_experts": 0.5,
    "eta_kv": 0.5,
    "eta_flops": 0.7,
    "eta_flops_attention": 0.7,
    "api_overhead_s": 1.5,
}
"""Expected spreads of logarithms; `eta_flops` is that of dense layers and experts."""
CPU_SPREAD_US = 20.0
AT_BOUND = 0.97
"""A share of the bandwidth above this wants to be more than all."""
MEANINGS = {
    "layer_overhead_us": "overhead of a layer, us",
    "eta_weights": "share of the bandwidth, weights",
    "eta_lm_head_batched": "share of the bandwidth, lm_head of several requests",
    "eta_experts": "share of the bandwidth, experts",
    "eta_kv": "share of the bandwidth, KV cache",
    "eta_flops": "share of the FLOP rate, prompts",
    "eta_flops_attention": "share of the FLOP rate, attention of prompts",
    "api_overhead_s": "time before the queue, s",
    "cpu_per_request_us": "CPU time of a request and step, us",
}


@dataclass(frozen=True)
class Constant:
    """A fitted constant: what the profile had, what the answers make of it, and whether they tell it."""

    name: str
    before: float
    value: float
    told: bool


@dataclass(frozen=True)
class ServerCalibration:
    profile: Profile
    constants: tuple[Constant, ...]
    errors: Mapping[str, float]
    """By question: mean relative error of the fitted profile's answers."""
    left_out: tuple[str, ...]
    asked: tuple[str, ...]
    pool_told: bool


async def calibrate_server(
    connection: Connection, profile_name: str | None, seed: int, say: Callable[[str], None]
) -> ServerCalibration:
    """Asks the server at `connection`, for two minutes or less, and fits the profile of that name, or of its model.

    UsageError where no profile is known to start from; BackendError where the server fails or tells too little.
    """
    found = await probe(connection)
    base = start(profile_name, found.model)
    reach = replace(connection, model=found.model, honours=found.honours)
    if not found.honours.pinned_length or not found.honours.continuous_usage:
        raise BackendError(
            f"{connection.api_base}: does not keep to lengths or does not count tokens per chunk, so that its steps "
            "cannot be told apart; calibrate it from a run instead (`swarm run`, then `swarm calibrate RUN`)"
        )
    client = DirectClient(reach, Clock())
    try:
        answers = await Questions(client, found.max_model_len, seed, say).all()
    finally:
        await client.close()
    async with MetricsReader(reach) as reader:
        pool = await reader.pool_tokens()
    return fit_answers(_limited(base, pool, found.max_model_len), answers, connection.api_base, pool is not None)


def start(profile_name: str | None, model: str) -> Profile:
    """The profile to start from: the named one, or the packaged one that is called as the model is served."""
    try:
        return profiles.load(profile_name or model)
    except ValueError as error:
        hint = "--profile" if profile_name else f"no profile is called {model!r}: name one with --profile"
        raise UsageError(
            f"{hint}: {error}; `swarm profiles add` makes one of the model's config.json and a GPU"
        ) from None


def fit_answers(base: Profile, answers: Answers, where: str, pool_told: bool) -> ServerCalibration:
    """The profile that answers like the server. BackendError where the answers show no steady decoding."""
    if not answers.stretches or not answers.prefills:
        raise BackendError(f"{where}: no steady decoding was seen; is somebody else loading the server?")
    base, found, cost = _fitted(base, answers)
    if base.kv_cache_dtype != "fp8" and _moved(base, found.at).eta_kv >= AT_BOUND:
        # No cache of 16 bits is read that fast: perhaps it has 8.
        other, again, dearer = _fitted(_with_fp8_cache(base), answers)
        if dearer < cost:
            base, found = other, again
    profile = _moved(base, found.at)
    errors = _errors(profile, answers)
    constants = tuple(
        Constant(name, _value(base, name), _value(profile, name), spread < TOLD)
        for name, spread in zip(_parameters(base), found.spread, strict=True)
    )
    told = ", ".join(f"{one.name} {one.value:.3g}" for one in constants if one.told)
    decode_off = max(error for name, error in errors.items() if name.startswith("decode"))
    ttft_off = max(error for name, error in errors.items() if name.startswith("prefill"))
    calibrated = replace(
        profile,
        name=f"{base.name}-calibrated",
        decode_error=round(max(LEAST_ERROR["decode"], 2 * decode_off), 3),
        ttft_error=round(max(LEAST_ERROR["ttft"], 2 * ttft_off), 3),
        provenance=f"calibrated from {where}",
        note=f"measured: {told}; the rest from {base.name} ({base.provenance})",
    )
    return ServerCalibration(
        calibrated, constants, errors, tuple(answers.left_out), tuple(answers.asked), pool_told=pool_told
    )


def unknown(found: ServerCalibration) -> list[str]:
    """Sentences on all that two minutes cannot tell of this server: its profile has it from where it started."""
    untold = [MEANINGS[one.name] for one in found.constants if not one.told]
    lines = [f"{', '.join(untold)}: together they answer as the server does, apart they may not"] if untold else []
    lines += found.left_out
    if not found.pool_told:
        lines.append(f"the KV cache's size: no /metrics tells it; {found.profile.kv_tokens:,} tokens are taken")
    p = found.profile
    lines.append(
        f"limits of a step: no server tells them; {p.max_num_batched_tokens:,} tokens and {p.max_num_seqs:,} requests "
        "are taken (max_num_batched_tokens and max_num_seqs, in the profile or under `simulate:`)"
    )
    return lines


def _fitted(base: Profile, answers: Answers) -> tuple[Profile, Solution, float]:
    """The profile, its constants in spreads, and the sum of squares that they leave."""
    decode = _weighted([(stretch.level, stretch.context // stretch.decodes // 4000) for stretch in answers.stretches])
    wait = _weighted([round(math.log2(max(1, one.cold))) for one in answers.prefills])

    def residuals(z: Sequence[float]) -> list[float]:
        cost = CostModel(profile := _moved(base, z))
        steps = [
            weight * math.log(step(cost, one) / one.seconds) / NOISE["decode"]
            for weight, one in zip(decode, answers.stretches, strict=True)
        ]
        waits = [
            weight * math.log(ttft(cost, profile, one) / one.seconds) / NOISE["prefill"]
            for weight, one in zip(wait, answers.prefills, strict=True)
        ]
        return steps + waits

    found = solve(residuals, len(_parameters(base)))
    return base, found, sum(r * r for r in residuals(found.at)) + sum(z * z for z in found.at)


def _with_fp8_cache(base: Profile) -> Profile:
    """The pool keeps its tokens: a server tells them."""
    return replace(base, kv_bytes_per_token=base.kv_bytes_per_token // 2, kv_cache_dtype="fp8")


def _limited(base: Profile, pool: int | None, longest: int | None) -> Profile:
    """The profile with the server's own pool and limit, where it tells them."""
    changes: dict[str, Any] = {}
    if pool is not None and pool >= 2 * base.block_size:
        changes["kv_tokens"] = pool
    if longest is not None and longest > 0:
        changes["max_model_len"] = longest
    return replace(base, **changes)


def _parameters(base: Profile) -> dict[str, Callable[[float], float]]:
    """By name: the value at so many spreads from what is expected."""
    found: dict[str, Callable[[float], float]] = {}
    for name, spread in SPREADS.items():
        if name == "eta_experts" and not base.experts:
            continue
        expected = _value(base, name) or {"layer_overhead_us": 40.0, "api_overhead_s": 0.01}.get(name, 0.5)
        most = MOST_FLOPS if "flops" in name else 1.0 if name.startswith("eta_") else math.inf
        found[name] = _log(expected, spread, most)
    cpu = base.cpu_per_request_us
    found["cpu_per_request_us"] = lambda z: max(0.0, cpu + CPU_SPREAD_US * z)
    return found


def _log(expected: float, spread: float, most: float) -> Callable[[float], float]:
    return lambda z: min(most, expected * math.exp(spread * z))


def _value(profile: Profile, name: str) -> float:
    if name == "eta_flops":
        return profile.eta_flops_dense
    if name == "eta_flops_attention":
        return profile.eta_flops_attention or profile.eta_flops_dense
    return float(getattr(profile, name))


def _moved(base: Profile, z: Sequence[float]) -> Profile:
    parameters = _parameters(base)
    changes: dict[str, Any] = {name: value(at) for (name, value), at in zip(parameters.items(), z, strict=True)}
    flops = changes.pop("eta_flops")
    changes["eta_flops_dense"] = flops
    changes["eta_flops_experts"] = min(float(MOST_FLOPS), base.eta_flops_experts * flops / base.eta_flops_dense)
    changes["eta_lm_head_single"] = min(1.0, base.eta_lm_head_single * changes["eta_weights"] / base.eta_weights)
    return replace(base, **changes)


def _weighted(kinds: Sequence[Any]) -> list[float]:
    """So that many answers of one kind do not drown the few of another."""
    counts = Counter(kinds)
    return [min(1.0, (ENOUGH / counts[kind]) ** 0.5) for kind in kinds]


def _errors(profile: Profile, answers: Answers) -> dict[str, float]:
    cost = CostModel(profile)
    by_kind: dict[str, list[float]] = {}
    for stretch in answers.stretches:
        key = f"decode, {counted(stretch.level, 'stream')}"
        by_kind.setdefault(key, []).append(abs(step(cost, stretch) / stretch.seconds - 1))
    for one in answers.prefills:
        key = f"prefill of about {_about(one.cold)} tokens" + (", the rest cached" if one.cached else "")
        by_kind.setdefault(key, []).append(abs(ttft(cost, profile, one) / one.seconds - 1))
    return {key: fmean(found) for key, found in by_kind.items()}


def _about(tokens: int) -> str:
    """With one digit: 7,946 -> 8,000."""
    return f"{round(tokens, 1 - len(str(tokens))):,}"
