"""From a model's `config.json` and a GPU's data sheet to a profile: sizes are counted, efficiencies are assumed.

    entry = derive(config, model="Qwen3-32B", gpu="rtx4090", quant="awq", tp=2)

The sizes follow from the shapes of the weight matrices. The efficiencies and overheads were fitted to published runs on
other machines (`efficiencies`), so the profile is `assumed` until it is calibrated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm.simulator.profiles.data_files import gpus
from swarm.simulator.profiles.efficiencies import ENGINE, Machine, efficiencies

BYTES_PER_WEIGHT = {"bf16": 2.0, "fp8": 1.0, "awq": 0.5195}
"""AWQ: 4 bits, and for each group of 128 weights a 16-bit scale and a 4-bit zero. Embedding, lm_head and router stay
16-bit in all of them."""
RUNTIME_BYTES = 1.78e9
"""Per GPU, for activations and CUDA graphs: what the published runs had left between weights and KV cache."""
HYBRID_SEQS = 64
"""Requests whose recurrent states are set aside, where a model has them; fewer where they took half of the room."""
KV_BYTES = {"auto": 2, "fp8": 1}
CONV_BYTES = 2
STATE_BYTES = 4
CAPTURE_SIZES = (1, 2, 4, *range(8, 257, 8))


@dataclass(frozen=True)
class Shape:
    """Dimensions of a model. Counts of parameters are per layer; norms and biases are left out."""

    hidden: int
    vocab: int
    tied: bool
    layers: int
    """Token mixers: attention, or what is in its place."""
    attention_layers: int
    q_heads: int
    kv_heads: int
    head_dim: int
    attention_params: int
    recurrent_params: int
    recurrent_state_bytes: int
    """State of one recurrent layer and request, in bytes."""
    dense_ffn_layers: int
    dense_ffn_params: int
    expert_layers: int
    experts: int
    topk: int
    expert_params: int
    shared_params: int
    max_context: int

    @property
    def mixer_params(self) -> int:
        """Parameters of the mixers of all layers."""
        recurrent = self.layers - self.attention_layers
        return self.attention_layers * self.attention_params + recurrent * self.recurrent_params

    @property
    def always_read_params(self) -> int:
        """Parameters read in every step, over all layers: without experts, router, embedding and lm_head."""
        ffn = self.dense_ffn_layers * self.dense_ffn_params + self.expert_layers * self.shared_params
        return self.mixer_params + ffn

    @property
    def router_params(self) -> int:
        return self.expert_layers * self.hidden * self.experts

    @property
    def params(self) -> int:
        """All of them, as a model's name counts them."""
        experts = self.expert_layers * self.experts * self.expert_params
        embeddings = self.hidden * self.vocab * (1 if self.tied else 2)
        return self.always_read_params + self.router_params + experts + embeddings


