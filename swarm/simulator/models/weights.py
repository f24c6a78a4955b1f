"""The number format of a model's weights: chosen by name, or read from the `quantization_config` of its config.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm.simulator.models.config import NESTED
from swarm.simulator.models.patterns import matches, names_of
from swarm.simulator.models.shape import Shape

_GROUP = 128
BYTES_PER_WEIGHT = {
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "awq": 0.5 + 2.5 / _GROUP,
    "gptq": 0.5 + 2.5 / _GROUP,
    "nvfp4": 0.5 + 1 / 16,
    "mxfp4": 0.5 + 1 / 32,
}
"""By the names that `--quant` takes. AWQ and GPTQ: 4 bits, and for each group of 128 weights a 16-bit scale and a
4-bit zero; NVFP4 has an 8-bit scale for 16 weights, MXFP4 for 32. Embedding, lm_head and router stay 16-bit in all."""
_METHODS_4_BIT = ("awq", "gptq", "gptqmodel", "auto_awq", "auto_gptq", "auto-round", "autoround", "intel/auto-round")


@dataclass(frozen=True)
class Group:
    """Modules stored in one way."""

    name: str
    bytes_per_weight: float
    targets: tuple[str, ...] = ()
    """Patterns of module names; empty: all."""


@dataclass(frozen=True)
class Format:
    """A checkpoint's format. `groups` are tried in order; a module that is in none, or is `kept`, has 16 bits."""

    name: str
    groups: tuple[Group, ...]
    kept: tuple[str, ...] = ()
    fp8_kv: bool = False
    """Whether the checkpoint says that its KV cache is FP8."""
    experts_only: bool = False

    def bytes_of(self, layer: int, module: str) -> float:
        """Bytes of one weight of a module, such as `self_attn.q_proj`, in that layer."""
        if self.experts_only and not module.startswith("mlp.experts"):
            return 2.0
        names = list(names_of(layer, module))
        if any(matches(pattern, names) for pattern in self.kept):
            return 2.0
        for group in self.groups:
            if not group.targets or any(matches(pattern, names) for pattern in group.targets):
                return group.bytes_per_weight
        return 2.0


@dataclass(frozen=True)
class Stored:
    """Bytes of a model's weights, all GPUs together, norms left out."""

    always: int
    """Read for every token: attention, dense and shared networks, routers."""
    expert: int
    """One expert; the mean over layers, where they are stored differently."""
    experts: int
    """All of them."""
    rest: int
    """Embedding and lm_head, and the part that sees."""

    @property
    def total(self) -> int:
        return self.always + self.experts + self.rest


def stored(shape: Shape, fmt: Format) -> Stored:
    always = experts = 0.0
    for at, layer in enumerate(shape.layers):
        network = layer.feed_forward
        for part in (layer.mixer, network):
            if part is not None:
                always += sum(count * fmt.bytes_of(at, module) for module, count in part.matrices.items())
        if network is not None and network.experts:
            always += 2 * network.router
            each = sum(count * fmt.bytes_of(at, module) for module, count in network.expert.items())
            experts += network.experts * each
    number = sum(network.experts for network in shape.sparse)
    return Stored(
        always=round(always),
        expert=round(experts / number) if number else 0,
        experts=round(experts),
        rest=2 * (shape.embedding_params + shape.vision_params),
    )


def weight_format(config: Mapping[str, Any], quant: str | None) -> Format:
    """The format `quant` (a key of `BYTES_PER_WEIGHT`), or, if None, the one that the config says it is stored in.

    ValueError for an unknown one, and for a stored one that is not modelled, naming the key.
    """
    if quant is not None and quant not in BYTES_PER_WEIGHT:
        raise ValueError(f"unknown quantization {quant!r}: there are {', '.join(BYTES_PER_WEIGHT)}")
    said = _quantization(config)
    if said is not None and quant is None:
        return _stored_format(said)
    if said is not None and _method(said) != "bitsandbytes":
        try:
            as_stored = _stored_format(said)
        except ValueError:
            as_stored = None
        if as_stored is not None and as_stored.name == quant:
            return as_stored
    name = quant or "bf16"
    groups = () if name == "bf16" else (Group(name, BYTES_PER_WEIGHT[name]),)
    return Format(name, groups, experts_only=name == "mxfp4")


