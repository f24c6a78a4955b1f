"""Recurrences in the place of attention, from a model's config: delta nets, Mamba, short convolutions."""

from swarm.simulator.models.config import Config
from swarm.simulator.models.layers import Mixer

STATE_BYTES = 4
CONV_BYTES = 2


def linear_attention(c: Config) -> Mixer:
    """The recurrence that `linear_attention` stands for: newer configs call Mamba layers so, too."""
    if c.get("linear_attn_config") is not None or c.get("linear_num_heads") is not None:
        return _kimi_delta(c)
    if c.get("linear_num_key_heads") is not None:
        return _delta_net(c)
    if c.get("mamba_n_heads") is not None or c.get("mamba_num_heads") is not None:
        return mamba2(c)
    raise ValueError(f"config.json: layer_types has linear_attention of a kind that is not modelled ({c.model_type})")


def _delta_net(c: Config) -> Mixer:
    """A gated delta net (Qwen3-Next, Qwen3.5)."""
    hidden = c.count("hidden_size")
    keys = c.count("linear_num_key_heads") * c.count("linear_key_head_dim")
    values = c.count("linear_num_value_heads") * c.count("linear_value_head_dim")
    conv = 2 * keys + values
    return _recurrence(
        {
            "linear_attn.in_proj_qkvz": hidden * (conv + values),
            "linear_attn.in_proj_ba": hidden * 2 * c.count("linear_num_value_heads"),
            "linear_attn.out_proj": values * hidden,
        },
        numbers=values * c.count("linear_key_head_dim"),
        conv=conv,
        kernel=c.count("linear_conv_kernel_dim"),
    )


def _kimi_delta(c: Config) -> Mixer:
    """Kimi delta attention (arXiv:2510.26692): as a delta net, with low-rank gates of one head's width."""
    linear = c.get("linear_attn_config")
    if linear is not None:
        part = Config(linear)
        heads, dim, kernel = (part.count(key) for key in ("num_heads", "head_dim", "short_conv_kernel_size"))
    else:
        heads, dim, kernel = (c.count(f"linear_{key}") for key in ("num_heads", "head_dim", "conv_kernel_dim"))
    hidden = c.count("hidden_size")
    width = heads * dim
    return _recurrence(
        {
            "self_attn.q_proj": hidden * width,
            "self_attn.k_proj": hidden * width,
            "self_attn.v_proj": hidden * width,
            "self_attn.b_proj": hidden * heads,
            "self_attn.f_proj": hidden * dim + dim * width,
            "self_attn.g_proj": hidden * dim + dim * width,
            "self_attn.o_proj": width * hidden,
        },
        numbers=width * dim,
        conv=3 * width,
        kernel=kernel,
    )


def mamba2(c: Config) -> Mixer:
    """Mamba-2, in the words of Nemotron-H, or of Bamba and Granite 4."""
    hidden = c.count("hidden_size")
    heads, dim = c.first(("mamba_num_heads", "mamba_n_heads")), c.first(("mamba_head_dim", "mamba_d_head"), 0)
    expand = c.first(("mamba_expand", "expand"), 2)
    if not heads:
        raise ValueError("config.json: mamba_num_heads or mamba_n_heads must be above 0")
    inner = heads * (dim or hidden * expand // heads)
    states = c.first(("ssm_state_size", "mamba_d_state"))
    conv = inner + 2 * c.first(("n_groups", "mamba_n_groups")) * states
    return _recurrence(
        {"mixer.in_proj": hidden * (inner + conv + heads), "mixer.out_proj": inner * hidden},
        numbers=inner * states,
        conv=conv,
        kernel=c.first(("conv_kernel", "mamba_d_conv")),
    )


def mamba1(c: Config) -> Mixer:
    """Mamba (Jamba)."""
    hidden, states, rank = c.count("hidden_size"), c.count("mamba_d_state", 16), c.get("mamba_dt_rank")
    rank = -(-hidden // 16) if rank == "auto" else c.count("mamba_dt_rank")
    inner = hidden * c.count("mamba_expand", 2)
    matrices = {
        "mamba.in_proj": hidden * 2 * inner,
        "mamba.x_proj": inner * (rank + 2 * states),
        "mamba.dt_proj": rank * inner,
        "mamba.out_proj": inner * hidden,
        "mamba.A_log": inner * states,
    }
    return _recurrence(matrices, numbers=inner * states, conv=inner, kernel=c.count("mamba_d_conv", 4))


def short_conv(c: Config) -> Mixer:
    """A gated short convolution (LFM2)."""
    hidden = c.count("hidden_size")
    matrices = {"conv.in_proj": 3 * hidden * hidden, "conv.out_proj": hidden * hidden}
    return _recurrence(matrices, numbers=0, conv=hidden, kernel=c.count("conv_L_cache"))


def _recurrence(matrices: dict[str, int], numbers: int, conv: int, kernel: int) -> Mixer:
    """`numbers` of state, and the last `kernel` - 1 inputs of a convolution over `conv` channels."""
    state = numbers * STATE_BYTES + conv * max(kernel - 1, 0) * CONV_BYTES
    return Mixer(matrices=matrices, recurrent=True, state_bytes=state)
