"""The token mixers of a model, from its config: attention with or without a window, latent, and recurrences."""

from collections.abc import Iterator

from swarm.simulator.models import recurrences
from swarm.simulator.models.config import Config
from swarm.simulator.models.layers import Mixer

INDEX_BYTES = 4
"""Size of an index key's scale; the key itself is FP8 (vLLM's indexer cache)."""

_KINDS = {
    "full_attention": "full",
    "attention": "full",
    "indexed_attention": "full",
    "sliding_attention": "window",
    "chunked_attention": "window",
    "linear_attention": "delta",
    "mamba": "mamba",
    "mamba2": "mamba",
    "conv": "conv",
}
_WINDOW_ON_ALL_LAYERS = frozenset({"mistral", "ministral", "ministral3", "mixtral", "starcoder2", "phi3", "phimoe"})
_GATED_BY_DEFAULT = frozenset({"afmoe"})


def mixers(c: Config) -> list[Mixer]:
    """The mixer of each layer, in order. ValueError for a key that is missing, impossible or not modelled."""
    kinds = layer_kinds(c)
    built: dict[tuple[str, int, bool], Mixer] = {}
    indexed = _indexed(c, len(kinds))
    heads = c.counts("num_attention_heads_per_layer") or [c.count("num_attention_heads")] * len(kinds)
    if len(heads) != len(kinds):
        raise ValueError(f"config.json: num_attention_heads_per_layer has {len(heads)} entries for {len(kinds)} layers")
    if not all(heads):
        raise ValueError("config.json: num_attention_heads must be above 0")
    c.skip("num_attention_heads", "num_key_value_heads", "head_dim", "conv_L_cache")  # of layers that there may not be
    if "window" in kinds and not c.first(("sliding_window", "sliding_window_size", "attention_chunk_size"), 0):
        raise ValueError(
            "config.json: missing sliding_window or attention_chunk_size, of the layers that have a window"
        )
    layers = list(zip(kinds, heads, indexed, strict=True))
    for layer in layers:
        if layer not in built:
            built[layer] = _mixer(c, *layer)
    return [built[layer] for layer in layers]


def _indexed(c: Config, layers: int) -> list[bool]:
    """Which layers have an index of their own, where there is sparse attention; the others use the one before."""
    pattern, types = c.get("index_topk_pattern"), c.words("indexer_types")
    every, offset = c.count("index_topk_freq", 1), c.count("index_skip_topk_offset", 2)
    marks = list(pattern) if isinstance(pattern, str) else types
    if marks and len(marks) < layers:
        raise ValueError(f"config.json: indexer_types has {len(marks)} entries for {layers} layers")
    if marks:
        return [mark in ("F", "full") for mark in marks[:layers]]
    return [max(at - offset + 1, 0) % max(every, 1) == 0 for at in range(layers)]


def layer_kinds(c: Config) -> list[str]:
    """`full`, `window`, `delta`, `mamba` or `conv` for each mixer, in order."""
    blocks = c.words("layers_block_type")
    layers = c.first(("num_hidden_layers", "n_layers", "num_layers"), len(blocks) or None)
    if not 0 < layers <= 1024:
        raise ValueError(f"config.json: num_hidden_layers must be 1 to 1024, not {layers}")
    pattern = c.get("hybrid_override_pattern")  # Nemotron-H: each letter is a mixer or an FFN, not both
    if pattern:
        return [{"M": "mamba", "*": "full"}[letter] for letter in _letters(pattern) if letter in "M*"]
    if blocks and set(blocks) & {"moe", "mlp"}:
        _known_blocks(blocks)
        return [_KINDS[block] for block in blocks if block not in ("moe", "mlp")]
    if c.get("use_cla"):  # Hunyuan-Large
        raise ValueError("config.json: use_cla (layers that share keys and values) is not modelled")
    if c.get("mamba_d_ssm"):  # Falcon-H1
        raise ValueError("config.json: mamba_d_ssm (attention and Mamba in the same layer) is not modelled")
    return list(_kinds(c, layers, blocks))


def _letters(pattern: object) -> str:
    if not isinstance(pattern, str) or set(pattern) - set("M*E-"):
        raise ValueError("config.json: hybrid_override_pattern must be made of M, *, E and -")
    return pattern


def _known_blocks(blocks: list[str]) -> None:
    for block in blocks:
        if block not in _KINDS and block not in ("moe", "mlp"):
            raise ValueError(f"config.json: layers_block_type has {block!r}, which is not modelled")


