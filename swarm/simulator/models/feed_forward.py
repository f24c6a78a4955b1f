"""The feed-forward networks of a model, from its config: dense, or experts, and which layer has which."""

from swarm.simulator.models.config import Config
from swarm.simulator.models.layers import FeedForward

EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
TOPK = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "moe_k",
    "moe_topk",
    "moe_top_k",
    "top_k_experts",
)
_SHARED_WIDTHS = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "share_expert_dim",
    "shared_intermediate_size",
)
_SHARED_NUMBERS = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
_UNGATED = frozenset(
    {"starcoder2", "biogpt", "gpt_neox", "gptj", "gpt_bigcode", "phi", "falcon", "nemotron", "apertus", "arcee"}
)
"""Model types whose networks have two matrices; the others have a third one, the gate."""


def feed_forwards(c: Config, layers: int) -> list[FeedForward]:
    """The network of each of `layers` layers, in order. ValueError for what is missing, impossible or not modelled."""
    pattern, blocks = c.get("hybrid_override_pattern"), c.words("layers_block_type")
    experts = _number(c, EXPERTS)
    c.skip("intermediate_size", "mlp_hidden_act", "moe_intermediate_size", *TOPK)  # of networks that there may not be
    c.skip("decoder_sparse_step", "mlp_only_layers", "mlp_layer_types", "first_k_dense_replace", "moe_layer_freq")
    if not experts:
        c.skip(*_SHARED_WIDTHS, *_SHARED_NUMBERS, "expert_layer_period", "expert_layer_offset", "moe_layer_start_index")
    dense = {True: _sparse(c, experts) if experts else None, False: None}
    if pattern or set(blocks) & {"moe", "mlp"}:
        marks = str(pattern) if pattern else "".join({"moe": "E", "mlp": "-"}.get(block, "") for block in blocks)
        sparse = [mark == "E" for mark in marks if mark in "E-"]
    else:
        sparse = _sparse_layers(c, layers) if experts else [False] * layers
    if any(sparse) and dense[True] is None:
        raise ValueError(f"config.json: missing {' or '.join(EXPERTS)}")
    if not all(sparse):
        dense[False] = FeedForward(_matrices(c, "mlp", _dense_width(c, bool(experts))))
    return [found for found in (dense[is_sparse] for is_sparse in sparse) if found is not None]


def _number(c: Config, keys: tuple[str, ...]) -> int:
    """A count that some models give for each layer; 0 where it is absent. All layers must have the same one."""
    found = 0
    for key in keys:
        value = c.get(key)
        if isinstance(value, list) and value:
            if len(set(map(repr, value))) > 1:
                raise ValueError(f"config.json: {key} differs between layers, which is not modelled")
            value = value[0]
            if type(value) is not int:
                raise ValueError(f"config.json: {key} must be a whole number, not {value!r:.60}")
        elif value is not None:
            value = c.count(key)
        found = found or value or 0
    return 0 if found == 1 and keys is EXPERTS else found


def _matrices(c: Config, name: str, width: int) -> dict[str, int]:
    size = c.count("hidden_size") * width
    squared = "relu2" in (c.get("mlp_hidden_act"), c.get("hidden_act")) and c.model_type != "bitnet"
    gated = not squared and c.model_type not in _UNGATED
    gate = {f"{name}.gate_proj": size} if gated else {}
    return gate | {f"{name}.up_proj": size, f"{name}.down_proj": size}