def _quantization(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    parts = [config, *(config[key] for key in NESTED if isinstance(config.get(key), Mapping))]
    for part in parts:
        for key in ("quantization_config", "compression_config"):
            said = part.get(key)
            if said:
                if not isinstance(said, Mapping):
                    raise ValueError(f"config.json: {key} must be an object")
                return said
    return None


def _method(said: Mapping[str, Any]) -> str:
    method = said.get("quant_method")
    if method is None and ("config_groups" in said):
        return "compressed-tensors"
    if method is None and ("quantization" in said or "quant_algo" in said):
        return "modelopt"
    if method is None and (said.get("load_in_4bit") or said.get("load_in_8bit")):
        return "bitsandbytes"
    return str(method).lower()


def _stored_format(said: Mapping[str, Any]) -> Format:
    method = _method(said)
    if method in ("fp8", "fbgemm_fp8"):
        return Format("fp8", (Group("fp8", 1 + _scale(said.get("weight_block_size"))),), _kept(said), _fp8_kv(said))
    if method == "mxfp4":
        return Format("mxfp4", (Group("mxfp4", BYTES_PER_WEIGHT["mxfp4"]),), _kept(said), experts_only=True)
    if method in _METHODS_4_BIT:
        return _grouped_integers(said, "awq" if "awq" in method else "gptq")
    if method == "compressed-tensors":
        return _compressed_tensors(said)
    if method.startswith("modelopt"):
        return _modelopt(said)
    if method == "bitsandbytes":
        four = bool(said.get("load_in_4bit") or said.get("_load_in_4bit"))
        double = 1 / 64 if said.get("bnb_4bit_use_double_quant") else 4 / 64
        size, name = (0.5 + double, "awq") if four else (1.0, "int8")
        return Format(name, (Group(name, size),), _kept(said, "llm_int8_skip_modules"))
    raise ValueError(f"config.json: quantization_config.quant_method = {method!r:.60} is not modelled")


def _kept(said: Mapping[str, Any], *more: str) -> tuple[str, ...]:
    """Patterns of the modules that stay 16-bit."""
    found: list[str] = []
    for key in ("modules_to_not_convert", "ignored_layers", "ignored_modules", "ignore", "exclude_modules", *more):
        names = said.get(key) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"config.json: quantization_config.{key} must be a list of modules")
        found += names
    return tuple(found)


def _scale(block: Any) -> float:
    """Bytes for each weight of a 32-bit scale for a block of weights, such as [128, 128]; nothing without blocks."""
    if not isinstance(block, list) or not all(type(side) is int and side > 0 for side in block):
        return 0.0
    size = 1
    for side in block:
        size *= side
    return 4 / size


def _whole(said: Mapping[str, Any], key: str, default: int) -> int:
    value = said.get(key, default)
    value = default if value is None else value
    if type(value) is not int:
        raise ValueError(f"config.json: quantization_config.{key} must be a whole number, not {value!r:.60}")
    return value


