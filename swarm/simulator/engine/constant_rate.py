"""A profile without contention: every step takes the same time, whatever is in it. For testing load generators."""

from dataclasses import replace

from swarm.simulator.profiles import profiles
from swarm.simulator.profiles.profiles import Profile


def steady(tokens_per_s: float) -> Profile:
    """Each request decodes at `tokens_per_s`, however many there are; prefill and HTTP take no time."""
    return replace(
        profiles.load("dense-32b-awq-1x3090"),
        name="steady",
        provenance="made up",
        weights_bytes=1,
        nonexpert_bytes=1,
        lm_head_bytes=1,
        active_linear_params=1,
        kv_bytes_per_token=1,
        fp16_flops=1e30,
        layers=1,
        layer_overhead_us=1e6 / tokens_per_s,
        kv_tokens=1 << 22,
        max_model_len=1 << 16,
        max_num_seqs=1 << 12,
        max_num_batched_tokens=1 << 16,
        api_overhead_s=0.0,
    )
