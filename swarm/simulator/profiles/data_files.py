"""The JSON files that come with the simulator: GPUs, models, and the profiles that were fitted to published runs."""

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def gpus() -> dict[str, dict[str, Any]]:
    """The known GPUs: the figures that a profile needs of one, and their `source`."""
    table: dict[str, dict[str, Any]] = _resource("gpus.json")["gpus"]
    return table


@cache
def models() -> dict[str, Any]:
    """`models.json`: the assumed `profiles` that come with the package, and `published` speeds of some of them."""
    return _resource("models.json")


@cache
def constants() -> dict[str, dict[str, Any]]:
    """`efficiencies.json`: name -> `value` and `evidence`."""
    table: dict[str, dict[str, Any]] = _resource("efficiencies.json")["constants"]
    return table


@cache
def accuracy() -> dict[str, Any]:
    """`accuracy.json`: `pooled` errors by kind, and those of `classes`."""
    return _resource("accuracy.json")


def fitted_profiles() -> list[dict[str, Any]]:
    """`profiles.json`: entries as `swarm.simulator.profiles.profiles.parse` reads them."""
    entries: list[dict[str, Any]] = _resource("profiles.json")["profiles"]
    return entries


def _resource(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(resources.files(__package__).joinpath(name).read_text("utf-8"))
    return data
