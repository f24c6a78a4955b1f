"""The efficiency of an engine relative to a machine's data sheet, and its defaults there: constants with evidence.

They are in `efficiencies.json`, by kind and generation of the GPU, format of the weights and link between GPUs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm.simulator.profiles.data_files import constants, gpus

ENGINE = "0.30"
"""The version of vLLM that is meant where none is said: the newest that any of the constants was measured with."""
ASYNC_SINCE = (0, 14)
"""From this version of vLLM on a step is prepared while the one before is computed (vllm-project/vllm#27614)."""
BIG_GIB = 70
"""From this memory on vLLM's `arg_utils` takes larger steps and more sequences by default; not on an A100."""
LINKS = ("nvlink", "pcie")
FP4 = ("nvfp4", "mxfp4")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """GPUs of one kind, how they are connected, and the engine on them.

    `link` None: NVLink where the GPU has it, else PCIe. `p2p`: over PCIe, without the way through host memory; None: as
    the drivers allow it, which is not on GeForce. `power_limit_w` 0: the usual limit.
    """

    gpu: str
    tp: int = 1
    link: str | None = None
    p2p: bool | None = None
    engine: str = ENGINE
    power_limit_w: float = 0.0

    @property
    def figures(self) -> Mapping[str, Any]:
        return gpus()[self.gpu]

    @property
    def resolved_link(self) -> str:
        """Empty for one GPU."""
        if self.tp == 1:
            return ""
        return self.link or ("nvlink" if "nvlink_bytes_per_s" in self.figures else "pcie")

    @property
    def resolved_p2p(self) -> bool:
        if self.tp == 1 or self.resolved_link == "nvlink":
            return self.tp > 1
        return self.figures.get("kind") != "geforce" if self.p2p is None else self.p2p


def constant(name: str, gpu: str = "", values: Mapping[str, float] | None = None) -> float:
    """The constant for a GPU: that of its kind and generation, else of its kind, else the general one.

    `values` goes before what is in the file: for fitting. KeyError for an unknown one.
    """
    figures = gpus().get(gpu, {})
    kind, generation = figures.get("kind", ""), figures.get("generation", "")
    for key in (f"{name}.{kind}.{generation}", f"{name}.{kind}", name):
        if values is not None and key in values:
            return values[key]
        if key in constants():
            return float(constants()[key]["value"])
    raise KeyError(name)


def version(engine: str) -> tuple[int, ...]:
    """`0.17` -> (0, 17). ValueError for what is no version."""
    parts = engine.removeprefix("v").split(".")
    if not 1 <= len(parts) <= 4 or not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise ValueError(f"engine {engine!r}: expected a version of vLLM, such as {ENGINE}")
    return tuple(map(int, parts))


def is_async(engine: str) -> bool:
    return version(engine) >= ASYNC_SINCE


def step_limits(gpu: str) -> tuple[int, int]:
    """Tokens of a step and sequences at once that vLLM's server takes by default (`vllm/engine/arg_utils.py`)."""
    big = gpus()[gpu]["memory_gib"] >= BIG_GIB and not gpu.startswith("a100")
    return (8192, 1024) if big else (2048, 256)


def power_factor(gpu: str, limit_w: float, values: Mapping[str, float] | None = None) -> float:
    """Share of the FLOP rate that a power limit leaves; of the bandwidth it takes nothing."""
    usual = gpus()[gpu].get("power_w", 0)
    if not limit_w or not usual or limit_w >= usual:
        return 1.0
    return float((limit_w / usual) ** constant("power_exponent", gpu, values))


def link_fields(machine: Machine, values: Mapping[str, float] | None = None) -> dict[str, Any]:
    """A profile's fields that the link between the GPUs decides. ValueError for NVLink on a GPU without it."""
    link = machine.resolved_link
    if not link:
        return {"link": "", "p2p": False, "allreduce_us": 0, "allreduce_bytes_per_s": 0}
    if link not in LINKS:
        raise ValueError(f"unknown link {link!r}: there are {', '.join(LINKS)}")
    if link == "nvlink" and "nvlink_bytes_per_s" not in machine.figures:
        raise ValueError(f"link nvlink: {machine.gpu} has none; say pcie")
    way = "nvlink" if link == "nvlink" else "p2p" if machine.resolved_p2p else "host"
    share = constant(f"link_share.{way}", machine.gpu, values)
    return {
        "link": link,
        "p2p": machine.resolved_p2p,
        # Between two GPUs; more take as many rounds as it takes for what one has to reach all.
        "allreduce_us": constant(f"allreduce_us.{link}", machine.gpu, values) * math.log2(machine.tp),
        "allreduce_bytes_per_s": share * machine.figures.get(f"{link}_bytes_per_s", 31.5e9),
    }


def engine_fields(machine: Machine, values: Mapping[str, float] | None = None) -> dict[str, Any]:
    """A profile's fields that the engine's version decides."""
    cpu = 0.0
    if not is_async(machine.engine):
        beside = machine.tp - 1
        cpu = constant("cpu_per_request_us", machine.gpu, values)
        cpu += beside * constant("cpu_per_request_gpu_us", machine.gpu, values)
    return {"engine": machine.engine, "cpu_per_request_us": cpu}


def flops_fields(machine: Machine, quant: str, values: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Shares of the FP16 rate. Attention is computed in 16 bits, whatever the weights are."""
    gpu = machine.gpu
    left = power_factor(gpu, machine.power_limit_w, values)
    faster = 1.0
    if quant == "fp8" and machine.figures.get("generation") != "ampere":
        faster = constant("format_flops.fp8", gpu, values)
    elif quant in FP4 and machine.figures.get("generation") == "blackwell":
        faster = constant("format_flops.fp4", gpu, values)
    dense = constant("eta_flops_dense", gpu, values) * faster * left
    return {
        "eta_flops_dense": dense,
        "eta_flops_experts": dense * constant("experts_flops", gpu, values),
        "eta_flops_attention": constant("eta_flops_attention", gpu, values) * left,
        "power_limit_w": machine.power_limit_w,
    }


def efficiencies(
    machine: Machine, *, quant: str, moe: bool, recurrent: float = 0.0, values: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """All fields of a profile that are neither the model's sizes nor the GPU's data sheet.

    `recurrent`: share of the layers that have a recurrent state in the place of attention; they take more launches.
    """

    def known(name: str) -> float:
        return constant(name, machine.gpu, values)

    tokens, seqs = step_limits(machine.gpu)
    slower = known("format_weights.fp8") if quant == "fp8" else 1.0
    return {
        "quant": quant,
        "max_num_batched_tokens": tokens,
        "max_num_seqs": seqs,
        "eta_weights": known("eta_weights") * slower,
        "eta_lm_head_single": known("eta_weights"),
        "eta_lm_head_batched": known("eta_lm_head_batched"),
        "eta_experts": known("eta_experts") * slower,
        "eta_kv": known("eta_kv"),
        "layer_overhead_us": known("layer_overhead_us.moe" if moe else "layer_overhead_us.dense")
        + recurrent * known("recurrent_overhead_us"),
        "roofline_power": known("roofline_power"),
        "routing_power": known("routing_power"),
        "eager_gap_us": 0,
        "eager_launch_us": 0,
        "api_overhead_s": known("api_overhead_s"),
        "api_request_s": known("api_request_s"),
        "api_token_s": known("api_token_s"),
        **flops_fields(machine, quant, values),
        **link_fields(machine, values),
        **engine_fields(machine, values),
    }
