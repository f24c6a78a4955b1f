"""The simulator's knowledge of one model on one machine: sizes, efficiencies, limits, and where they are from."""

import dataclasses
import difflib
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from swarm.simulator.profiles import by_name
from swarm.simulator.profiles.data_files import fitted_profiles, gpus, models
from swarm.simulator.profiles.options import MACHINE_OPTIONS, applied

Admission = Literal["full_prompt", "first_chunk"]
KVDtype = Literal["", "auto", "fp8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One model on one kind of machine, as `swarm.simulator.engine.cost` wants it.

    Sizes are bytes, lengths tokens, `*_s` seconds, `*_us` microseconds per layer (`allreduce_us`: per all-reduce, two a
    layer). `eta_*` are the shares of the data sheet's bandwidth (or FLOP rate) that the engine reaches.
    """

    name: str
    model: str
    gpu: str
    bandwidth_bytes_per_s: float
    fp16_flops: float
    memory_gib: float
    tp: int
    """Tensor parallel size: the number of GPUs that share each layer."""
    weights_bytes: int
    nonexpert_bytes: int
    """Read at every step: attention, dense FFN, norms; without embedding and lm_head."""
    lm_head_bytes: int
    layers: int
    hidden_size: int
    q_heads: int
    kv_heads: int
    head_dim: int
    experts: int
    """Experts per layer; 0 for a dense model."""
    topk: int
    expert_bytes: int
    """One expert of one layer."""
    expert_params: int
    active_linear_params: int
    """Attention and FFN (the k active experts) of all layers, without embedding and lm_head; for FLOPs."""
    kv_bytes_per_token: int
    kv_tokens: int
    block_size: int
    max_model_len: int
    max_num_batched_tokens: int
    max_num_seqs: int
    cuda_graphs: bool
    capture_sizes: tuple[int, ...]
    eta_weights: float
    eta_experts: float
    eta_kv: float
    eta_lm_head_single: float
    eta_lm_head_batched: float
    eta_flops_dense: float
    eta_flops_experts: float
    layer_overhead_us: float
    allreduce_us: float
    eager_gap_us: float
    eager_launch_us: float
    api_overhead_s: float
    """From the request's arrival to the engine's queue: HTTP, chat template, tokenizer."""
    admission: Admission = "full_prompt"
    """`full_prompt`: admit when the whole prompt fits the free KV blocks; `first_chunk`: when its first chunk does."""
    attention_layers: int = 0
    """Layers with attention: only these have a KV cache. 0: all."""
    expert_layers: int = 0
    """Layers with experts; 0: all, if the model has any."""
    state_bytes: int = 0
    """Recurrent state of one request in the layers without full attention, read and written by each of its tokens."""
    eta_flops_attention: float = 0.0
    """FLOP rate of prompt tokens' attention, as a share of `fp16_flops`; 0: as `eta_flops_dense`."""
    roofline_power: float = 0.0
    """How far reading weights and computing with them overlap: `swarm.simulator.engine.cost.roofline`."""
    routing_power: float = 1.0
    """B tokens reach as many experts as B to this power would that were routed independently: neighbours are alike."""
    allreduce_bytes_per_s: float = 0.0
    """Bytes per second of an all-reduce's ring; 0: no limit, only `allreduce_us`."""
    cpu_per_request_us: float = 0.0
    """CPU time per decoding request and step, where the engine prepares a step only once the one before has ended."""
    enable_prefix_caching: bool = True
    """Whether later prompts find the blocks of earlier ones, as vLLM's option says."""
    long_prefill_token_threshold: int = 0
    """Most tokens of one prompt in one step, as vLLM's option; 0: as many as the step has."""
    api_request_s: float = 0.0
    """Seconds that the API works on one request after the other, before the queue; `api_overhead_s` is beside it."""
    api_token_s: float = 0.0
    """The same for each token of a prompt, cached or not: its text becomes tokens."""
    quant: str = ""
    """Format of the weights, such as `awq`; empty: not known. It decides how far predictions may be trusted."""
    link: str = ""
    """Between the GPUs: `nvlink` or `pcie`; empty: one GPU, or not known."""
    p2p: bool = False
    """Whether GPUs reach each other over PCIe directly. NVLink always does."""
    engine: str = ""
    """The version of vLLM whose defaults and overheads these are; empty: not known."""
    power_limit_w: float = 0.0
    """Power limit of each GPU, below its usual one; 0: none."""
    kv_cache_dtype: KVDtype = ""
    """Precision of the KV cache: `auto` is 16 bits per value; empty: not known."""
    window: int = 0
    """Tokens that attention is bounded to in the layers with a sliding or chunked window or an index; 0: none has."""
    window_kv_bytes_per_token: int = 0
    """The part of `kv_bytes_per_token` that is kept and read of the last `window` tokens only."""
    selected_kv_bytes_per_token: int = 0
    """The part of it that is kept of all tokens, and read of `window` of them, which an index has chosen."""
    attention_width: int = 0
    """Query heads times their size, summed over the layers without a bound, for FLOPs; 0, and no
    `bounded_attention_width`: `attention_layers * q_heads * head_dim`."""
    bounded_attention_width: int = 0
    """The same sum over the layers whose attention is bounded to `window` tokens."""
    decode_error: float = 0.0
    """How far off its tok/s may be, where that was found by measuring; 0: as others of its kind (`accuracy`)."""
    ttft_error: float = 0.0
    provenance: str = "assumed"
    note: str = ""

    @property
    def kv_blocks(self) -> int:
        """Blocks of `block_size` tokens, of the layers that keep the whole context, if there are any."""
        return self.kv_tokens * self.kv_bytes_per_token // (self._block_bytes * self.block_size)

    @property
    def _block_bytes(self) -> int:
        return self.kv_bytes_per_token - self.window_kv_bytes_per_token or self.kv_bytes_per_token

    @property
    def is_windowed_throughout(self) -> bool:
        """Whether no layer keeps more than the window."""
        return bool(self.window) and self.window_kv_bytes_per_token == self.kv_bytes_per_token

    def window_blocks(self, tokens: int) -> int:
        """Blocks beside those of the whole context that a request of `tokens` needs for the layers with a window."""
        if not self.window_kv_bytes_per_token or self.is_windowed_throughout:
            return 0
        size = -(-min(tokens, self.window) // self.block_size) * self.window_kv_bytes_per_token
        return -(-size // self._block_bytes)

    def blocks_of(self, tokens: int) -> int:
        """All blocks of a request of `tokens`, nothing shared."""
        kept = min(tokens, self.window + self.block_size) if self.is_windowed_throughout else tokens
        return -(-kept // self.block_size) + self.window_blocks(tokens)

    @property
    def max_context(self) -> int:
        """Tokens of prompt and reply that one request can have: one that the pool cannot hold could never finish."""
        if self.is_windowed_throughout and self.blocks_of(self.max_model_len) <= self.kv_blocks:
            return self.max_model_len
        fits = (self.kv_blocks - self.window_blocks(self.window)) * self.block_size
        if fits < self.window:  # not even a whole window's tokens in both kinds of layers
            fits = self.kv_tokens // self.block_size * self.block_size
        return min(self.max_model_len, fits)

    @property
    def chunk_tokens(self) -> int:
        """Most tokens of one prompt in one step."""
        return min(self.max_num_batched_tokens, self.long_prefill_token_threshold or self.max_num_batched_tokens)

    def api_seconds(self, prompt_tokens: int) -> float:
        """From a request's arrival at an idle API to the engine's queue."""
        return self.api_overhead_s + self.api_request_s + self.api_token_s * prompt_tokens

    @property
    def architecture(self) -> Literal["moe", "dense"]:
        return "moe" if self.experts else "dense"


@cache
def _packaged() -> dict[str, dict[str, Any]]:
    """The entries that come with the package, by name: the fitted ones, and those derived from `models.json`."""
    assumed = [by_name.entry(**one) for one in models()["profiles"]]
    return {entry["name"]: entry for entry in [*fitted_profiles(), *assumed]}


def names() -> list[str]:
    """The profiles that come with the package."""
    return list(_packaged())


def named(model: str, gpu: str, quant: str | None = None, tp: int = 1, kv: str = "auto", **options: Any) -> Profile:
    """The profile of a model of the catalogue on `tp` GPUs of the table, by the names that people use (`by_name`)."""
    return parse(by_name.entry(model, gpu, quant=quant, tp=tp, kv=kv, **options), where=f"{model} on {gpu}")


def load(name_or_path: str, **overrides: Any) -> Profile:
    """The profile of that name, of that JSON file (a path ends in `.json`), or of a model on a GPU (`MODEL@GPU`, see
    `by_name.short`), with some fields replaced.

    A file holds one object with `Profile`'s fields; the GPU's figures may be left out where `gpu` is a known one.
    Overrides that are None are left out; those of the machine (`options.MACHINE_OPTIONS`) change what follows of them,
    unless that is overridden too. Raises ValueError saying which field of what is wrong.
    """
    if name_or_path.endswith(".json"):
        entry = _read_file(Path(name_or_path))
    elif "@" in name_or_path:
        entry = by_name.short(name_or_path)
    else:
        packaged = _packaged()
        if name_or_path not in packaged:
            raise ValueError(
                f"unknown profile {name_or_path!r}{_nearest(name_or_path, list(packaged))}; there are: "
                f"{', '.join(packaged)}; or give {by_name.SHORT}, or the path of a .json file"
            )
        entry = packaged[name_or_path]
    given = {key: value for key, value in overrides.items() if value is not None}
    machine = {key: given.pop(key) for key in MACHINE_OPTIONS & given.keys()}
    if machine:
        parse(entry, where=name_or_path)
        try:
            entry = applied(entry, machine)
        except ValueError as error:
            raise ValueError(f"profile {name_or_path}: {error}") from None
    return parse(entry | given, where=name_or_path)


def parse(entry: dict[str, Any], where: str) -> Profile:
    """A profile from plain JSON data; `where` names it in the message of the ValueError that a bad field raises."""
    fields = {field.name: field for field in dataclasses.fields(Profile)}
    figures = {key: value for key, value in gpus().get(entry.get("gpu", ""), {}).items() if key in fields}
    values = figures | entry
    for key in values:
        if key not in fields:
            raise ValueError(f"profile {where}: unknown field {key!r}{_nearest(key, list(fields))}")
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in values]
    if missing:
        raise ValueError(f"profile {where}: missing {', '.join(missing)}")
    for key, value in values.items():
        _check_type(where, key, value, fields[key].type)
    profile = Profile(**values | {"capture_sizes": tuple(sorted(values["capture_sizes"]))})
    _check_values(profile, where)
    return profile


def _read_file(path: Path) -> dict[str, Any]:
    try:
        entry = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"profile {path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"profile {path}: is not JSON: {error}") from error
    if not isinstance(entry, dict):
        raise ValueError(f"profile {path}: expected one JSON object with the profile's fields")
    return entry


_TYPES: dict[Any, tuple[str, Any]] = {
    str: ("a text", lambda v: isinstance(v, str)),
    bool: ("true or false", lambda v: isinstance(v, bool)),
    int: ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    float: ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)),
    tuple[int, ...]: (
        "a list of whole numbers above 0",
        lambda v: isinstance(v, list | tuple) and all(type(size) is int and size > 0 for size in v),
    ),
    KVDtype: (f"one of {', '.join(get_args(KVDtype)[1:])}", lambda v: v in get_args(KVDtype)),
    Admission: (f"one of {', '.join(get_args(Admission))}", lambda v: v in get_args(Admission)),
}


def _check_type(where: str, key: str, value: Any, kind: Any) -> None:
    expected, fits = _TYPES[kind]
    if not fits(value):
        raise ValueError(f"profile {where}: {key} must be {expected}, not {value!r}")


MOST_FLOPS = 4
"""Times the FP16 rate: what tensor cores do with weights and activations of 4 bits."""
_MAY_BE_ZERO = frozenset(
    {
        "experts",
        "topk",
        "expert_bytes",
        "expert_params",
        "layer_overhead_us",
        "allreduce_us",
        "eager_gap_us",
        "eager_launch_us",
        "api_overhead_s",
        "attention_layers",
        "expert_layers",
        "state_bytes",
        "eta_flops_attention",
        "roofline_power",
        "allreduce_bytes_per_s",
        "cpu_per_request_us",
        "power_limit_w",
        "window",
        "window_kv_bytes_per_token",
        "selected_kv_bytes_per_token",
        "attention_width",
        "bounded_attention_width",
        "long_prefill_token_threshold",
        "api_request_s",
        "api_token_s",
        "decode_error",
        "ttft_error",
    }
)


def _check_values(profile: Profile, where: str) -> None:
    for field in dataclasses.fields(Profile):
        value = getattr(profile, field.name)
        if isinstance(value, str | bool | tuple):
            continue
        if value < 0 or (value == 0 and field.name not in _MAY_BE_ZERO):
            bound = "at least 0" if field.name in _MAY_BE_ZERO else "above 0"
            raise ValueError(f"profile {where}: {field.name} must be {bound}, not {value}")
        most = MOST_FLOPS if field.name.startswith("eta_flops_") else 1
        if field.name.startswith("eta_") and value > most:
            raise ValueError(
                f"profile {where}: {field.name} is a share of the data sheet's rate: at most {most}, not {value}"
            )
    if profile.experts and not 0 < profile.topk <= profile.experts:
        raise ValueError(f"profile {where}: topk must be 1 to experts ({profile.experts}), not {profile.topk}")
    bounded = profile.window_kv_bytes_per_token + profile.selected_kv_bytes_per_token
    if bounded > profile.kv_bytes_per_token:
        raise ValueError(
            f"profile {where}: window_kv_bytes_per_token and selected_kv_bytes_per_token are parts of "
            f"kv_bytes_per_token ({profile.kv_bytes_per_token}), not {bounded}"
        )
    if (bounded or profile.bounded_attention_width) and not profile.window:
        raise ValueError(f"profile {where}: missing window, which bounds the attention of some of its layers")
    if profile.kv_blocks < 2:
        raise ValueError(
            f"profile {where}: kv_tokens must hold 2 blocks at least ({2 * profile.block_size} tokens), "
            f"not {profile.kv_tokens}"
        )
    if profile.max_num_batched_tokens < profile.max_num_seqs:
        raise ValueError(
            f"profile {where}: max_num_batched_tokens ({profile.max_num_batched_tokens}) must be at least max_num_seqs "
            f"({profile.max_num_seqs}): a step gives every running request a token"
        )


def _nearest(name: str, among: list[str]) -> str:
    close = difflib.get_close_matches(name, among, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
