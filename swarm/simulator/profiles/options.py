"""A profile on another link, engine or power limit, or with another KV cache: what follows of each for its fields."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swarm.simulator.profiles.data_files import gpus
from swarm.simulator.profiles.efficiencies import ENGINE, Machine, engine_fields, link_fields, power_factor

MACHINE_OPTIONS = frozenset({"link", "p2p", "engine", "power_limit_w", "kv_cache_dtype"})
KV_VALUE_BYTES = {"auto": 2, "fp8": 1}


def applied(entry: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a profile with `options` (of `MACHINE_OPTIONS`) in the place of what it was made for.

    ValueError for one that it cannot have. A KV cache of half the bytes holds twice the tokens.
    """
    changed = dict(entry)
    gpu, tp = entry.get("gpu", ""), entry.get("tp", 1)
    if options.keys() - {"kv_cache_dtype"} and gpu not in gpus():
        raise ValueError(f"gpu {gpu!r} is not in the table of GPUs, so that {', '.join(sorted(options))} cannot be set")
    machine = Machine(gpu=gpu, tp=tp, link=entry.get("link") or None, engine=entry.get("engine") or ENGINE)
    if "link" in options or "p2p" in options:
        if tp == 1:
            raise ValueError("link and p2p are between GPUs, and this profile has one")
        changed |= link_fields(replace(machine, link=options.get("link") or machine.link, p2p=options.get("p2p")))
    if "engine" in options:
        changed |= engine_fields(replace(machine, engine=options["engine"]))
    if "power_limit_w" in options:
        limit = options["power_limit_w"]
        ratio = power_factor(gpu, limit) / power_factor(gpu, entry.get("power_limit_w", 0.0))
        for name in ("eta_flops_dense", "eta_flops_experts", "eta_flops_attention"):
            changed[name] = entry.get(name, 0.0) * ratio
        changed["power_limit_w"] = limit
    if "kv_cache_dtype" in options:
        now, wanted = entry.get("kv_cache_dtype") or "auto", options["kv_cache_dtype"]
        if wanted not in KV_VALUE_BYTES:
            raise ValueError(f"kv_cache_dtype must be one of {', '.join(KV_VALUE_BYTES)}, not {wanted!r}")
        before, after = KV_VALUE_BYTES[now], KV_VALUE_BYTES[wanted]
        for name in ("kv_bytes_per_token", "window_kv_bytes_per_token", "selected_kv_bytes_per_token"):
            changed[name] = entry.get(name, 0) * after // before
        changed["kv_tokens"] = entry["kv_tokens"] * before // after
        changed["kv_cache_dtype"] = wanted
    return changed