def shape(config: Mapping[str, Any]) -> Shape:
    """Shape that a `config.json` describes. ValueError for a key that is missing and for anything not modelled."""
    if not isinstance(config, Mapping):
        raise ValueError("expected a config.json: one object with the model's sizes")
    c = _Keys(config.get("text_config") or config)
    if c.get("kv_lora_rank"):
        raise ValueError("latent attention (kv_lora_rank) is not modelled")
    if "sliding_attention" in (c.get("layer_types") or ()):
        raise ValueError("sliding-window attention (layer_types) is not modelled")
    hidden, q_heads = c.count("hidden_size"), c.count("num_attention_heads")
    kv_heads = c.count("num_key_value_heads", q_heads)
    head_dim = c.count("head_dim", hidden // q_heads)
    mixers, attention_layers, ffn_layers = _layers(c)
    experts = c.first(("num_experts", "n_routed_experts", "num_local_experts"), 0)
    expert_layers = _expert_layers(c, ffn_layers) if experts else 0
    matrices = 2 if "relu2" in (c.get("mlp_hidden_act"), c.get("hidden_act")) else 3  # a gated FFN has three
    expert_width = c.first(("moe_intermediate_size", "intermediate_size")) if experts else 0
    recurrent_params, state = _recurrent(c, hidden) if attention_layers < mixers else (0, 0)
    gated = 2 if c.get("attn_output_gate") else 1
    return Shape(
        hidden=hidden,
        vocab=c.count("vocab_size"),
        tied=bool(c.get("tie_word_embeddings", False)),
        layers=mixers,
        attention_layers=attention_layers,
        q_heads=q_heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        attention_params=hidden * head_dim * (q_heads * (gated + 1) + 2 * kv_heads),
        recurrent_params=recurrent_params,
        recurrent_state_bytes=state,
        dense_ffn_layers=ffn_layers - expert_layers,
        dense_ffn_params=matrices * hidden * c.count("intermediate_size") if ffn_layers > expert_layers else 0,
        expert_layers=expert_layers,
        experts=experts,
        topk=c.count("num_experts_per_tok") if experts else 0,
        expert_params=matrices * hidden * expert_width,
        shared_params=matrices * hidden * _shared_width(c, expert_width),
        max_context=c.count("max_position_embeddings"),
    )


def _layers(c: "_Keys") -> tuple[int, int, int]:
    """Token mixers, those of them with full attention, and FFNs."""
    layers = c.count("num_hidden_layers")
    if pattern := c.get("hybrid_override_pattern"):  # Nemotron-H: each letter is a mixer or an FFN, not both
        return pattern.count("M") + pattern.count("*"), pattern.count("*"), pattern.count("E") + pattern.count("-")
    if types := c.get("layer_types"):
        return layers, list(types).count("full_attention"), layers
    return layers, layers // c.count("full_attention_interval", 1), layers


def _expert_layers(c: "_Keys", ffn_layers: int) -> int:
    if pattern := c.get("hybrid_override_pattern"):
        return int(pattern.count("E"))
    dense = c.get("first_k_dense_replace", 0) + len(c.get("mlp_only_layers") or ())
    return (ffn_layers - int(dense)) // c.count("decoder_sparse_step", 1)


def _shared_width(c: "_Keys", expert_width: int) -> int:
    width = c.first(("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"), 0)
    return width or int(c.get("n_shared_experts", 0) or 0) * expert_width


def _recurrent(c: "_Keys", hidden: int) -> tuple[int, int]:
    """Parameters of a recurrent layer, and bytes of its state: Mamba-2, or a gated delta net."""
    if c.get("mamba_num_heads"):
        inner = c.count("mamba_num_heads") * c.count("mamba_head_dim")
        conv = inner + 2 * c.count("n_groups") * c.count("ssm_state_size")
        state = inner * c.count("ssm_state_size")
        params = hidden * (inner + conv + c.count("mamba_num_heads")) + inner * hidden
        kernel = c.count("conv_kernel")
    else:
        keys = c.count("linear_num_key_heads") * c.count("linear_key_head_dim")
        values = c.count("linear_num_value_heads") * c.count("linear_value_head_dim")
        conv = 2 * keys + values
        state = values * c.count("linear_key_head_dim")
        params = hidden * (conv + values + 2 * c.count("linear_num_value_heads")) + values * hidden
        kernel = c.count("linear_conv_kernel_dim")
    return params, state * STATE_BYTES + conv * (kernel - 1) * CONV_BYTES


def derive(
    config: Mapping[str, Any],
    *,
    model: str,
    gpu: str,
    quant: str = "bf16",
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

    `quant` is a key of `BYTES_PER_WEIGHT`, `kv_cache_dtype` of `KV_BYTES`; the machine's options are those of
    `efficiencies.Machine`; `values` goes before the constants of `efficiencies.json`. ValueError for an unknown one,
    for a config that is not modelled, and for a model that does not fit.
    """
    known = gpus()
    for what, value, among in (
        ("quantization", quant, BYTES_PER_WEIGHT),
        ("GPU", gpu, known),
        ("KV cache dtype", kv_cache_dtype, KV_BYTES),
    ):
        if value not in among:
            raise ValueError(f"unknown {what} {value!r}: there are {', '.join(among)}")
    if tp < 1 or not 0 < memory_utilization <= 1:
        raise ValueError("tp must be at least 1, and memory_utilization above 0 and at most 1")
    s, size = shape(config), BYTES_PER_WEIGHT[quant]
    lm_head = s.hidden * s.vocab * 2
    nonexpert = round(s.always_read_params * size) + 2 * s.router_params
    expert = round(s.expert_params * size)
    weights = nonexpert + s.expert_layers * s.experts * expert + lm_head * (1 if s.tied else 2)
    # A GPU holds whole KV heads: where there are more GPUs than heads, each head is held and read by several.
    kv_heads = max(s.kv_heads, tp)
    kv_per_token = 2 * s.attention_layers * kv_heads * s.head_dim * KV_BYTES[kv_cache_dtype]
    state = (s.layers - s.attention_layers) * s.recurrent_state_bytes
    budget = tp * (memory_utilization * known[gpu]["memory_gib"] * 2**30 - RUNTIME_BYTES)
    machine = Machine(gpu=gpu, tp=tp, link=link, p2p=p2p, engine=engine, power_limit_w=power_limit_w)
    reached = efficiencies(machine, quant=quant, moe=bool(s.experts), values=values)
    seqs = HYBRID_SEQS if state else reached["max_num_seqs"]
    while state and seqs > 1 and seqs * state > (budget - weights) / 2:
        seqs //= 2
    kv_tokens = int(budget - weights - seqs * state) // kv_per_token
    if kv_tokens < 32:
        raise ValueError(
            f"{model} in {quant} does not fit on {tp} {gpu}: its weights take {weights / 2**30:.1f} GiB, and "
            f"{budget / 2**30:.1f} GiB are there for weights and KV cache; raise tp, or quantize"
        )
    return {
        "name": name or f"{model.rsplit('/')[-1].lower()}-{quant}-{tp}x{gpu}",
        "model": model,
        "gpu": gpu,
        "tp": tp,
        "weights_bytes": weights,
        "nonexpert_bytes": nonexpert,
        "lm_head_bytes": lm_head,
        "layers": s.layers,
        "attention_layers": s.attention_layers,
        "expert_layers": s.expert_layers,
        "state_bytes": state,
        "hidden_size": s.hidden,
        "q_heads": s.q_heads,
        "kv_heads": s.kv_heads,
        "head_dim": s.head_dim,
        "experts": s.experts,
        "topk": s.topk,
        "expert_bytes": expert,
        "expert_params": s.expert_params,
        "active_linear_params": s.always_read_params + s.expert_layers * s.topk * s.expert_params,
        "kv_bytes_per_token": kv_per_token,
        "kv_tokens": kv_tokens,
        "block_size": 16,
        "max_model_len": s.max_context,
        "cuda_graphs": True,
        "capture_sizes": list(CAPTURE_SIZES),
        "kv_cache_dtype": kv_cache_dtype,
        **reached,
        "max_num_seqs": seqs,
        "provenance": "assumed",
        "note": (
            f"sizes from config.json, data sheet of {gpu}; efficiencies and overheads as fitted to published runs; "
            f"KV cache at a memory utilization of {memory_utilization:g}"
            + (f", with the recurrent states of {seqs} requests set aside" if state else "")
        ),
    }


class _Keys:
    """A config's values, checked as they are taken."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def get(self, key: str, default: Any = None) -> Any:
        return self._config.get(key, default)

    def count(self, key: str, default: int | None = None) -> int:
        return self.first((key,), default)

    def first(self, keys: tuple[str, ...], default: int | None = None) -> int:
        """The whole number at the first of `keys` that is there."""
        for key in keys:
            value = self._config.get(key)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"config.json: {key} must be a whole number, not {value!r}")
            return value
        if default is None:
            raise ValueError(f"config.json: missing {' or '.join(keys)}")
        return default
