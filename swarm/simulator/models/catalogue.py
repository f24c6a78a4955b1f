"""Models by name: what people run as coding agents, with the sizes that their public config.json files have.

find("Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8")    # qwen3-coder-30b-a3b, in fp8
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from swarm.simulator import naming

_FORMATS = {
    "fp8": "fp8",
    "fp8dynamic": "fp8",
    "fp8block": "fp8",
    "bf16": "bf16",
    "awq": "awq",
    "awq4bit": "awq",
    "awqint4": "awq",
    "w4a16": "awq",
    "int4": "awq",
    "4bit": "awq",
    "gptq": "gptq",
    "gptqint4": "gptq",
    "gptqint8": "int8",
    "w8a8": "int8",
    "int8": "int8",
    "8bit": "int8",
    "nvfp4": "nvfp4",
    "fp4": "nvfp4",
    "mxfp4": "mxfp4",
}
"""Ends of repository names, and the format that they stand for, by the names of `weights.BYTES_PER_WEIGHT`."""
_ENDS = re.compile(rf"^(.+?)({'|'.join(sorted(_FORMATS, key=len, reverse=True))})$")
_TUNED = re.compile(r"^(.+?)(instruct|it|chat)$")


@dataclass(frozen=True)
class Model:
    """One model of the catalogue. `quant` is the format that its name asked for, if it did."""

    name: str
    repo: str
    config: Mapping[str, Any]
    source: str
    total_b: float
    """Billions of parameters, as its card says."""
    quant: str | None = None


@cache
def models() -> dict[str, dict[str, Any]]:
    """The entries of `catalogue.json`, by name."""
    text = resources.files(__package__).joinpath("catalogue.json").read_text("utf-8")
    entries: dict[str, dict[str, Any]] = json.loads(text)["models"]
    return entries


def names() -> list[str]:
    """All models that `find` knows, variants of the same sizes among them."""
    return [one for name, entry in models().items() for one in (name, *entry.get("variants", {}))]


def find(name: str) -> Model:
    """The model that people call `name`, whatever its vendor, `-Instruct` and format. ValueError names the nearest."""
    known = _index()
    for bare, quant in _readings(name.rsplit("/", 1)[-1]):
        if bare in known:
            return _model(known[bare], quant)
    raise naming.unknown("model", name, known)


def _readings(name: str) -> list[tuple[str, str | None]]:
    """Readings of a name, the most literal first: its key, and the format at its end."""
    whole = naming.key(name)
    found: list[tuple[str, str | None]] = [(whole, None)]
    if parts := _ENDS.match(whole):
        found.append((parts[1], _FORMATS[parts[2]]))
    return [*found, *((tuned[1], quant) for bare, quant in found if (tuned := _TUNED.match(bare)))]


def _model(name: str, quant: str | None) -> Model:
    for base, entry in models().items():
        repo = entry["repo"] if base == name else entry.get("variants", {}).get(name)
        if repo:
            source = f"huggingface.co/{repo}" + (f", {entry['source']}" if "source" in entry else "")
            return Model(name, repo, entry["config"], source, entry["total_b"], quant)
    raise KeyError(name)


@cache
def _index() -> dict[str, str]:
    called: dict[str, list[str]] = {}
    for name, entry in models().items():
        called[name] = [entry["repo"].rsplit("/", 1)[-1], *entry.get("names", [])]
        for variant, repo in entry.get("variants", {}).items():
            called[variant] = [repo.rsplit("/", 1)[-1]]
    return naming.index(called)