def _dense_width(c: Config, has_experts: bool) -> int:
    if width := c.count("intermediate_size_mlp", 0):
        return width
    if not has_experts and (width := c.count("shared_intermediate_size", 0)):
        return width  # Granite 4 without experts
    width = c.first(("intermediate_size", "ffn_hidden_size", "ffn_dim"))
    if c.get("block_auto_adjust_ff_dim"):  # LFM2: two thirds of it, rounded up
        multiple, factor = c.count("block_multiple_of", 256) or 1, c.get("block_ffn_dim_multiplier", 1.0)
        if not isinstance(factor, int | float) or not 0 < factor < 100:
            raise ValueError(f"config.json: block_ffn_dim_multiplier must be a number above 0, not {factor!r:.60}")
        width = -(-int(2 * width / 3 * factor) // multiple) * multiple
    return width


def _sparse(c: Config, experts: int) -> FeedForward:
    hidden, topk = c.count("hidden_size"), _number(c, TOPK)
    if not 0 < topk <= experts:
        raise ValueError(
            f"config.json: {' or '.join(TOPK[:1])} must be 1 to the number of experts ({experts}), not {topk}"
        )
    width = _number(c, ("moe_intermediate_size", "expert_ffn_hidden_size")) or c.count("intermediate_size")
    latent = c.count("moe_latent_size", 0)
    expert = _matrices(c, "mlp.experts", width)
    always = _matrices(c, "mlp.shared_experts", _shared_width(c, width))
    if latent:  # Nemotron 3 Super: experts work in a narrower space, and two matrices lead into it and out
        expert = {name: size // hidden * latent for name, size in expert.items()}
        always |= {"mlp.latent": 2 * hidden * latent}
    if c.flag("enable_moe_block"):  # Gemma 4: a dense network beside the experts
        always |= _matrices(c, "mlp", c.count("intermediate_size"))
    return FeedForward(always, router=hidden * experts, experts=experts, topk=topk, expert=expert)


def _shared_width(c: Config, expert_width: int) -> int:
    """All shared experts of a layer together."""
    width, number = c.first(_SHARED_WIDTHS, 0), _number(c, _SHARED_NUMBERS)
    if width:
        # Nemotron's and Step's width is of all of them; Ling names one expert's.
        return width * (number if c.model_type.startswith("bailing") and number else 1)
    if c.get("intermediate_size_mlp") is not None:  # Llama 4: one, which the config does not mention
        return expert_width
    return number * expert_width


def _sparse_layers(c: Config, layers: int) -> list[bool]:
    """Which layers have experts. Every way in which configs say so has to agree on a number of layers."""
    kinds = c.words("mlp_layer_types")
    if kinds:
        if len(kinds) < layers or set(kinds) - {"dense", "sparse"}:
            raise ValueError(f"config.json: mlp_layer_types must say dense or sparse for each of {layers} layers")
        c.skip("first_k_dense_replace", "moe_layer_freq", "moe_layers_enum", "num_dense_layers")
        return [kind == "sparse" for kind in kinds[:layers]]
    if flags := c.get("is_moe_layer"):
        if not isinstance(flags, list) or len(flags) < layers:
            raise ValueError(f"config.json: is_moe_layer must say for each of {layers} layers whether it has experts")
        c.skip("first_k_dense_replace")
        return [bool(flag) for flag in flags[:layers]]
    enumerated = _enumerated(c)
    if enumerated is not None:
        return [at in enumerated for at in range(layers)]
    return _by_interval(c, layers)


def _enumerated(c: Config) -> set[int] | None:
    """Layers that a config lists: Llama 4 and Step."""
    text = c.get("moe_layers_enum")
    if text:
        c.skip("first_k_dense_replace", "moe_every_n_layer")
        try:
            return {int(at) for at in text.split(",")} if isinstance(text, str) else set(c.counts("moe_layers_enum"))
        except ValueError:
            raise ValueError("config.json: moe_layers_enum must list layers, such as 3,4,5") from None
    listed = set(c.counts("moe_layers"))
    if listed:
        c.skip("interleave_moe_layer_step")
    return listed or None


def _by_interval(c: Config, layers: int) -> list[bool]:
    first = c.first(("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"), 0)
    last = _last(c, layers)
    frequency = c.get("moe_layer_freq")
    if isinstance(frequency, list):
        flags = c.counts("moe_layer_freq")
        if len(flags) < layers:
            raise ValueError(f"config.json: moe_layer_freq has {len(flags)} entries for {layers} layers")
        return [bool(flag) for flag in flags[:layers]]
    dense = set(c.counts("mlp_only_layers"))
    period, offset = c.count("expert_layer_period", 1), c.count("expert_layer_offset", 0)
    # `interval`: the last layer of each group has experts; `moe_layer_freq` counts from layer 0.
    interval = c.first(("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval"), 1)
    freq = c.count("moe_layer_freq", 1)
    if not (period and interval and freq):
        return [False] * layers
    return [
        first <= at <= last
        and at not in dense
        and at % period == offset % period
        and (at + 1) % interval == 0
        and at % freq == 0
        for at in range(layers)
    ]


def _last(c: Config, layers: int) -> int:
    end = c.get("moe_layer_end_index", -1)
    if type(end) is not int:
        raise ValueError(f"config.json: moe_layer_end_index must be a whole number, not {end!r:.60}")
    return layers - 1 if end < 0 else end