def _kinds(c: Config, layers: int, blocks: list[str]) -> Iterator[str]:
    types = c.words("layer_types") or blocks
    if types:
        c.skip_starting("mamba_", "linear_", "ssm_")  # of kinds of layers that it may not have
    c.skip("full_attention_interval", "attn_layer_period", "attn_layer_offset", "sliding_window_pattern")
    c.skip("_sliding_window_pattern", "layer_switch", "global_attn_every_n_layers", "no_rope_layer_interval")
    c.skip("max_window_layers", "use_sliding_window", "sliding_window", "attention_chunk_size", "hybrid_layer_pattern")
    if types:
        if len(types) < layers:
            raise ValueError(f"config.json: layer_types has {len(types)} entries for {layers} layers")
        for name in types[:layers]:
            if name not in _KINDS:
                raise ValueError(f"config.json: layer_types has {name!r}, which is not modelled")
            yield _KINDS[name]
        return
    yield from _from_intervals(c, layers)


def _from_intervals(c: Config, layers: int) -> Iterator[str]:
    linear = c.get("linear_attn_config")
    if linear is not None:
        full = linear.get("full_attn_layers") if isinstance(linear, dict) else None
        if not isinstance(full, list) or not all(type(at) is int for at in full):
            raise ValueError("config.json: linear_attn_config must list its full_attn_layers")
        yield from ("full" if at + 1 in full else "delta" for at in range(layers))
    elif c.counts("attn_layer_indices"):
        yield from ("full" if at in c.counts("attn_layer_indices") else "mamba" for at in range(layers))
    elif c.counts("full_attn_idxs"):
        yield from ("full" if at in c.counts("full_attn_idxs") else "conv" for at in range(layers))
    elif period := c.count("attn_layer_period", 0):
        offset = c.count("attn_layer_offset", 0)
        yield from ("full" if at % period == offset else "mamba" for at in range(layers))
    elif c.get("mamba_d_state") or c.get("mamba_num_heads"):
        raise ValueError("config.json: missing layer_types, which says where its Mamba layers are")
    elif (interval := c.count("full_attention_interval", 1)) > 1:
        yield from ("full" if (at + 1) % interval == 0 else "delta" for at in range(layers))
    else:
        yield from ("window" if windowed else "full" for windowed in _windowed(c, layers))


def _windowed(c: Config, layers: int) -> list[bool]:
    """Which layers have a window, where no list of layer types says so."""
    pattern = c.get("hybrid_layer_pattern")
    if pattern is not None:
        flags = c.counts("hybrid_layer_pattern")
        if len(flags) != layers:
            raise ValueError(f"config.json: hybrid_layer_pattern has {len(flags)} entries for {layers} layers")
        return [bool(flag) for flag in flags]
    if 0 in c.counts("attn_type_list"):
        raise ValueError("config.json: attn_type_list has linear attention (0), which is not modelled")
    if not _window(c):
        return [False] * layers
    if c.get("attention_chunk_size"):
        rope = c.counts("no_rope_layers")  # of the layers with rotary positions (1) are the chunks
        interval = c.count("no_rope_layer_interval", 4)
        return [bool(rope[at]) if len(rope) == layers else (at + 1) % interval != 0 for at in range(layers)]
    every = next(
        (c.get(key) for key in ("sliding_window_pattern", "_sliding_window_pattern", "layer_switch") if c.get(key)),
        None,
    ) or c.get("global_attn_every_n_layers")
    if isinstance(every, str):
        if not every or set(every) - set("LG"):
            raise ValueError("config.json: sliding_window_pattern must be a number, or made of L and G")
        return [every[at % len(every)] == "L" for at in range(layers)]
    if every is not None:
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(f"config.json: sliding_window_pattern must be a whole number above 0, not {every!r}")
        return [(at + 1) % every != 0 for at in range(layers)]
    if c.get("max_window_layers") is not None or c.has("use_sliding_window"):
        first = c.count("max_window_layers", 0)
        return [at >= first for at in range(layers)]
    if c.model_type and c.model_type not in _WINDOW_ON_ALL_LAYERS:
        raise ValueError(
            f"config.json: sliding_window without layer_types: which layers of a {c.model_type} have it is not known"
        )
    return [True] * layers


def _window(c: Config) -> int:
    """Tokens; 0 where there is none, it is switched off, or no context is as long."""
    window = c.first(("sliding_window", "sliding_window_size", "attention_chunk_size"), 0)
    switch = c.get("use_sliding_window")
    if switch is None and c.get("max_window_layers") is not None:
        switch = False  # Qwen's default
    limit = c.first(("max_position_embeddings", "model_max_length", "seq_length", "max_seq_len"), 0)
    return 0 if switch is False or (limit and window >= limit) else window


def _mixer(c: Config, kind: str, q_heads: int, indexed: bool) -> Mixer:
    if kind == "delta":
        return recurrences.linear_attention(c)
    if kind == "mamba":
        return recurrences.mamba1(c) if c.get("mamba_dt_rank") is not None else recurrences.mamba2(c)
    if kind == "conv":
        return recurrences.short_conv(c)
    return _latent(c, q_heads, indexed) if c.get("kv_lora_rank") else _attention(c, q_heads, kind == "window")


