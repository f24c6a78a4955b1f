"""Fields of a profile from names alone: a model of the catalogue on a GPU of the table.

entry("qwen3-coder-30b-a3b", "rtx4090", quant="awq", tp=2, kv="fp8")
short("qwen3-coder-30b-a3b@2xrtx4090:awq")                               the same without kv
"""

import re
from functools import cache
from typing import Any

from swarm.simulator import naming
from swarm.simulator.models import catalogue
from swarm.simulator.profiles.data_files import gpus
from swarm.simulator.profiles.derive import derive

SHORT = "MODEL@[Nx]GPU[:QUANT]"
_VENDORS = re.compile(r"\b(nvidia|geforce|tesla|amd|instinct|radeon|apple|intel|gpu|graphics)\b", re.IGNORECASE)
_SHORT = re.compile(r"^([^@]+)@(?:([1-9]\d{0,2})\s*x\s*)?([^@:]+)(?::([^@:]+))?$")


def entry(
    model: str, gpu: str, quant: str | None = None, tp: int = 1, kv: str = "auto", **options: Any
) -> dict[str, Any]:
    """A profile's fields (`profiles.parse`) for a model on `tp` GPUs: `assumed`, until it is calibrated.

    `quant`: format of the weights, None: the one that the model's name ends in, or that it is published in; `kv`:
    `auto` (16 bits, or as the checkpoint says) or `fp8`; `options`: the others of `derive`. ValueError for names that
    are not known, with the nearest ones, and for a model that does not fit.
    """
    found = catalogue.find(model)
    if quant and found.quant and quant != found.quant:
        raise ValueError(f"{model} names the {found.quant} version, and {quant} is asked for: leave one of them out")
    named = find_gpu(gpu)
    fields = derive(
        found.config, model=found.repo, gpu=named, quant=quant or found.quant, tp=tp, kv_cache_dtype=kv, **options
    )
    ending = "-fp8kv" if kv == "fp8" else ""
    return fields | {
        "name": options.get("name") or f"{found.name}-{fields['quant']}-{tp}x{named}{ending}",
        "note": f"{fields['note']}; model: {found.source}",
    }


def short(name: str) -> dict[str, Any]:
    """The fields for a name such as `qwen3-coder-30b-a3b@2xrtx4090:awq` (`SHORT`). ValueError as `entry`."""
    parts = _SHORT.match(name)
    if parts is None:
        raise ValueError(f"{name!r:.100} is not of the form {SHORT}, such as qwen3-coder-30b-a3b@2xrtx4090:awq")
    return entry(parts[1], parts[3], quant=parts[4], tp=int(parts[2] or 1))


def find_gpu(name: str) -> str:
    """The GPU that people, or nvidia-smi, call `name`. ValueError with the nearest ones."""
    known = _index()
    bare = naming.key(_VENDORS.sub(" ", name))
    for one in (bare, f"rtx{bare}", bare.removeprefix("rtx")):
        if one in known:
            return known[one]
    raise naming.unknown("GPU", name, known)


@cache
def _index() -> dict[str, str]:
    return naming.index({name: one.get("names", []) for name, one in gpus().items()})