def _part(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object in the object; empty where it is absent."""
    value = said.get(key) or {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"config.json: quantization_config.{key} must be an object")
    return value


def _grouped_integers(said: Mapping[str, Any], name: str) -> Format:
    """AWQ, GPTQ, AutoRound: for each group of weights a 16-bit scale and a zero of as many bits as a weight."""
    bits, group = _whole(said, "bits", _whole(said, "w_bit", 4)), _whole(said, "group_size", _GROUP)
    if bits not in (2, 3, 4, 8):
        raise ValueError(f"config.json: quantization_config.bits = {bits} is not modelled")
    if said.get("lm_head"):
        raise ValueError("config.json: quantization_config.lm_head (a quantized lm_head) is not modelled")
    if said.get("modules_in_block_to_quantize"):
        raise ValueError("config.json: quantization_config.modules_in_block_to_quantize is not modelled")
    overhead = 0.0 if group < 1 else (2 + bits / 8) / group
    kept = [*_kept(said)]
    for pattern in _part(said, "dynamic"):
        if not pattern.startswith("-:"):
            raise ValueError(f"config.json: quantization_config.dynamic has {pattern!r:.60}, which is not modelled")
        kept.append("re:" + pattern[2:])
    for module, change in _part(said, "extra_config").items():
        width = change.get("bits", bits) if isinstance(change, Mapping) else bits
        if width == 16:
            kept.append(module)
        elif width != bits:
            raise ValueError(f"config.json: quantization_config.extra_config mixes {bits} and {width} bits")
    kind = "int8" if bits == 8 else name
    return Format(kind, (Group(kind, bits / 8 + overhead),), tuple(kept), _fp8_kv(said))


def _compressed_tensors(said: Mapping[str, Any]) -> Format:
    groups = _part(said, "config_groups")
    if not groups:
        raise ValueError("config.json: missing quantization_config.config_groups")
    if _part(said, "sparsity_config").get("format", "dense") != "dense":
        raise ValueError("config.json: quantization_config.sparsity_config is not modelled")
    found = tuple(_compressed_group(name, group) for name, group in groups.items())
    everything = [group for group in found if not group.targets]
    chosen = everything[0] if everything else found[0]
    return Format(chosen.name, (*(g for g in found if g.targets), *everything), _kept(said), _fp8_kv(said))


def _compressed_group(name: str, group: Any) -> Group:
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping):
        raise ValueError(f"config.json: quantization_config.config_groups.{name} must have weights")
    bits, kind = weights.get("num_bits"), weights.get("type")
    size, strategy = weights.get("group_size") or 0, weights.get("strategy")
    if bits not in (4, 8) or kind not in ("int", "float"):
        raise ValueError(f"config.json: quantization_config.config_groups.{name}: {bits}-bit {kind} is not modelled")
    scale = 0.0
    if strategy in ("group", "tensor_group") and type(size) is int and size > 0:
        scale_bytes = 1 if kind == "float" and bits == 4 else 2
        scale = (scale_bytes + (0 if weights.get("symmetric", True) else bits / 8)) / size
    elif strategy == "block":
        scale = _scale(weights.get("block_structure"))
    targets = group.get("targets") or []
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise ValueError(f"config.json: quantization_config.config_groups.{name}.targets must be a list of modules")
    format_name = {("int", 4): "awq", ("int", 8): "int8", ("float", 8): "fp8"}.get((str(kind), int(bits)))
    format_name = format_name or ("mxfp4" if size == 32 else "nvfp4")
    return Group(format_name, bits / 8 + scale, () if "Linear" in targets else tuple(targets))


_MODELOPT = {
    "FP8": ("fp8", 1.0),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", 1.0),
    "FP8_PB_WO": ("fp8", 1 + 4 / 128**2),
    "NVFP4": ("nvfp4", BYTES_PER_WEIGHT["nvfp4"]),
    "NVFP4_AWQ": ("nvfp4", BYTES_PER_WEIGHT["nvfp4"]),
    "W4A16_AWQ": ("awq", BYTES_PER_WEIGHT["awq"]),
    "W4A8_AWQ": ("awq", BYTES_PER_WEIGHT["awq"]),
    "MXFP8": ("fp8", 1 + 1 / 32),
}


def _modelopt(said: Mapping[str, Any]) -> Format:
    inner = said.get("quantization")
    part = {**said, **inner} if isinstance(inner, Mapping) else said
    algorithm = part.get("quant_algo")
    if algorithm is None and part.get("config_groups"):
        return _compressed_tensors(part)
    if not isinstance(algorithm, str) or algorithm not in _MODELOPT:
        raise ValueError(f"config.json: quantization_config.quant_algo = {algorithm!r:.60} is not modelled")
    name, size = _MODELOPT[algorithm]
    fp8_kv = part.get("kv_cache_quant_algo") == "FP8" or _fp8_kv(part)
    return Format(name, (Group(name, size),), _kept(part), fp8_kv)


def _fp8_kv(said: Mapping[str, Any]) -> bool:
    scheme = said.get("kv_cache_scheme")
    return isinstance(scheme, Mapping) and scheme.get("num_bits") == 8