def _attention(c: Config, q_heads: int, windowed: bool) -> Mixer:
    hidden, kv_heads = c.count("hidden_size"), c.first(("num_key_value_heads", "num_attention_groups"), q_heads)
    if not kv_heads:
        kv_heads = q_heads
    head_dim = c.first(("head_dim", "attention_head_dim"), 0) or hidden // max(c.count("num_attention_heads"), 1)
    v_dim = c.count("v_head_dim", head_dim)
    shared_kv = False
    # Some models have other heads in the layers without a window (Gemma 4), others in those with one (MiMo, Step).
    wide = (c.count("global_head_dim", 0), c.count("num_global_key_value_heads", 0), c.get("attention_k_eq_v", False))
    narrow = [
        c.count(f"swa_{key}", 0) for key in ("num_attention_heads", "num_key_value_heads", "head_dim", "v_head_dim")
    ]
    sliding = _sliding_setting(c)
    if windowed:
        q_heads, kv_heads = narrow[0] or sliding[0] or q_heads, narrow[1] or sliding[1] or kv_heads
        head_dim, v_dim = narrow[2] or head_dim, narrow[3] or v_dim
    elif wide[0] or wide[1] or wide[2]:
        head_dim = v_dim = wide[0] or head_dim
        kv_heads = wide[1] or kv_heads
        shared_kv = bool(wide[2])
    if q_heads < 1 or head_dim < 1:
        raise ValueError("config.json: num_attention_heads and head_dim must be above 0")
    matrices = {
        "self_attn.q_proj": hidden * q_heads * head_dim,
        "self_attn.k_proj": hidden * kv_heads * head_dim,
        "self_attn.v_proj": 0 if shared_kv else hidden * kv_heads * v_dim,
        "self_attn.o_proj": hidden * q_heads * v_dim,
    } | _gate(c, hidden, q_heads, v_dim)
    return Mixer(
        matrices=matrices,
        q_heads=q_heads,
        kv_heads=kv_heads,
        kv_per_head=head_dim + v_dim,
        attention_width=q_heads * (head_dim + v_dim) // 2,
        window=_window(c) if windowed else 0,
    )


def _sliding_setting(c: Config) -> tuple[int, int]:
    """Query and KV heads of the layers with a window (Step), 0 where they are as those of the others."""
    other = c.get("attention_other_setting")
    if not other:
        return c.count("num_sliding_attention_heads", 0), 0
    if not isinstance(other, dict) or other.get("attention_type") != "sliding_attention":
        raise ValueError("config.json: attention_other_setting is modelled for sliding_attention only")
    heads, groups = other.get("num_attention_heads"), other.get("num_attention_groups")
    if type(heads) is not int or type(groups) is not int:
        raise ValueError("config.json: attention_other_setting must have num_attention_heads and num_attention_groups")
    return heads, groups


def _gate(c: Config, hidden: int, q_heads: int, v_dim: int) -> dict[str, int]:
    """A gate on the output: as wide as the output, or one number a head."""
    gating = c.get("gating")
    if gating in (True, "per-head") or c.flag("use_head_wise_attn_gate"):
        return {"self_attn.g_proj": hidden * q_heads}
    if c.flag("attn_output_gate") or gating or c.model_type in _GATED_BY_DEFAULT:
        return {"self_attn.g_proj": hidden * q_heads * v_dim}
    return {}


def _latent(c: Config, q_heads: int, indexed: bool) -> Mixer:
    """Multi-head latent attention (arXiv:2405.04434): a token keeps one vector for all heads, and a shared rotary key.

    With an index (DeepSeek-V3.2's sparse attention), a query attends to `index_topk` tokens, and keeps all.
    """
    hidden, latent, q_rank = c.count("hidden_size"), c.count("kv_lora_rank"), c.count("q_lora_rank", 0)
    rope, nope, value = c.count("qk_rope_head_dim"), c.count("qk_nope_head_dim"), c.count("v_head_dim")
    c.skip("num_key_value_heads", "head_dim", "qk_head_dim")
    matrices = {
        "self_attn.q_a_proj": hidden * q_rank,
        "self_attn.q_b_proj": (q_rank or hidden) * q_heads * (nope + rope),
        "self_attn.kv_a_proj_with_mqa": hidden * (latent + rope),
        "self_attn.kv_b_proj": latent * q_heads * (nope + value),
        "self_attn.o_proj": q_heads * value * hidden,
    }
    selected, index_heads, index_dim = (c.count(f"index_{key}", 0) for key in ("topk", "n_heads", "head_dim"))
    if not (selected and indexed):
        index_heads = index_dim = 0
    else:
        matrices["self_attn.indexer"] = (q_rank or hidden) * index_heads * index_dim + hidden * (
            index_dim + index_heads
        )
    return Mixer(
        matrices=matrices,
        q_heads=q_heads,
        kv_heads=1,
        kv_per_head=latent + rope,
        attention_width=q_heads * (nope + rope + value) // 2,
        selected=selected,
        index_bytes=index_dim + INDEX_BYTES if index_dim else 0,
        index_width=index_heads * index_dim // 2,
    )
