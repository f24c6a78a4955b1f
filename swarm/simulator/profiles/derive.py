"""From a model's `config.json` and a GPU's data sheet to a profile: sizes are counted, efficiencies are assumed.

    entry = derive(config, model="Qwen3-32B", gpu="rtx4090", quant="awq", tp=2)

The sizes follow from the shapes of the weight matrices. The efficiencies and overheads were fitted to published runs on
other machines (`efficiencies`), so the profile is `assumed` until it is calibrated.
"""

import re
from collections.abc import Mapping
from typing import Any

from swarm.simulator.models.layers import Mixer
from swarm.simulator.models.shape import Shape, shape
from swarm.simulator.models.weights import stored, weight_format
from swarm.simulator.profiles.data_files import gpus
from swarm.simulator.profiles.efficiencies import ENGINE, Machine, efficiencies

RUNTIME_BYTES = 1.78e9
"""Per GPU, for activations and CUDA graphs: what the published runs had left between weights and KV cache."""
HYBRID_SEQS = 64
"""Requests whose recurrent states are set aside, where a model has them; fewer where they took half of the room."""
KV_BYTES = {"auto": 2, "fp8": 1}
CAPTURE_SIZES = (1, 2, 4, *range(8, 257, 8))


def derive(
    config: Mapping[str, Any],
    *,
    model: str,
    gpu: str,
    quant: str | None = None,
    tp: int = 1,
    link: str | None = None,
    p2p: bool | None = None,
    engine: str = ENGINE,
    power_limit_w: float = 0.0,
    kv_cache_dtype: str = "auto",
    memory_utilization: float = 0.9,
    name: str | None = None,
    values: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """A profile's fields (`profiles.parse`). `memory_utilization` is vLLM's `--gpu-memory-utilization`.

    `quant` is a key of `weights.BYTES_PER_WEIGHT`; None: as the config says that it is stored. `kv_cache_dtype` is one
    of `KV_BYTES`; the machine's options are those of `efficiencies.Machine`; `values` goes before the constants of
    `efficiencies.json`. ValueError for an unknown one, for a config that is not modelled, and for a model that does
    not fit.
    """
    known = gpus()
    for what, value, among in (("GPU", gpu, known), ("KV cache dtype", kv_cache_dtype, KV_BYTES)):
        if value not in among:
            raise ValueError(f"unknown {what} {value!r}: there are {', '.join(among)}")
    if tp < 1 or not 0 < memory_utilization <= 1:
        raise ValueError("tp must be at least 1, and memory_utilization above 0 and at most 1")
    s, fmt = shape(config), weight_format(config, quant)
    weights = stored(s, fmt)
    kv = kv_fields(s, tp, 1 if fmt.fp8_kv else KV_BYTES[kv_cache_dtype])
    budget = tp * (memory_utilization * known[gpu]["memory_gib"] * 2**30 - RUNTIME_BYTES)
    machine = Machine(gpu=gpu, tp=tp, link=link, p2p=p2p, engine=engine, power_limit_w=power_limit_w)
    reached = efficiencies(
        machine,
        quant=fmt.name,
        moe=s.experts is not None,
        recurrent=1 - len(s.attention) / len(s.mixers),
        values=values,
    )
    seqs = HYBRID_SEQS if s.state_bytes else reached["max_num_seqs"]
    while s.state_bytes and seqs > 1 and seqs * s.state_bytes > (budget - weights.total) / 2:
        seqs //= 2
    kv_tokens = int(budget - weights.total - seqs * s.state_bytes) // kv["kv_bytes_per_token"]
    if kv_tokens < 32:
        raise ValueError(
            f"{model} in {fmt.name} does not fit on {tp} {gpu}: its weights take {weights.total / 2**30:.1f} GiB, and "
            f"{max(budget, 0) / 2**30:.1f} GiB are there for weights and KV cache; "
            f"{_enough(weights.total, budget / tp, tp)}, or quantize"
        )
    experts = s.experts
    return {
        "name": name or f"{_short(model)}-{fmt.name}-{tp}x{gpu}",
        "model": model,
        "gpu": gpu,
        "tp": tp,
        "weights_bytes": weights.total,
        "nonexpert_bytes": weights.always,
        "lm_head_bytes": 2 * s.hidden * s.vocab,
        "layers": len(s.mixers),
        "expert_layers": len(s.sparse),
        "state_bytes": s.state_bytes,
        "hidden_size": s.hidden,
        "experts": experts.experts if experts else 0,
        "topk": experts.topk if experts else 0,
        "expert_bytes": weights.expert,
        "expert_params": experts.expert_params if experts else 0,
        "active_linear_params": s.always_read_params + sum(one.topk * one.expert_params for one in s.sparse),
        **kv,
        "kv_tokens": kv_tokens,
        "block_size": 16,
        "max_model_len": s.max_context,
        "cuda_graphs": True,
        "capture_sizes": list(CAPTURE_SIZES),
        "kv_cache_dtype": "fp8" if fmt.fp8_kv else kv_cache_dtype,
        **reached,
        "max_num_seqs": seqs,
        "provenance": "assumed",
        "note": (
            f"sizes from config.json, data sheet of {gpu}; efficiencies and overheads as fitted to published runs; "
            f"KV cache at a memory utilization of {memory_utilization:g}"
            + (f", with the recurrent states of {seqs} requests set aside" if s.state_bytes else "")
        ),
    }


def _enough(weights: int, room_each: float, tp: int) -> str:
    """Advice on how many GPUs hold the weights and leave a tenth for the KV cache: a power of two, as engines want."""
    while room_each > 0 and tp <= 256:
        tp = 1 << tp.bit_length()
        if tp * room_each >= 1.1 * weights:
            return f"use {tp} of them (tp {tp})"
    return "use larger GPUs"


def _short(model: str) -> str:
    """A repository's name as part of a file's: without its owner, in small letters."""
    return re.sub(r"[^a-z0-9._-]+", "-", model.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-.") or "model"


def kv_fields(s: Shape, tp: int, number_bytes: int) -> dict[str, Any]:
    """A profile's fields of attention: what a token keeps, what is read of it, and the FLOPs of a query-key pair.

    Bytes are of all GPUs together. A GPU holds whole KV heads: where there are more GPUs than heads, each head is held
    and read by several; latent attention has one "head", which every GPU holds.
    """
    kept = windowed = selected = 0
    width = bounded_width = 0
    for mixer in s.attention:
        size = max(mixer.kv_heads, tp) * mixer.kv_per_head * number_bytes
        kept += size + tp * mixer.index_bytes
        windowed += size if mixer.window else 0
        selected += size if mixer.selected else 0
        bounded_width += mixer.attention_width if mixer.window or mixer.selected else 0
        width += mixer.index_width if mixer.selected else 0 if mixer.window else mixer.attention_width
    if not kept:
        raise ValueError("config.json: a model without attention layers is not modelled (layer_types)")
    most = _usual(s)
    return {
        "attention_layers": len(s.attention),
        "q_heads": s.q_heads,
        "kv_heads": s.kv_heads,
        "head_dim": most.attention_width // s.q_heads,
        "kv_bytes_per_token": kept,
        "window": s.window,
        "window_kv_bytes_per_token": windowed,
        "selected_kv_bytes_per_token": selected,
        "attention_width": width,
        "bounded_attention_width": bounded_width,
    }


def _usual(s: Shape) -> Mixer:
    """An attention layer that sees the whole context, if there is one."""
    return next((mixer for mixer in s.attention if not mixer.window), s.attention[0])
